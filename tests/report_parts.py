"""What tests of the report share: trials without a ledger, an export's predictions, the page's sections.

trial(3, "pruned", values=[0.5, 0.6], at=20.0)
add_predictions(run, classes=("ants", "bees"))
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.ledger import TrialRecord
from reports.predictions import written
from tuning.space import Choice, Float, distribution

SECTIONS = ["answer", "leaderboard", "comparisons", "trials", "settings", "model", "record"]
TRIAL_SPACE = {"lr": Float(1e-5, 1e-1, log=True), "freeze": Choice(("none", "layer2", 2)), "gamma": Float(0.1, 0.9)}


def trial(
    number: int,
    state: str = "complete",
    values: Sequence[float] = (),
    *,
    at: float = 0.0,
    params: dict[str, Any] | None = None,
    **epoch: Any,
) -> TrialRecord:
    """A trial whose epochs take a second each, the first ending `at` + 1 seconds into the sweep."""
    epochs = tuple(
        {"epoch": place, "val_accuracy": value, "train_accuracy": value / 2, "val_loss": 1 - value, "seconds": 1.0}
        | {"elapsed": at + place}
        | epoch
        for place, value in enumerate(values, start=1)
    )
    params = {"lr": 0.01, "freeze": "none"} if params is None else params
    return TrialRecord(
        number=number,
        state=state,
        params=params,
        settings={"model": "resnet18", **params},
        epochs=epochs,
        value=max(values, default=None),
        best_epoch=list(values).index(max(values)) + 1 if values else None,
        error=None,
        attempts=(),
        started=None,
        ended=None,
        distributions={name: distribution(TRIAL_SPACE[name]) for name in params},
    )


def add_predictions(run: Path, *, classes: Sequence[str], task: str = "classification", number: int = 1) -> None:
    """An export's predictions: ten pictures, some of them wrong."""
    best = run / "best"
    best.mkdir()
    (best / "model.json").write_text(json.dumps({"trial": number}))
    with written(best / "predictions.csv", task=task, classes=classes) as add:
        for place in range(10):
            scores = [0.9 if k == (place * 3) % len(classes) else 0.1 / len(classes) for k in range(len(classes))]
            truth = (
                place % len(classes)
                if task == "classification"
                else [float((place + k) % 2) for k in range(len(classes))]
            )
            add("val", f"val/{place}.png", truth, scores)
