"""One trial, as a generator of epochs.

    for result in finetune(settings, store=store, data_seed=0, weights=weights):
        print(result.epoch, result.val_accuracy)
        result.snapshot().save(folder / f"epoch-{result.epoch:05d}.safetensors")

The generator is the callback system: whoever iterates decides what to keep, to report and when to stop. No Ray in it.
Resumed from the snapshot of epoch 3, it yields the very epochs 4, 5, … of an uninterrupted trial.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.checkpoint import Snapshot, copied
from trainables.data.loaders import evaluation_batches, training_batches
from trainables.data.pixels import PixelStore
from trainables.data.transforms import normalize
from trainables.errors import TrialError
from trainables.hardware import autocast_dtype, pick_device
from trainables.models.build import Model, build_model
from trainables.models.freezing import parameter_groups, thaw, trainable_names, training_mode
from trainables.models.weights import Weights
from trainables.models.zoo import normalization
from trainables.seeding import seeded
from trainables.settings import TrialSettings
from trainables.training.loop import Arithmetic, Preparation, evaluate, train
from trainables.training.losses import build_loss
from trainables.training.optimizers import build_optimizer, load_optimizer_state
from trainables.training.schedules import build_schedule

# Validation has no gradients to keep, so its batch is a matter of speed alone and the same in every trial.
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class EpochResult:
    """One epoch: means over its pictures, the backbone's learning rate during it, and its time in seconds."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    seconds: float
    snapshot: Callable[[], Snapshot] = dataclasses.field(repr=False, compare=False)

    def metrics(self) -> dict[str, Any]:
        """The numbers alone, for the record."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "snapshot"}


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
    """
    if resume and resume.settings != settings:
        raise TrialError("the checkpoint is of other settings than this trial's")
    device = device or pick_device()
    model = build_model(settings, classes=len(store.classes), channels=store.channels, weights=weights)
    model.network.to(device).to(memory_format=torch.channels_last)
    groups = parameter_groups(
        model, lr=settings.lr, head_lr_factor=settings.head_lr_factor, weight_decay=settings.weight_decay
    )
    optimizer = build_optimizer(groups, settings)
    schedule = build_schedule(optimizer, settings)
    arithmetic = Arithmetic.of(device, autocast_dtype(settings.precision, device))
    loss = build_loss(settings)
    prepare = _preparation(model, channels=store.channels, device=device)

    done = resume.epoch if resume else 0
    if settings.freeze_epochs and done > settings.freeze_epochs:
        thaw(model)
    if resume:
        _load_changed(model, resume.model)
        load_optimizer_state(optimizer, resume.training["optimizer"])
        schedule.load_state_dict(resume.training["schedule"])
        arithmetic.scaler.load_state_dict(resume.training["scaler"])

    for epoch in range(done + 1, settings.epochs + 1):
        started = time.perf_counter()
        if settings.freeze_epochs and epoch == settings.freeze_epochs + 1:
            thaw(model)
        lr = float(optimizer.param_groups[0]["lr"])
        with seeded(settings.seed, "epoch", epoch):
            training_mode(model, freeze_batchnorm=settings.freeze_batchnorm)
            trained = train(
                model.network,
                training_batches(store, settings=settings, data_seed=data_seed, epoch=epoch),
                loss=loss,
                optimizer=optimizer,
                prepare=prepare,
                arithmetic=arithmetic,
            )
            _check_finite("training", trained["loss"], epoch=epoch, lr=lr)
            schedule.step()
            validated = evaluate(
                model.network,
                evaluation_batches(store, "val", settings=settings, batch_size=EVALUATION_BATCH),
                loss=loss,
                prepare=prepare,
                arithmetic=arithmetic,
            )
            _check_finite("validation", validated["loss"], epoch=epoch, lr=lr)
        yield EpochResult(
            epoch=epoch,
            train_loss=trained["loss"],
            train_accuracy=trained["accuracy"],
            val_loss=validated["loss"],
            val_accuracy=validated["accuracy"],
            lr=lr,
            seconds=time.perf_counter() - started,
            snapshot=functools.partial(_take_snapshot, epoch, settings, model, optimizer, schedule, arithmetic.scaler),
        )


def _preparation(model: Model, *, channels: int, device: torch.device) -> Preparation:
    mean, std = normalization(model.facts, channels=channels)
    return Preparation(device=device, normalize=functools.partial(normalize, mean=mean, std=std))


def _check_finite(phase: str, loss: float, *, epoch: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise TrialError(f"diverged: {phase} loss is {loss} in epoch {epoch} (learning rate {lr:g}); lower lr")


def _take_snapshot(
    epoch: int,
    settings: TrialSettings,
    model: Model,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    scaler: torch.amp.GradScaler,
) -> Snapshot:
    names = trainable_names(model)
    return Snapshot(
        epoch=epoch,
        settings=settings,
        model={name: copied(t) for name, t in model.network.state_dict().items() if name in names},
        training={
            "optimizer": _copied_tree(optimizer.state_dict()),
            "schedule": schedule.state_dict(),
            "scaler": scaler.state_dict(),
        },
    )


def _copied_tree(tree: Any) -> Any:
    if isinstance(tree, Tensor):
        return copied(tree)
    if isinstance(tree, dict):
        return {key: _copied_tree(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_copied_tree(value) for value in tree)
    return tree


def _load_changed(model: Model, changed: dict[str, Tensor]) -> None:
    """Puts a snapshot's tensors into the network, which must be just those that can change."""
    here = model.network.state_dict()
    expected = trainable_names(model)
    if changed.keys() != expected:
        odd = sorted(changed.keys() ^ expected)[:3]
        raise TrialError(f"the checkpoint does not fit this model ({', '.join(odd)} …)")
    for name, tensor in changed.items():
        if here[name].shape != tensor.shape:
            raise TrialError(f"the checkpoint does not fit this model ({name} has another shape)")
        here[name].copy_(tensor)
