"""Brain LGG: an MR volume in, the lower-grade glioma outlined."""

from medseg.task import Task
from medseg.tasks.brain_lgg.files import requests, write
from medseg.tasks.brain_lgg.networks import NETWORKS
from medseg.tasks.brain_lgg.phantom import phantom
from medseg.tasks.brain_lgg.pipeline import PIPELINE
from medseg.tasks.brain_lgg.reader import patients, read

TASK = Task(
    "brain-lgg",
    "lower-grade glioma in brain MR volumes",
    NETWORKS,
    PIPELINE,
    patients,
    read,
    phantom,
    requests,
    write,
    volumes=True,
)
