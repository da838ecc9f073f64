"""Losses by name, each the mean over some pictures, and what the network's outputs mean under them.

loss = build_loss(settings, task=store.task, classes=len(store.classes), targets=store.targets[train])
value = loss(outputs, targets)        # float [N, K] and int64 [N] | float [N, K] → scalar
predicted(outputs, task=store.task, loss=settings.loss)    # probabilities, or numbers in the targets' units
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.data.catalog import Task
from trainables.settings import TrialSettings
from trainables.tasks import Scores, loss_for, scores_for

Loss = Callable[[Tensor, Tensor], Tensor]

# Pairs of a whole pass that margin ranking looks at together.
_PAIRS_AT_A_TIME = 2**16
_LEAST_WRONG = 1e-6  # what focal takes for the rest of a probability of nearly 1: some steps of fp32


@dataclass(frozen=True)
class Aims:
    """What a loss is built for: a task with so many outputs, and the training pictures' targets."""

    task: Task
    classes: int
    targets: Tensor

    def class_weights(self, settings: TrialSettings) -> Tensor | None:
        """float32 [K]: pictures / (K · pictures of the class), as scikit-learn's `balanced`; None for equal ones."""
        if settings.class_weights == "none":
            return None
        return len(self.targets) / (self.classes * self._counts())

    def positive_weights(self, settings: TrialSettings) -> Tensor | None:
        """float32 [K]: pictures without a label for each picture with it; None for equal ones."""
        if settings.class_weights == "none":
            return None
        counts = self._counts()
        return (len(self.targets) - counts).clamp(min=1) / counts

    def _counts(self) -> Tensor:
        """Training pictures of each class or label; 1 where there are none, since nothing is to be weighed there."""
        if self.task == "classification":
            counts = torch.bincount(self.targets, minlength=self.classes)
        else:
            counts = self.targets.sum(dim=0)
        return counts.float().clamp(min=1)


class _OfLogProbabilities(nn.Module):
    """A loss of torch's that takes logarithms of probabilities."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs.log_softmax(dim=1), targets)


class _OneAgainstRest(nn.Module):
    """Binary cross-entropy of each output against the rest; targets int64 [N] or 0 and 1 [N, K]."""

    def __init__(self, weights: Tensor | None) -> None:
        super().__init__()
        self.loss = nn.BCEWithLogitsLoss(pos_weight=weights)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs, _one_hot(targets, outputs) if targets.ndim == 1 else targets)


class _Focal(nn.Module):
    """Lin et al. 2017 (arXiv:1708.02002), equation 5 for several classes; gamma 0 is cross-entropy."""

    def __init__(self, gamma: float, weights: Tensor | None) -> None:
        super().__init__()
        self.gamma = gamma
        self.weights: Tensor | None
        self.register_buffer("weights", weights)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        log_right = outputs.log_softmax(dim=1).gather(1, targets[:, None])[:, 0]
        # At 0 the slope of a power below 1 has no end.
        wrong = (1 - log_right.exp()).clamp(min=_LEAST_WRONG)
        losses = -(wrong**self.gamma) * log_right
        if self.weights is None:
            return losses.mean()
        weights = self.weights[targets]
        return (weights * losses).sum() / weights.sum()


class _FromSmoothed(nn.Module):
    """Kullback-Leibler divergence of the network's probabilities from the smoothed class (Szegedy et al. 2016)."""

    def __init__(self, smoothing: float) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        smoothed = _one_hot(targets, outputs) * (1 - self.smoothing) + self.smoothing / outputs.shape[1]
        return functional.kl_div(outputs.log_softmax(dim=1), smoothed, reduction="batchmean")


class _OfProbabilities(nn.Module):
    """A distance between the network's probabilities and the class, one-hot; their mean square is Brier's of 1950."""

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss(outputs.softmax(dim=1), _one_hot(targets, outputs))


class _OfLabels(nn.Module):
    """Torch's multi-label margin loss, which wants the labels' numbers in front, then -1."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.MultiLabelMarginLoss()

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        there = targets > 0.5
        numbers = there.int().argsort(dim=1, descending=True, stable=True)
        places = torch.arange(targets.shape[1], device=targets.device)
        return self.loss(outputs, numbers.where(places < there.sum(dim=1, keepdim=True), -1))


class _OfPairs(nn.Module):
    """Margin ranking over all pairs of pictures whose targets differ; 0 where there is none."""

    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        pictures = len(targets)
        rows = max(1, _PAIRS_AT_A_TIME // pictures)
        parts = [self._pairs(outputs[start:], targets[start:], rows=rows) for start in range(0, pictures, rows)]
        losses, differing = zip(*parts, strict=True)
        return sum(losses) / sum(differing).clamp(min=1)

    def _pairs(self, outputs: Tensor, targets: Tensor, *, rows: int) -> tuple[Tensor, Tensor]:
        """The sum over the first pictures' pairs with all that follow each, and how many of them differ."""
        first, second = torch.triu_indices(min(rows, len(targets)), len(targets), offset=1, device=targets.device)
        order = (targets[first] - targets[second]).sign()
        losses = functional.margin_ranking_loss(
            outputs[first], outputs[second], order, margin=self.margin, reduction="none"
        )
        differs = order != 0
        return (losses * differs).sum(), differs.sum()


class _OfStandardised(nn.Module):
    """A loss of numbers in units of the training targets' spread, so that a rate suits targets of any size."""

    def __init__(self, loss: nn.Module, targets: Tensor) -> None:
        super().__init__()
        self.loss = loss
        self.mean: Tensor
        self.std: Tensor
        for name, values in zip(("mean", "std"), target_moments(targets), strict=True):
            self.register_buffer(name, values)

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.loss((outputs - self.mean) / self.std, (targets - self.mean) / self.std)


LOSSES: dict[str, Callable[[TrialSettings, Aims], nn.Module]] = {
    "cross_entropy": lambda s, aims: nn.CrossEntropyLoss(
        weight=aims.class_weights(s), label_smoothing=s.label_smoothing
    ),
    "nll": lambda s, aims: _OfLogProbabilities(nn.NLLLoss(weight=aims.class_weights(s))),
    "bce": lambda s, aims: _OneAgainstRest(aims.positive_weights(s)),
    "multi_margin": lambda s, aims: nn.MultiMarginLoss(margin=s.margin, weight=aims.class_weights(s)),
    "focal": lambda s, aims: _Focal(s.focal_gamma, aims.class_weights(s)),
    "kl_div": lambda s, aims: _FromSmoothed(s.label_smoothing),
    "mse": lambda s, aims: _distance(nn.MSELoss(), aims),
    "l1": lambda s, aims: _distance(nn.L1Loss(), aims),
    "smooth_l1": lambda s, aims: nn.SmoothL1Loss(beta=s.smooth_l1_beta),
    "huber": lambda s, aims: nn.HuberLoss(delta=s.huber_delta),
    "poisson_nll": lambda s, aims: nn.PoissonNLLLoss(log_input=True),
    "multilabel_margin": lambda s, aims: _OfLabels(),
    "multilabel_soft_margin": lambda s, aims: nn.MultiLabelSoftMarginLoss(),
    "margin_ranking": lambda s, aims: _OfPairs(s.margin),
}


# What turns outputs [N, K] into scores.
FROM_OUTPUTS: dict[Scores, Callable[[Tensor], Tensor]] = {
    "softmax": lambda outputs: outputs.softmax(dim=1),
    "sigmoid": torch.sigmoid,
    "identity": lambda outputs: outputs,
    "exp": torch.exp,
}


def build_loss(settings: TrialSettings, *, task: Task, classes: int, targets: Tensor) -> nn.Module:
    """The loss a trial minimises: the mean over outputs float [N, K] and their targets.

    Args:
        settings: `loss` must fit the task.
        task: what the targets are.
        classes: K, the number of classes, labels or numbers.
        targets: those of the training pictures, which `class_weights: balanced` counts and regression is scaled by.
    """
    name = loss_for(settings.loss, task=task)
    loss = LOSSES[name](settings, Aims(task, classes, targets))
    return _OfStandardised(loss, targets) if is_standardised(name, task=task) else loss


def is_standardised(loss: str, *, task: Task) -> bool:
    """Whether outputs and targets are compared in standard deviations of the training targets. Poisson's are counts."""
    return task == "regression" and loss != "poisson_nll"


def target_moments(targets: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of numbers float32 [N, K], each float32 [K]; 1 for what is always the same."""
    numbers = targets.double()  # in whose sums nothing is rounded: what is always the same has no spread
    std = numbers.std(dim=0, correction=0)
    return numbers.mean(dim=0).float(), torch.where(std > 0, std, torch.ones_like(std)).float()


def predicted(outputs: Tensor, *, task: Task, loss: str) -> Tensor:
    """What a network's outputs (float [N, K]) say.

    Probabilities [N, K] in classification (of each row's classes) and multilabel (of each label); in regression the
    numbers, in the targets' units. `loss` is the setting with which the network was trained.
    """
    return FROM_OUTPUTS[scores_for(loss, task=task)](outputs)


def _distance(loss: nn.Module, aims: Aims) -> nn.Module:
    return _OfProbabilities(loss) if aims.task == "classification" else loss


def _one_hot(targets: Tensor, outputs: Tensor) -> Tensor:
    """int64 [N] to 0 and 1 in the outputs' type, [N, K]."""
    return torch.zeros_like(outputs).scatter_(1, targets[:, None], 1.0)
