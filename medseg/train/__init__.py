"""The fit: weights, data, the Lightning module, optimizers, sweeps.

`medseg.train(network, data, out, ...)` is medseg.api.train.train.
"""

from medseg.called import called_as

called_as(__name__, "medseg.api.train:train")
