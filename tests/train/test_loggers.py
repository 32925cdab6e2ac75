"""What a fit logs beside its history: TensorBoard always, Weights & Biases when asked for, without a network."""

from medseg.run import Run
from medseg.tasks import network_named
from medseg.train.fit import _loggers
from medseg.train.settings import Settings


def test_tensorboard_always_and_wandb_when_asked_for(tmp_path):
    run = Run.create(tmp_path / "run", "brain-lgg", {}, {"kind": "train"})
    recipe = network_named("brain-lgg").recipe
    assert len(list(_loggers(run, Settings(recipe)))) == 1
    tensorboard, wandb = _loggers(run, Settings(recipe, wandb="offline"))
    for logger in (tensorboard, wandb):
        logger.log_metrics({"val_dice": 0.5}, step=0)
        logger.finalize("success")
    wandb.experiment.finish()
    assert list(run.path.glob("tensorboard/events*"))
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))
