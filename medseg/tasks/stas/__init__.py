"""STAS: a pathology picture in, spread through air spaces outlined."""

from medseg.data.encoded import RGB
from medseg.task import Decode, Files, Task
from medseg.tasks.stas.data import DATA
from medseg.tasks.stas.files import answered, sources, write
from medseg.tasks.stas.networks import NETWORKS
from medseg.tasks.stas.pipeline import PIPELINE, SIZE, pipeline_of, vote
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
        expects="a picture of a slide, upright or not: a slide has no upright",
    ),
    data=DATA,
    scoring=SCORING,
    decoding={"decode": Decode(RGB, "input", SIZE, "range")},
    pipeline_of=pipeline_of,
)
