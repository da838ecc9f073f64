"""What is measured in a pass: running means while training, and all of a task's scores after validation.

running = RunningMetrics(device, settings=settings, task=task)
running.update(loss, outputs, targets)         # no wait for the device
running.compute()                              # one wait, at the end: {"loss": …, "accuracy": …}

gathered = Gathered(settings=settings, task=task, loss=loss)
gathered.update(outputs, targets)
gathered.compute()                             # {"loss": …, "accuracy": …, "f1": …, "auroc": …}
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from trainables.data.catalog import Task
from trainables.settings import TrialSettings
from trainables.tasks import TRAINING_SCORE_OF
from trainables.training.losses import predicted
from trainables.training.scores import SCORES, absolute_errors, right_classes, right_labels

# Summed up over a pass, for the mean: outputs as predicted, targets → float [N].
_EACH: dict[Task, Callable[[Tensor, Tensor], Tensor]] = {
    "classification": right_classes,
    "multilabel": right_labels,
    "regression": absolute_errors,
}


class RunningMetrics:
    """Means over pictures: the loss, and the task's training score. Sums stay on the device until `compute`."""

    def __init__(self, device: torch.device, *, settings: TrialSettings, task: Task) -> None:
        self._task, self._loss_name = task, settings.loss
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._count = 0

    def update(self, loss: Tensor, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch: its mean loss (scalar), outputs [N, K] and their targets."""
        says = predicted(outputs.detach().float(), task=self._task, loss=self._loss_name)
        score = _EACH[self._task](says, targets).double().sum()
        self._sums += torch.stack([loss.detach().double() * len(targets), score])
        self._count += len(targets)

    def compute(self) -> dict[str, float]:
        """The means over all batches so far."""
        if self._count == 0:
            raise ValueError("no batch was seen")
        loss, score = (self._sums / self._count).tolist()
        return {"loss": loss, TRAINING_SCORE_OF[self._task]: score}


class Gathered:
    """All outputs of a pass, kept on the device, and the loss and the task's scores of them all.

    The loss is one mean over the pass: where pictures weigh differently, or are compared with each other, means of
    batches would depend on which pictures share a batch.
    """

    def __init__(self, *, settings: TrialSettings, task: Task, loss: nn.Module) -> None:
        self._task, self._loss_name = task, settings.loss
        self._loss = loss
        self._outputs: list[Tensor] = []
        self._targets: list[Tensor] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Adds a batch: outputs [N, K] and their targets."""
        self._outputs.append(outputs.float())
        self._targets.append(targets)

    def compute(self) -> dict[str, float | None]:
        """The loss and the scores; a score is None where these targets leave it undefined, as without positives."""
        if not self._targets:
            raise ValueError("no batch was seen")
        outputs, targets = torch.cat(self._outputs), torch.cat(self._targets)
        says = predicted(outputs.double(), task=self._task, loss=self._loss_name)
        scores = SCORES[self._task](says, targets)
        loss, *numbers = torch.stack([self._loss(outputs, targets).double(), *scores.values()]).tolist()  # the one wait
        known = {name: None if math.isnan(number) else number for name, number in zip(scores, numbers, strict=True)}
        return {"loss": loss, **known}
