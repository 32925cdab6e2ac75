"""STAS: a pathology picture in, spread through air spaces outlined."""

from medseg.task import Task
from medseg.tasks.stas.files import answered, sources, write
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.stas.phantom import phantom
from medseg.tasks.stas.pipeline import PIPELINE, pipeline_of, vote
from medseg.tasks.stas.reader import patients, read

__all__ = ["TASK", "vote"]

TASK = Task(
    "stas",
    "tumour spread through air spaces",
    NETWORKS,
    PIPELINE,
    patients=patients,
    read=read,
    phantom=phantom,
    sources=sources,
    write=write,
    answered=answered,
    expects="a picture of a slide, upright or not: a slide has no upright",
    pipeline_of=pipeline_of,
)
