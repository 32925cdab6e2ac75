"""GI tract: masks of large bowel, small bowel and stomach in an MR slice."""

from medseg.task import Files, Task
from medseg.tasks.gi_tract.data import DATA
from medseg.tasks.gi_tract.files import answered, sources, write
from medseg.tasks.gi_tract.networks import NETWORKS
from medseg.tasks.gi_tract.pipeline import DECODE, PIPELINE
from medseg.tasks.gi_tract.score import SCORING

TASK = Task(
    "gi-tract",
    "stomach and bowel in MR slices",
    NETWORKS,
    PIPELINE,
    Files(
        sources,
        write,
        answered,
        measured=("mask",),
        expects=(
            "an axial MR slice, the patient's front up, their right on the picture's left: a PNG cannot tell, so "
            "it is not checked"
        ),
    ),
    data=DATA,
    scoring=SCORING,
    decoding={"decode": DECODE},
)
