"""What takes part in one trial's training, built once and moved on an epoch at a time.

trainer = Trainer.build(settings, store=store, data_seed=0, weights=weights, device=device)
trainer.resume(snapshot)                                  # or not
numbers = trainer.epoch(4)                                # {"train_loss": …, "scores": {"val_accuracy": …}, "lr": …}
trainer.snapshot(epoch=4).save(path)
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.arithmetic import Arithmetic, Preparation
from trainables.checkpoint import Snapshot, copied
from trainables.data.catalog import Task
from trainables.data.store import PixelStore
from trainables.errors import TrialError
from trainables.features import Sharing
from trainables.feed import Feed, Stream
from trainables.hardware import autocast_dtype
from trainables.models.build import Model
from trainables.models.freezing import parameter_groups, thaw, trainable_names, training_mode
from trainables.models.heads import scale_head, start_head_at
from trainables.models.resident import residents
from trainables.models.weights import Weights
from trainables.normalizing import normalization
from trainables.seeding import seeded
from trainables.settings import TrialSettings
from trainables.tasks import loss_for
from trainables.training.loop import Learning, evaluate, train
from trainables.training.losses import build_loss, is_standardised, target_moments
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.mixing import Mixing
from trainables.training.optimizers import build_optimizer, load_optimizer_state
from trainables.training.schedules import Schedule, steps_of


@dataclass(frozen=True)
class Trainer:
    """A trial's network, with all that trains and measures it, on its device."""

    settings: TrialSettings
    task: Task
    model: Model
    learning: Learning
    arithmetic: Arithmetic
    feed: Feed

    @classmethod
    def build(
        cls,
        settings: TrialSettings,
        *,
        store: PixelStore,
        data_seed: int,
        weights: Weights,
        device: torch.device,
        sharing: Sharing | None = None,
    ) -> "Trainer":
        """A trial before its first epoch. Errors as `build_model`; `TrialError` for a precision the device has not."""
        weights = weights.for_trial(settings.loss, task=store.task)
        resident = residents.get(
            settings,
            classes=len(store.classes),
            channels=store.channels,
            task=store.task,
            weights=weights,
            device=device,
        )
        model = resident.copy(settings)
        if settings.optimizer == "lbfgs":
            # torch's takes all gradients for one vector, which only those laid out contiguously are views of.
            model.network.to(memory_format=torch.contiguous_format)
        arithmetic = Arithmetic.of(device, autocast_dtype(settings.precision, device))
        groups = parameter_groups(
            model,
            lr=settings.lr,
            head_lr_factor=settings.head_lr_factor,
            layer_decay=settings.layer_decay,
            weight_decay=settings.weight_decay,
        )
        optimizer = build_optimizer(groups, settings)
        if arithmetic.scaler.is_enabled() and settings.optimizer == "lbfgs":
            raise TrialError("lbfgs cannot be trained in fp16; use another precision or optimizer")
        pictures = store.indices("train")
        if store.task == "regression":
            _begin_regression(model, settings, targets=store.targets[pictures], trained=weights.head)
        loss = build_loss(settings, task=store.task, classes=len(store.classes), targets=store.targets[pictures])
        mean, std = normalization(
            settings.normalize, facts=model.facts, channels=store.channels, measured=(store.mean, store.std)
        )
        feed = Feed(
            model,
            resident=resident,
            settings=settings,
            store=store,
            data_seed=data_seed,
            arithmetic=arithmetic,
            prepare=Preparation(device, mean=mean, std=std),
            sharing=sharing,
        )
        return cls(
            settings=settings,
            task=store.task,
            model=model,
            learning=Learning(
                loss=loss.to(device),
                optimizer=optimizer,
                schedule=Schedule(optimizer, settings, steps=steps_of(len(pictures), settings)),
                mixing=Mixing(settings),
                clip_grad_norm=settings.clip_grad_norm,
            ),
            arithmetic=arithmetic,
            feed=feed,
        )

    def resume(self, snapshot: Snapshot) -> None:
        """Takes up the state after the snapshot's epoch. `TrialError` when it is of another trial."""
        if snapshot.settings != self.settings:
            raise TrialError("the checkpoint is of other settings than this trial's")
        self._thaw_before(snapshot.epoch)
        _load_changed(self.model, snapshot.model)
        load_optimizer_state(self.learning.optimizer, snapshot.training["optimizer"])
        self.learning.schedule.load_state_dict(snapshot.training["schedule"])
        self.arithmetic.scaler.load_state_dict(snapshot.training["scaler"])

    def epoch(self, epoch: int) -> dict[str, Any]:
        """Trains for one epoch and validates; the numbers by the names of `EpochResult`'s fields.

        Raises:
            TrialError: a loss is no finite number, or these settings cannot be trained.
        """
        self._thaw_before(epoch)
        schedule = self.learning.schedule
        sharing_before = self.feed.seconds
        with seeded(self.settings.seed, "epoch", epoch, device=self.arithmetic.device):
            stream = self.feed.training(epoch=epoch)
            trained = self._train(stream, epoch=epoch)
            train_loss = _finite("training", trained.pop("loss"), epoch=epoch, lr=schedule.lr)
            validation_started, sharing_until_then = time.perf_counter(), self.feed.seconds
            validated = self._validate()
            val_loss = _finite("validation", validated.pop("loss"), epoch=epoch, lr=schedule.lr)
            validated_for = time.perf_counter() - validation_started
        schedule.end_epoch(epoch=epoch, val_loss=val_loss)
        scores: dict[str, float | None] = {f"train_{name}": value for name, value in trained.items()}
        scores |= {f"val_{name}": value for name, value in validated.items()}
        return {
            "train_loss": train_loss,
            "val_loss": val_loss,
            "scores": scores,
            "lr": schedule.lr,
            "parameters": sum(p.numel() for p in self.model.network.parameters()),
            "trainable": sum(p.numel() for p in self.model.network.parameters() if p.requires_grad),
            "shared": stream.shared,
            "precision": self.arithmetic.precision,
            "seconds_sharing": self.feed.seconds - sharing_before,
            "seconds_validating": validated_for - (self.feed.seconds - sharing_until_then),
        }

    def snapshot(self, *, epoch: int) -> Snapshot:
        """A copy of all that changes, as it is now, after `epoch`."""
        names = trainable_names(self.model)
        return Snapshot(
            epoch=epoch,
            settings=self.settings,
            model={name: copied(t) for name, t in self.model.network.state_dict().items() if name in names},
            training={
                "optimizer": _copied_tree(self.learning.optimizer.state_dict()),
                "schedule": self.learning.schedule.state_dict(),
                "scaler": self.arithmetic.scaler.state_dict(),
            },
        )

    def _thaw_before(self, epoch: int) -> None:
        """Epoch `freeze_epochs + 1` is the first that trains everything."""
        if self.model.frozen and 0 < self.settings.freeze_epochs < epoch:
            thaw(self.model)

    def _train(self, stream: Stream, *, epoch: int) -> dict[str, float]:
        training_mode(self.model)
        return train(
            stream.network,
            stream.batches,
            epoch=epoch,
            learning=self.learning,
            prepare=stream.prepare,
            arithmetic=self.arithmetic,
            running=RunningMetrics(self.arithmetic.device, settings=self.settings, task=self.task),
        )

    def _validate(self) -> dict[str, float | None]:
        stream = self.feed.validation()
        return evaluate(
            stream.network,
            stream.batches,
            prepare=stream.prepare,
            arithmetic=self.arithmetic,
            gathered=Gathered(settings=self.settings, task=self.task, loss=self.learning.loss),
        )


def _begin_regression(model: Model, settings: TrialSettings, *, targets: Tensor, trained: bool) -> None:
    """Has the head begin at the training targets' means and learn at their scale. `trained`: it is from elsewhere."""
    if is_standardised(loss_for(settings.loss, task="regression"), task="regression"):
        mean, std = target_moments(targets)
        device = next(model.network.parameters()).device
        scale_head(model.network, model.facts, mean=mean.to(device), std=std.to(device), trained=trained)
    elif not trained:  # what `poisson_nll` learns is the logarithm of a target's mean
        start_head_at(model.network, model.facts, values=targets.mean(dim=0).clamp(min=1e-6).log())


def _finite(phase: str, loss: float | None, *, epoch: int, lr: float) -> float:
    if loss is None or not math.isfinite(loss):
        raise TrialError(f"diverged: {phase} loss is {loss} in epoch {epoch} (learning rate {lr:g}); lower lr")
    return loss


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
