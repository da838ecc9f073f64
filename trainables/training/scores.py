"""How good predictions are, by task: each score is one number on the device, computed there without a wait.

    scores = SCORES["classification"](probabilities, labels)      # {"accuracy": tensor(0.93), "auroc": tensor(0.98), …}

They agree with scikit-learn's functions of these names, averaged over classes as its `macro`, with one difference: a
class for which a score is undefined (AUROC without a positive or without a negative picture) does not count, and NaN
means that none did. scikit-learn itself takes a second to load, in each process that runs trials, and wants its numbers
on the host.
"""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from trainables.data.catalog import Task

TOP = 5
# Columns that are sorted together: on the way to a curve's area lies ten times what the scores themselves take.
_COLUMNS = 32

ByColumn = Callable[[Tensor, Tensor], Tensor]


def classification_scores(probabilities: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Of probabilities float64 [N, K] and labels int64 [N]. `top5` is told of more than five classes."""
    classes = probabilities.shape[1]
    chosen = probabilities.argmax(dim=1)
    pairs = torch.zeros(classes * classes, dtype=torch.float64, device=labels.device)
    pairs.index_add_(0, labels * classes + chosen, torch.ones_like(pairs[0]).expand(len(labels)))  # bincount would wait
    pairs = pairs.view(classes, classes)
    right, there, said = pairs.diagonal(), pairs.sum(dim=1), pairs.sum(dim=0)
    recalls = torch.where(there > 0, right / there, torch.nan)
    scores = {"accuracy": right_classes(probabilities, labels).double().mean()}
    if classes > TOP:
        top = probabilities.topk(TOP, dim=1).indices
        scores["top5"] = (top == labels[:, None]).any(dim=1).double().mean()
    positive = torch.zeros_like(probabilities, dtype=torch.bool).scatter_(1, labels[:, None], True)
    return {
        **scores,
        "balanced_accuracy": recalls.nanmean(),
        "f1": _f1(right, there=there, said=said, among=there + said > 0),
        "auroc": areas_under_roc(probabilities, positive).nanmean(),
    }


def multilabel_scores(probabilities: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Of probabilities float64 [N, K] and targets [N, K] of 0 and 1. Accuracy is that of single labels."""
    positive, chosen = targets > 0.5, probabilities > 0.5
    right, there, said = ((chosen & positive).sum(dim=0), positive.sum(dim=0), chosen.sum(dim=0))
    return {
        "map": average_precisions(probabilities, positive).nanmean(),
        "accuracy": right_labels(probabilities, targets).double().mean(),
        "f1": _f1(right.double(), there=there, said=said, among=torch.ones_like(there, dtype=torch.bool)),
        "auroc": areas_under_roc(probabilities, positive).nanmean(),
    }


def regression_scores(numbers: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """Of numbers float64 [N, K] and targets [N, K], in the targets' units. R² is the mean of the columns'."""
    errors = numbers - targets
    squares = errors.square().sum(dim=0)
    spread = (targets.double() - targets.double().mean(dim=0)).square().sum(dim=0)
    return {
        "mae": errors.abs().mean(),
        "rmse": errors.square().mean(dim=0).sqrt().mean(),
        "r2": torch.where(spread > 0, 1 - squares / spread, torch.nan).nanmean(),
    }


SCORES: dict[Task, Callable[[Tensor, Tensor], dict[str, Tensor]]] = {
    "classification": classification_scores,
    "multilabel": multilabel_scores,
    "regression": regression_scores,
}


def right_classes(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Whether the likeliest class is the right one: bool [N]."""
    return probabilities.argmax(dim=1) == labels


def right_labels(probabilities: Tensor, targets: Tensor) -> Tensor:
    """The share of each picture's labels that are told right: float64 [N]."""
    return ((probabilities > 0.5) == (targets > 0.5)).double().mean(dim=1)


def absolute_errors(numbers: Tensor, targets: Tensor) -> Tensor:
    """The mean error of each picture's numbers: float [N]."""
    return (numbers - targets).abs().mean(dim=1)


def _few_at_a_time(score: ByColumn) -> ByColumn:
    """A score of each column, computed of a few columns at a time; the numbers are the same."""

    @functools.wraps(score)
    def of_all(scores: Tensor, positive: Tensor) -> Tensor:
        parts = zip(scores.split(_COLUMNS, dim=1), positive.split(_COLUMNS, dim=1), strict=True)
        return torch.cat([score(*part) for part in parts])

    return of_all


@_few_at_a_time
def areas_under_roc(scores: Tensor, positive: Tensor) -> Tensor:
    """The area under each column's ROC curve, float64 [K]; NaN for a column without positives or negatives.

    From the ranks of the positives (Mann and Whitney 1947), equal scores sharing the mean of their ranks. `scores`
    float [N, K], `positive` bool [N, K].
    """
    ordered, order = scores.sort(dim=0)
    first, last = _ties(ordered)
    ranks = (first + last).double() / 2 + 1
    sums = (ranks * positive.gather(0, order)).sum(dim=0)
    positives = positive.sum(dim=0).double()
    negatives = len(scores) - positives
    return (sums - positives * (positives + 1) / 2) / (positives * negatives)


@_few_at_a_time
def average_precisions(scores: Tensor, positive: Tensor) -> Tensor:
    """The average precision of each column, float64 [K]: the mean of the precisions at its positives, equal scores
    being taken together; NaN for a column without positives. `scores` float [N, K], `positive` bool [N, K].
    """
    ordered, order = scores.sort(dim=0, descending=True)
    hits = positive.gather(0, order)
    _, last = _ties(ordered)
    precisions = hits.cumsum(dim=0).gather(0, last).double() / (last + 1)
    return (precisions * hits).sum(dim=0) / hits.sum(dim=0)


def _ties(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """For each place of sorted columns, the first and the last place with the same value: int64 [N, K] each."""
    count = len(ordered)
    places = torch.arange(count, device=ordered.device)[:, None].expand_as(ordered)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[1:] = ordered[1:] != ordered[:-1]
    first = torch.where(new, places, 0).cummax(dim=0).values
    ends = torch.ones_like(new)
    ends[:-1] = new[1:]
    last = torch.where(ends, places, count - 1).flip(0).cummin(dim=0).values.flip(0)
    return first, last


def _f1(right: Tensor, *, there: Tensor, said: Tensor, among: Tensor) -> Tensor:
    """The mean F1 of the classes `among`; 0 for one that is neither there nor said."""
    values = 2 * right / (there + said).clamp(min=1)
    return (values * among).sum() / among.sum()
