"""LUNA: a CT in, lung nodules out."""

from medseg.task import Task
from medseg.tasks.luna.files import answered, sources, write
from medseg.tasks.luna.listing import LISTING
from medseg.tasks.luna.networks import MALIGNANCY, NETWORKS
from medseg.tasks.luna.phantom import phantom
from medseg.tasks.luna.pipeline import PIPELINE
from medseg.tasks.luna.reader import patients, read

TASK = Task(
    "luna",
    "lung nodules in CT",
    NETWORKS,
    PIPELINE,
    patients=patients,
    read=read,
    phantom=phantom,
    sources=sources,
    write=write,
    answered=answered,
    volumes=True,
    optional=(MALIGNANCY.name,),
    listing=LISTING,
    expects=(
        "a chest CT in HU, lying in any way that its file says: it is turned to the axial slices that the "
        "networks learnt"
    ),
)
