"""One trial, as a generator of epochs.

    for result in finetune(settings, store=store, data_seed=0, weights=weights):
        print(result.epoch, result.scores["val_accuracy"])
        result.snapshot().save(folder / f"epoch-{result.epoch:05d}.safetensors")

The generator is the callback system: whoever iterates decides what to keep, to report and when to stop. No Ray in it.
Resumed from the snapshot of epoch 3, it yields the very epochs 4, 5, … of an uninterrupted trial.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from trainables.checkpoint import Snapshot
from trainables.data.pixels import PixelStore
from trainables.features import Sharing
from trainables.hardware import pick_device
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from trainables.tasks import EPOCH_FIELDS
from trainables.training.trainer import Trainer


@dataclass(frozen=True)
class EpochResult:
    """One epoch: means over its pictures, the learning rate of its last step, and its time in seconds.

    `scores` are those of the task (`train_accuracy`, `val_accuracy`, `val_f1`, …); one is None where the validation
    pictures leave it undefined. `snapshot()` copies the trial's state, until the generator is asked for the next epoch:
    RuntimeError from then on. `parameters` is how many the network has, `trainable` how many learnt; `shared` says what
    was taken from, or left for, other trials (`trainables.feed`); `precision` what was computed in. `seconds` has the
    two times after it in it.
    """

    epoch: int
    train_loss: float
    val_loss: float
    scores: Mapping[str, float | None]
    lr: float
    parameters: int
    trainable: int
    shared: str
    precision: str
    seconds: float
    seconds_sharing: float
    seconds_validating: float
    snapshot: Callable[[], Snapshot] = dataclasses.field(repr=False, compare=False)

    def metrics(self) -> dict[str, Any]:
        """The numbers alone, for the record: by the names of `EPOCH_FIELDS`, as far as they fit the task."""
        told = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)} | dict(self.scores)
        return {name: told[name] for name in EPOCH_FIELDS if name in told}


def finetune(
    settings: TrialSettings,
    *,
    store: PixelStore,
    data_seed: int,
    weights: Weights,
    resume: Snapshot | None = None,
    device: torch.device | None = None,
    sharing: Sharing | None = None,
) -> Iterator[EpochResult]:
    """Fine-tunes one model, yielding after each epoch.

    Args:
        settings: what this trial does.
        store: the decoded pictures; its `train` and `val` splits are used.
        data_seed: seed of the random views; the same for all trials of a sweep.
        weights: the starting weights, resolved.
        resume: go on after this snapshot's epoch.
        device: where to compute; the GPU when there is one.
        sharing: where trials keep what they share; None shares nothing. What is shared is the same to rounding.

    Raises:
        TrialError: the loss is no finite number, or these settings cannot be trained.
        UserError: the starting weights are gone or have changed.
    """
    trainer = Trainer.build(
        settings, store=store, data_seed=data_seed, weights=weights, device=device or pick_device(), sharing=sharing
    )
    if resume:
        trainer.resume(resume)
    for epoch in range(resume.epoch + 1 if resume else 1, settings.epochs + 1):
        started = time.perf_counter()
        numbers = trainer.epoch(epoch)
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
