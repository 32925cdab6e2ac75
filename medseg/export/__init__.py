"""Export: a run's network as files for every engine; each file is compared with torch before it is recorded.

`medseg.export(run, ...)` calls medseg.api.export.export.
"""

from medseg.called import called_as

called_as(__name__, "medseg.api.export:export")
