"""Brain LGG: an MR volume in, the lower-grade glioma outlined."""

from medseg.task import Task
from medseg.tasks.brain_lgg.files import answered, sources, write
from medseg.tasks.brain_lgg.networks import NETWORKS
from medseg.tasks.brain_lgg.phantom import phantom
from medseg.tasks.brain_lgg.pipeline import PIPELINE
from medseg.tasks.brain_lgg.reader import patients, read

TASK = Task(
    "brain-lgg",
    "lower-grade glioma in brain MR volumes",
    NETWORKS,
    PIPELINE,
    patients=patients,
    read=read,
    phantom=phantom,
    sources=sources,
    write=write,
    answered=answered,
    volumes=True,
    expects=(
        "axial MR slices from the neck to the crown, the patient's front up, their right on the picture's "
        "left; channels pre-contrast, FLAIR, post-contrast: a TIFF cannot tell, so it is not checked"
    ),
)
