"""What the export measured of the best model, above all on the test pictures, which chose nothing.

measures_of(exported(sweep))["val"]            # {"pictures": 198, "loss": 0.21, "accuracy": 0.9545, …}
score = score_on_test(sweep, best)
score.value, score.noise, score.pictures       # 0.9497, 0.017, 179
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reports.answers import noise_of
from reports.ledger import TrialRecord
from reports.modelfile import BEST, DESCRIPTION
from reports.sweep import Sweep


@dataclass(frozen=True)
class Tested:
    """The sweep's metric on so many test pictures; `noise` is its standard error, where it is a share of them."""

    metric: str
    value: float
    pictures: int
    noise: float | None


def score_on_test(sweep: Sweep, best: TrialRecord) -> Tested | None:
    """None without test pictures, and where the exported model is not there, not measured, or another trial's."""
    model = exported(sweep)
    found = measures_of(model).get("test", {})
    name = sweep.metric.removeprefix("val_")
    value, pictures = found.get(name), found.get("pictures")
    if model.get("trial") != best.number or type(value) is not float or type(pictures) is not int or pictures < 1:
        return None
    return Tested(f"test_{name}", value, pictures, noise_of(value, sweep=sweep, pictures=pictures))


def measures_of(model: Mapping[str, Any]) -> dict[str, dict[str, int | float]]:
    """By split, what the export measured of its model: pictures, loss and scores, those that are numbers."""
    measured = model.get("measured")
    splits = measured.items() if isinstance(measured, dict) else ()
    return {
        split: {
            name: value
            for name, value in found.items()
            if type(value) is int or (type(value) is float and math.isfinite(value))
        }
        for split, found in splits
        if isinstance(found, dict)
    }


def exported(sweep: Sweep) -> dict[str, Any]:
    """What the model in `best/` says of itself, unchecked; empty where there is none."""
    try:
        model = json.loads((sweep.folder / BEST / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return model if isinstance(model, dict) else {}
