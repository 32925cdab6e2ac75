"""GI tract: an MR slice in, large bowel, small bowel and stomach outlined."""

from medseg.task import Task
from medseg.tasks.gi_tract.files import answered, sources, write
from medseg.tasks.gi_tract.networks import NETWORKS
from medseg.tasks.gi_tract.phantom import phantom
from medseg.tasks.gi_tract.pipeline import PIPELINE
from medseg.tasks.gi_tract.reader import patients, read

TASK = Task(
    "gi-tract",
    "stomach and bowel in MR slices",
    NETWORKS,
    PIPELINE,
    patients=patients,
    read=read,
    phantom=phantom,
    sources=sources,
    write=write,
    answered=answered,
    expects=(
        "an axial MR slice, the patient's front up, their right on the picture's left: a PNG cannot tell, so "
        "it is not checked"
    ),
)
