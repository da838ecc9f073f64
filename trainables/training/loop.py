"""One pass over the pictures: training, or validation.

numbers = train(network, batches, epoch=3, learning=learning, prepare=prepare, arithmetic=arithmetic, running=running)
numbers = evaluate(network, batches, loss=loss, prepare=prepare, arithmetic=arithmetic, gathered=gathered)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.data.transforms import normalize
from trainables.errors import TrialError
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.mixing import Batch, Mixing
from trainables.training.schedules import Schedule

Batches = Iterable[tuple[Tensor, Tensor]]
Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Arithmetic:
    """Where and in which type a network computes.

    `dtype` None is fp32. `scaler` scales losses for fp16, whose small gradients would vanish otherwise.
    """

    device: torch.device
    dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype | None) -> "Arithmetic":
        scaler = torch.amp.GradScaler(device.type, enabled=dtype is torch.float16)
        return cls(device=device, dtype=dtype, scaler=scaler)

    def key(self) -> dict[str, Any]:
        """All that the last bit of a result depends on, beside what is computed."""
        if self.device.type == "cuda":
            where: dict[str, Any] = {"device": torch.cuda.get_device_name(self.device), "cuda": torch.version.cuda}
        else:
            where = {"device": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
        return {**where, "type": str(self.dtype)}

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


@dataclass(frozen=True)
class Preparation:
    """Moves a batch to the device and normalises it there: uint8 [N, C, H, W] → float channels_last [N, C, H, W]."""

    device: torch.device
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, pictures: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return self.pictures(pictures), targets.to(self.device, non_blocking=True)

    def pictures(self, pictures: Tensor) -> Tensor:
        """The pictures alone."""
        pictures = pictures.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return normalize(pictures, mean=self.mean, std=self.std)

    def features(self, features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """What a part of the network made of the pictures is moved only."""
        return features.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True)


@dataclass(frozen=True)
class Learning:
    """What makes a network learn: a loss, an optimiser with its rates, how pictures are mixed, how far a step goes."""

    loss: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    mixing: Mixing
    clip_grad_norm: float


def train(
    network: nn.Module,
    batches: Batches,
    *,
    epoch: int,
    learning: Learning,
    prepare: Prepare,
    arithmetic: Arithmetic,
    running: RunningMetrics,
) -> dict[str, float]:
    """One pass of training steps; the caller has put the network in training mode.

    Returns:
        The mean loss and score as they were while training.
    """
    for step, (raw_pictures, raw_targets) in enumerate(batches):
        learning.schedule.set(epoch=epoch, step=step)
        pictures, targets = prepare(raw_pictures, raw_targets)
        batch = learning.mixing(pictures, targets, epoch=epoch, step=step)
        value, outputs = _step(network, batch, learning=learning, arithmetic=arithmetic)
        running.update(value, outputs, batch.leading)
    return running.compute()


def _step(network: nn.Module, batch: Batch, *, learning: Learning, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
    """One training step; the loss and the outputs as they were before it."""
    optimizer = learning.optimizer
    seen: list[tuple[Tensor, Tensor]] = []

    def loss_with_gradients() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with arithmetic.autocast():
            outputs = _forward(network, batch.pictures)
        value = batch.loss(learning.loss, outputs.float())
        scaled: Any = arithmetic.scaler.scale(value)
        scaled.backward()
        seen.append((value.detach(), outputs.detach()))
        return value

    if isinstance(optimizer, torch.optim.LBFGS):
        # It looks at the loss several times in a step, and reads the curvature off gradients neither scaled nor cut.
        optimizer.step(loss_with_gradients)
    else:
        loss_with_gradients()
        if learning.clip_grad_norm:
            arithmetic.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(network.parameters(), learning.clip_grad_norm)
        arithmetic.scaler.step(optimizer)
        arithmetic.scaler.update()
    return seen[0]


def _forward(network: nn.Module, pictures: Tensor) -> Tensor:
    try:
        return network(pictures)
    except ValueError as error:
        if len(pictures) > 1:
            raise
        raise TrialError(
            "a batch of one picture, which BatchNorm cannot learn from; set drop_last: true or another batch_size"
        ) from error


@torch.inference_mode()
def evaluate(
    network: nn.Module,
    batches: Batches,
    *,
    loss: nn.Module,
    prepare: Prepare,
    arithmetic: Arithmetic,
    gathered: Gathered,
) -> dict[str, float | None]:
    """One pass without learning; puts the network in evaluation mode. Returns the mean loss and the task's scores."""
    network.eval()
    for raw_pictures, raw_targets in batches:
        pictures, targets = prepare(raw_pictures, raw_targets)
        with arithmetic.autocast():
            outputs = network(pictures)
        gathered.update(loss(outputs.float(), targets), outputs, targets)
    return gathered.compute()
