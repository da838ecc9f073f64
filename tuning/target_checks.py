"""What only the pictures' targets can tell: that the sweep's metric, and its losses, can be had of them.

check_targets(spec, store)        # UserError, before the first trial
uneven_targets(spec, store)       # ["search.metric: val_mae is the mean over …"]
"""

import torch
from torch import Tensor

from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.training.scores import SCORES, TOP
from tuning.space import combinations
from tuning.spec import Spec

UNEVEN = 10  # standard deviations this many times apart are told of


def check_targets(spec: Spec, store: PixelStore) -> None:
    """UserError for a metric that the validation pictures leave undefined, or a loss that the targets do not allow."""
    _check_metric(spec.search.metric, store)
    losses = {spec.settings_for(params).loss for params in combinations(spec.space, {"loss"})}
    used = torch.cat([store.indices("train"), store.indices("val")])
    if "poisson_nll" in losses and (store.targets[used] < 0).any():
        raise UserError(
            "poisson_nll is for counts, and a target is negative",
            where="loss",
            got=store.targets[used].min().item(),
            expected="numbers ≥ 0",
        )


def uneven_targets(spec: Spec, store: PixelStore) -> list[str]:
    """A line where the metric is a mean over values of which the largest alone count."""
    metric, targets = spec.search.metric, store.targets[store.indices("train")]
    if metric not in ("val_mae", "val_rmse") or len(store.classes) < 2:
        return []
    varies = {
        name: spread for name, spread in zip(store.classes, targets.std(dim=0).tolist(), strict=True) if spread > 0
    }
    most, least = max(varies, key=varies.__getitem__, default=""), min(varies, key=varies.__getitem__, default="")
    if not varies or varies[most] < UNEVEN * varies[least]:
        return []
    times = f"{varies[most] / varies[least]:,.0f} times"
    return [
        f"search.metric: {metric} is the mean over the values, each in its own units, and {most} varies {times} as much"
        f" as {least}, which hardly counts; val_r2 weighs all alike"
    ]


def _check_metric(metric: str, store: PixelStore) -> None:
    targets = store.targets[store.indices("val")]
    if metric == "val_top5" and len(store.classes) <= TOP:
        raise UserError(
            "of so few classes one of the five likeliest is always right",
            where="search.metric",
            got=metric,
            expected=f"more than {TOP} classes, not {len(store.classes)}",
            hint="take val_accuracy",
        )
    name = metric.removeprefix("val_")
    if name == "loss":
        return
    score = SCORES[store.task](_any_prediction(store, targets), targets)[name]
    if score.isnan():
        needed = {
            "auroc": "a class or label that some validation pictures have and others have not",
            "map": "validation pictures with labels",
            "r2": "targets that differ among the validation pictures",
        }
        raise UserError(
            "undefined on these validation pictures",
            where="search.metric",
            got=metric,
            expected=needed.get(name, "validation pictures"),
        )


def _any_prediction(store: PixelStore, targets: Tensor) -> Tensor:
    """Whether a score is defined depends on the targets alone."""
    return torch.zeros(len(targets), len(store.classes), dtype=torch.float64)
