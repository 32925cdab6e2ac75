"""Export: a run's network as files for every engine, each proved against torch before it is recorded.

`medseg.export(run, ...)` is medseg.api.export.export.
"""

from medseg.called import called_as

called_as(__name__, "medseg.api.export:export")
