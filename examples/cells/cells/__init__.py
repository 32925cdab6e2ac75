"""cells: a picture in, what is looked for outlined."""

from medseg.task import Files, Option, Task

from .data import DATA
from .files import answered, sources, write
from .network import NETWORK
from .pipeline import DECODE, PIPELINE
from .score import SCORING

TASK = Task(
    "cells",
    "bright discs in pictures",
    (NETWORK,),
    PIPELINE,
    Files(sources, write, answered, expects="an RGB picture, PNG or JPEG"),
    options=(Option("threshold", "outline from this probability on", 0.5),),
    data=DATA,
    scoring=SCORING,
    decoding={"decode": DECODE},
)
