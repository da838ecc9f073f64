"""Losses by name.

loss = build_loss(settings)
value = loss(logits, labels)      # logits float [N, classes], labels int64 [N] → scalar
"""

from collections.abc import Callable

from torch import nn

from trainables.settings import TrialSettings

LOSSES: dict[str, Callable[[TrialSettings], nn.Module]] = {
    "cross_entropy": lambda s: nn.CrossEntropyLoss(label_smoothing=s.label_smoothing),
    "multi_margin": lambda s: nn.MultiMarginLoss(),
}


def build_loss(settings: TrialSettings) -> nn.Module:
    """The loss a trial minimises: the mean over a batch."""
    return LOSSES[settings.loss](settings)
