"""A run's network with its weights, as it was fitted or imported."""

from torch import nn

from medseg.models.checkpoint import built, load_file
from medseg.run import WEIGHTS, Run
from medseg.task import Network


def load_run(network: Network, run: Run) -> nn.Module:
    """The module in evaluation mode."""
    module = built(network.build, run.options)
    load_file(module, run.held(WEIGHTS), network.unused)
    return module.eval()
