"""One trial, as a generator of epochs.

    for result in finetune(settings, store=store, data_seed=0, weights=weights):
        print(result.epoch, result.val_accuracy)
        result.snapshot().save(folder / f"epoch-{result.epoch:05d}.safetensors")

The generator is the callback system: whoever iterates decides what to keep, to report and when to stop. No Ray in it.
Resumed from the snapshot of epoch 3, it yields the very epochs 4, 5, … of an uninterrupted trial.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from trainables.checkpoint import Snapshot
from trainables.data.pixels import PixelStore
from trainables.hardware import pick_device
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from trainables.training.trainer import Trainer


@dataclass(frozen=True)
class EpochResult:
    """One epoch: means over its pictures, the backbone's learning rate during it, and its time in seconds.

    `snapshot()` copies the trial's state, until the generator is asked for the next epoch: RuntimeError from then on.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float
    snapshot: Callable[[], Snapshot] = dataclasses.field(repr=False, compare=False)

    def metrics(self) -> dict[str, Any]:
        """The numbers alone, for the record: by the names of `EPOCH_FIELDS`."""
        return {name: getattr(self, name) for name in EPOCH_FIELDS}


# What is told of an epoch, in the order of the record.
EPOCH_FIELDS = tuple(field.name for field in dataclasses.fields(EpochResult) if field.name != "snapshot")


def finetune(
    settings: TrialSettings,
    *,
    store: PixelStore,
    data_seed: int,
    weights: Weights,
    resume: Snapshot | None = None,
    device: torch.device | None = None,
) -> Iterator[EpochResult]:
    """Fine-tunes one model, yielding after each epoch.

    Args:
        settings: what this trial does.
        store: the decoded pictures; its `train` and `val` splits are used.
        data_seed: seed of the random views; the same for all trials of a sweep.
        weights: the starting weights, resolved.
        resume: go on after this snapshot's epoch.
        device: where to compute; the GPU when there is one.

    Raises:
        TrialError: the loss is no finite number, or these settings cannot be trained.
        UserError: the starting weights are gone or have changed.
    """
    trainer = Trainer.build(settings, store=store, weights=weights, device=device or pick_device())
    if resume:
        trainer.resume(resume)
    for epoch in range(resume.epoch + 1 if resume else 1, settings.epochs + 1):
        started = time.perf_counter()
        numbers = trainer.epoch(store, data_seed=data_seed, epoch=epoch)
        offer = _Offer(trainer, epoch)
        yield EpochResult(epoch=epoch, **numbers, seconds=time.perf_counter() - started, snapshot=offer.take)
        offer.withdraw()


class _Offer:
    """A snapshot to be had while the trainer still is where it was."""

    def __init__(self, trainer: Trainer, epoch: int) -> None:
        self._trainer: Trainer | None = trainer
        self._epoch = epoch

    def take(self) -> Snapshot:
        if self._trainer is None:
            raise RuntimeError(
                f"the trial has gone on since epoch {self._epoch}; take a snapshot before the next epoch"
            )
        return self._trainer.snapshot(epoch=self._epoch)

    def withdraw(self) -> None:
        self._trainer = None
