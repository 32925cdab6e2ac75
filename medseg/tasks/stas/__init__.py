"""STAS: the mask of tumour spread through air spaces in a pathology picture."""

from medseg.task import Files, Task
from medseg.tasks.stas.data import DATA
from medseg.tasks.stas.files import answered, sources, write
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.stas.pipeline import DECODE, PIPELINE, pipeline_of, vote
from medseg.tasks.stas.score import SCORING

__all__ = ["TASK", "vote"]

TASK = Task(
    "stas",
    "tumour spread through air spaces",
    NETWORKS,
    PIPELINE,
    Files(
        sources,
        write,
        answered,
        measured=("mask", "votes"),
        expects="a picture of a slide, in any orientation",
    ),
    data=DATA,
    scoring=SCORING,
    decoding={"decode": DECODE},
    pipeline_of=pipeline_of,
)
