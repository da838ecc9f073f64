"""What takes part in one trial's training, built once and moved on an epoch at a time.

trainer = Trainer.build(settings, store=store, weights=weights, device=device)
trainer.resume(snapshot)                                  # or not
numbers = trainer.epoch(store, data_seed=0, epoch=4)      # {"train_loss": …, "val_accuracy": …, "lr": …}
trainer.snapshot(epoch=4).save(path)
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.checkpoint import Snapshot, copied
from trainables.data.loaders import evaluation_batches, training_batches
from trainables.data.store import PixelStore
from trainables.data.transforms import normalize
from trainables.errors import TrialError
from trainables.hardware import autocast_dtype
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
from trainables.training.small_maps import guard_small_maps

# Validation has no gradients to keep, so its batch is a matter of speed alone and the same in every trial.
EVALUATION_BATCH = 64


@dataclass(frozen=True)
class Trainer:
    """A trial's network, with all that trains and measures it, on its device."""

    settings: TrialSettings
    model: Model
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    loss: nn.Module
    arithmetic: Arithmetic
    prepare: Preparation

    @classmethod
    def build(cls, settings: TrialSettings, *, store: PixelStore, weights: Weights, device: torch.device) -> "Trainer":
        """A trial before its first epoch. Errors as `build_model`; `TrialError` for a precision the device has not."""
        model = build_model(settings, classes=len(store.classes), channels=store.channels, weights=weights)
        model.network.to(device).to(memory_format=torch.channels_last)
        arithmetic = Arithmetic.of(device, autocast_dtype(settings.precision, device))
        if device.type == "cpu" and arithmetic.dtype is torch.bfloat16:
            guard_small_maps(model.network)
        groups = parameter_groups(
            model, lr=settings.lr, head_lr_factor=settings.head_lr_factor, weight_decay=settings.weight_decay
        )
        optimizer = build_optimizer(groups, settings)
        mean, std = normalization(model.facts, channels=store.channels)
        return cls(
            settings=settings,
            model=model,
            optimizer=optimizer,
            schedule=build_schedule(optimizer, settings),
            loss=build_loss(settings),
            arithmetic=arithmetic,
            prepare=Preparation(device=device, normalize=functools.partial(normalize, mean=mean, std=std)),
        )

    def resume(self, snapshot: Snapshot) -> None:
        """Takes up the state after the snapshot's epoch. `TrialError` when it is of another trial."""
        if snapshot.settings != self.settings:
            raise TrialError("the checkpoint is of other settings than this trial's")
        self._thaw_before(snapshot.epoch)
        _load_changed(self.model, snapshot.model)
        load_optimizer_state(self.optimizer, snapshot.training["optimizer"])
        self.schedule.load_state_dict(snapshot.training["schedule"])
        self.arithmetic.scaler.load_state_dict(snapshot.training["scaler"])

    def epoch(self, store: PixelStore, *, data_seed: int, epoch: int) -> dict[str, float]:
        """Trains for one epoch and validates; the numbers by the names of `EpochResult`'s fields.

        Raises:
            TrialError: a loss is no finite number, or these settings cannot be trained.
        """
        self._thaw_before(epoch)
        lr = float(self.optimizer.param_groups[0]["lr"])
        with seeded(self.settings.seed, "epoch", epoch, device=self.arithmetic.device):
            trained = self._train(store, data_seed=data_seed, epoch=epoch)
            _check_finite("training", trained["loss"], epoch=epoch, lr=lr)
            self.schedule.step()
            validated = self._validate(store)
            _check_finite("validation", validated["loss"], epoch=epoch, lr=lr)
        return {
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": validated["loss"],
            "val_accuracy": validated["accuracy"],
            "lr": lr,
        }

    def snapshot(self, *, epoch: int) -> Snapshot:
        """A copy of all that changes, as it is now, after `epoch`."""
        names = trainable_names(self.model)
        return Snapshot(
            epoch=epoch,
            settings=self.settings,
            model={name: copied(t) for name, t in self.model.network.state_dict().items() if name in names},
            training={
                "optimizer": _copied_tree(self.optimizer.state_dict()),
                "schedule": self.schedule.state_dict(),
                "scaler": self.arithmetic.scaler.state_dict(),
            },
        )

    def _thaw_before(self, epoch: int) -> None:
        """Epoch `freeze_epochs + 1` is the first that trains everything."""
        if self.model.frozen and 0 < self.settings.freeze_epochs < epoch:
            thaw(self.model)

    def _train(self, store: PixelStore, *, data_seed: int, epoch: int) -> dict[str, float]:
        training_mode(self.model, freeze_batchnorm=self.settings.freeze_batchnorm)
        batches = training_batches(
            store, settings=self.settings, data_seed=data_seed, epoch=epoch, pin_memory=self._on_gpu
        )
        return train(
            self.model.network,
            batches,
            loss=self.loss,
            optimizer=self.optimizer,
            prepare=self.prepare,
            arithmetic=self.arithmetic,
        )

    def _validate(self, store: PixelStore) -> dict[str, float]:
        batches = evaluation_batches(
            store, "val", settings=self.settings, batch_size=EVALUATION_BATCH, pin_memory=self._on_gpu
        )
        return evaluate(self.model.network, batches, loss=self.loss, prepare=self.prepare, arithmetic=self.arithmetic)

    @property
    def _on_gpu(self) -> bool:
        return self.arithmetic.device.type == "cuda"


def _check_finite(phase: str, loss: float, *, epoch: int, lr: float) -> None:
    if not math.isfinite(loss):
        raise TrialError(f"diverged: {phase} loss is {loss} in epoch {epoch} (learning rate {lr:g}); lower lr")


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
