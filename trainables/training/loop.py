"""One pass over the pictures: training, or validation.

numbers = train(network, batches, epoch=3, learning=learning, prepare=prepare, arithmetic=arithmetic, running=running)
numbers = evaluate(network, batches, prepare=prepare, arithmetic=arithmetic, gathered=gathered)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainables.arithmetic import Arithmetic, forwarded
from trainables.errors import TrialError
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.mixing import Batch, Mixing
from trainables.training.schedules import Schedule

Batches = Iterable[tuple[Tensor, Tensor]]
Prepare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


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
    prepare: Prepare,
    arithmetic: Arithmetic,
    gathered: Gathered,
) -> dict[str, float | None]:
    """One pass without learning; puts the network in evaluation mode. Returns the loss and the task's scores."""
    network.eval()
    for raw_pictures, raw_targets in batches:
        pictures, targets = prepare(raw_pictures, raw_targets)
        with arithmetic.autocast():
            outputs = forwarded(network, pictures)
        gathered.update(outputs, targets)
    return gathered.compute()
