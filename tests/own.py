"""The tasks whose networks are medseg's own; the others are made of what a run says of its network."""

from medseg.tasks import task_named, task_names

OWN = [name for name in task_names() if not task_named(name).described]
