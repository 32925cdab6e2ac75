"""The tasks whose networks are medseg's own; the other tasks are made from the descriptions of runs."""

from medseg.tasks import task_named, task_names

OWN = [name for name in task_names() if not task_named(name).described]
