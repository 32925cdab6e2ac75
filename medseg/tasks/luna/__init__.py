"""LUNA: a CT in, lung nodules out."""

from medseg.task import Files, Option, Task
from medseg.tasks.luna.data import DATA
from medseg.tasks.luna.files import answered, mask, sources, table, write
from medseg.tasks.luna.listing import LISTING
from medseg.tasks.luna.networks import MALIGNANCY, NETWORKS
from medseg.tasks.luna.pipeline import PIPELINE
from medseg.tasks.luna.score import SCORING

TASK = Task(
    "luna",
    "lung nodules in CT",
    NETWORKS,
    PIPELINE,
    Files(
        sources,
        write,
        answered,
        volumes=True,
        reading=("spacing_mm", "skip_damaged"),
        extras={"candidates": "all candidates, to candidates.nii.gz"},
        mask=mask,
        table=table,
        expects=(
            "a chest CT in HU, in any orientation that its file states: it is turned to axial slices, on which the "
            "networks were trained"
        ),
    ),
    options=(
        Option("threshold", "list nodules with at least this probability", 0.5),
        Option("roi", "'lungs' searches the lungs with a margin, 'all' the whole CT", "all", ("all", "lungs")),
    ),
    data=DATA,
    scoring=SCORING,
    listing=LISTING,
    optional=(MALIGNANCY.name,),
)
