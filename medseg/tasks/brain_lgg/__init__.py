"""Brain LGG: the mask of a lower-grade glioma in an MR volume."""

from medseg.task import Files, Task
from medseg.tasks.brain_lgg.data import DATA
from medseg.tasks.brain_lgg.files import answered, sources, write
from medseg.tasks.brain_lgg.networks import NETWORKS
from medseg.tasks.brain_lgg.pipeline import DECODE, PIPELINE
from medseg.tasks.brain_lgg.score import SCORING

TASK = Task(
    "brain-lgg",
    "lower-grade glioma in brain MR volumes",
    NETWORKS,
    PIPELINE,
    Files(
        sources,
        write,
        answered,
        volumes=True,
        measured=("mask",),
        expects=(
            "axial MR slices from the neck to the crown, the patient's front up, their right on the picture's "
            "left; channels pre-contrast, FLAIR, post-contrast: a TIFF cannot tell, so it is not checked"
        ),
    ),
    data=DATA,
    scoring=SCORING,
    decoding={"decode": DECODE},
)
