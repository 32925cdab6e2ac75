"""The latency/Dice report: what is measured, how it is judged, how it is shown.

`medseg.bench(task, data, runs)` is medseg.bench.command.bench.
"""

from medseg.called import called_as

called_as(__name__, "medseg.bench.command:bench")
