"""One pass over the pictures: training, or validation.

metrics = train(model, batches, loss=loss, optimizer=optimizer, prepare=prepare, arithmetic=arithmetic)
metrics = evaluate(model, batches, loss=loss, prepare=prepare, arithmetic=arithmetic)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.errors import TrialError
from trainables.training.metrics import RunningMetrics

Batches = Iterable[tuple[Tensor, Tensor]]


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

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype is not None)


@dataclass(frozen=True)
class Preparation:
    """Moves a batch to the device and normalises it there: uint8 [N, C, H, W] → float channels_last [N, C, H, W]."""

    device: torch.device
    normalize: Callable[[Tensor], Tensor]

    def __call__(self, pictures: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        pictures = pictures.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return self.normalize(pictures), labels.to(self.device, non_blocking=True)


def train(
    network: nn.Module,
    batches: Batches,
    *,
    loss: nn.Module,
    optimizer: torch.optim.Optimizer,
    prepare: Preparation,
    arithmetic: Arithmetic,
) -> dict[str, float]:
    """One pass of training steps; the caller has put the network in training mode.

    Returns:
        The mean loss and accuracy as they were while training.
    """
    running = RunningMetrics(arithmetic.device)
    for raw_pictures, raw_labels in batches:
        pictures, labels = prepare(raw_pictures, raw_labels)
        optimizer.zero_grad(set_to_none=True)
        with arithmetic.autocast():
            logits = _forward(network, pictures)
        value = loss(logits.float(), labels)
        scaled: Any = arithmetic.scaler.scale(value)
        scaled.backward()
        arithmetic.scaler.step(optimizer)
        arithmetic.scaler.update()
        running.update(value, logits, labels)
    return running.compute()


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
    network: nn.Module, batches: Batches, *, loss: nn.Module, prepare: Preparation, arithmetic: Arithmetic
) -> dict[str, float]:
    """One pass without learning; puts the network in evaluation mode. Returns the mean loss and accuracy."""
    network.eval()
    running = RunningMetrics(arithmetic.device)
    for raw_pictures, raw_labels in batches:
        pictures, labels = prepare(raw_pictures, raw_labels)
        with arithmetic.autocast():
            logits = network(pictures)
        running.update(loss(logits.float(), labels), logits, labels)
    return running.compute()
