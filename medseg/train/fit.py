"""The fit: a network, its data and its settings into a run with weights, history and curves."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO
from torch import nn

from medseg.data.split import Split
from medseg.errors import InputError
from medseg.files import whole_file
from medseg.models.checkpoint import built, load_file
from medseg.models.encoder import load_encoder
from medseg.run import LAST, WEIGHTS, Run
from medseg.task import Network
from medseg.train.batch_norms import share_batch_norms
from medseg.train.data import DataModule
from medseg.train.history import History, draw_curves, read_history
from medseg.train.module import Fit
from medseg.train.processes import ALONE, Joint
from medseg.train.settings import TRAINABLE, Settings
from medseg.train.weights import save_weights


def fit(run: Run, data: DataModule, settings: Settings, module: nn.Module, joint: Joint = ALONE) -> Run:
    """The run, fitted: from its last complete epoch if it has one, otherwise from the weights of `module`.

    The first process of a distributed fit writes the run. Others return before that, or end if Lightning started them.
    """
    if joint.leads:
        record_split(run, data.split)
        joint.tell()
    if settings.processes > 1 and not torch.cuda.is_available():
        share_batch_norms(module)
    patients = len(set(data.validation.patients))
    lightning = Fit(data.network, module, settings.recipe, patients, augments=data.feed is None)
    last = run.path / "checkpoints" / "last.ckpt"
    with quiet():
        trainer = trainer_for(run, settings, lightning.best_score, joint)
        trainer.fit(lightning, data, ckpt_path=last if last.is_file() else None, weights_only=True)
    if trainer.is_global_zero:
        finish(run, module, lightning.best_score, settings.keep)
    elif not joint.outside:  # this process is a copy of the caller's, who is to go on once
        raise SystemExit(0)
    return run


def trainer_for(run: Run, settings: Settings, best_score: str, joint: Joint = ALONE) -> pl.Trainer:
    """A Trainer that keeps everything it makes inside the run. Raises InputError for more devices than there are."""
    gpus = torch.cuda.device_count()
    if gpus and settings.devices > gpus:
        raise InputError(f"--devices is {settings.devices}; this machine has {gpus} GPUs: choose at most {gpus}")
    precision: Any = settings.recipe.precision  # a str to us; Lightning lists the words it takes
    torch.backends.cudnn.allow_tf32 = precision != "32-true"  # which says FP32, where a GPU's default is TF32
    return pl.Trainer(
        accelerator="auto",
        devices=settings.devices,
        num_nodes=settings.nodes,
        strategy="ddp" if settings.processes > 1 else "auto",
        precision=precision,
        max_epochs=settings.recipe.epochs,
        accumulate_grad_batches=settings.accumulate,
        callbacks=list(_callbacks(run, settings, best_score)),
        logger=list(_loggers(run, settings)),
        plugins=[WholeCheckpoints(), *joint.plugins()],
        sync_batchnorm=settings.processes > 1 and gpus > 0,
        use_distributed_sampler=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=10,
    )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all, so that a kill at any moment leaves the one before."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside `path`, then rename."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with whole_file(Path(path)) as temporary:
            super().save_checkpoint(checkpoint, temporary, storage_options)


def starting_module(network: Network, options: Mapping[str, Any], settings: Settings) -> nn.Module:
    """The network as the fit starts with it: fresh, with a pretrained encoder, or with another run's weights."""
    pl.seed_everything(settings.recipe.seed, verbose=False)
    module = built(network.build, options)
    if settings.encoder_weights:
        load_encoder(module, Path(settings.encoder_weights))
    if settings.start:
        load_file(module, Run(settings.start).held(WEIGHTS), network.unused)
    freeze(module, settings.trainable)
    return module


def freeze(module: nn.Module, trainable: str) -> None:
    """Train only a part: `all`, the `last-block` with the head, or the `head`. Raises InputError otherwise."""
    if trainable not in TRAINABLE:
        raise InputError(f"--trainable is {trainable!r}; expected one of {', '.join(TRAINABLE)}")
    if trainable == "all":
        return
    *_, block, head = dict(module.named_children())
    kept = {"head": (head,), "last-block": (block, head)}[trainable]
    for name, part in module.named_children():
        part.requires_grad_(name in kept)


def finish(run: Run, module: nn.Module, best_score: str, keep: str = "best") -> None:
    """Write the kept and the last weights, the curves and the kept epoch's result to the run."""
    for name, epoch in ((LAST, "last"), (WEIGHTS, keep)):
        load_file(module, run.path / "checkpoints" / f"{epoch}.ckpt")
        save_weights(run, module, name)
    rows = read_history(run.path)
    kept = rows[-1] if keep == "last" else max(rows, key=lambda row: row[best_score])
    totals = {"epochs": len(rows), "seconds": sum(row["seconds"] for row in rows)}
    run.record(result={"best_by": best_score, **kept, **totals})
    draw_curves(run.path)


def record_split(run: Run, split: Split) -> None:
    """Record the training and validation patients in the run's source."""
    run.record(source={**run.manifest["source"], "split": asdict(split)})


def _callbacks(run: Run, settings: Settings, best_score: str) -> Iterator[Callback]:
    yield History(run.path)
    # After the history's row, so that what is resumed has its rows; best before last, which remembers the best's score.
    # (`save_last` would keep the last epoch that was saved for its score: a resumed fit would lose all since then.)
    kept = partial(
        ModelCheckpoint, run.path / "checkpoints", save_on_train_epoch_end=True, enable_version_counter=False
    )
    yield kept(filename="best", monitor=best_score, mode="max")
    yield kept(filename="last")
    if settings.patience:
        yield EarlyStopping(best_score, mode="max", patience=settings.patience)


def _loggers(run: Run, settings: Settings) -> Iterator[Logger]:
    yield TensorBoardLogger(run.path, name="tensorboard", version="")
    if settings.wandb:
        os.environ["WANDB_SILENT"] = "true"
        yield WandbLogger(run.path.name, run.path, project="medseg", offline=settings.wandb == "offline")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Lightning's notices silenced and its progress bar on stderr, so that stdout has only results."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch")
        yield
