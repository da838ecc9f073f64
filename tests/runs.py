"""Makes runs' folders for tests through the ledger, as a sweep's driver does, without torch or Ray.

run = make_run(tmp_path, trials=[Planned("complete", {"lr": 0.01, "freeze": "none"}, [0.5, 0.9])])
"""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reports.ledger import Ledger
from reports.record import SCHEMA
from reports.sweep import metric_mode
from trainables.settings import TrialSettings
from tuning.space import Choice, Float, distribution
from tuning.spec import SearchSettings, Spec

HOSTILE = (
    "<script>alert(1)</script>",
    "a \"quoted\" 'name' | `code` [bold]x[/bold] [link](http://x)",
    "two\nlines\r\n\tand \x1b[31mcolour\x1b[0m and \u202eright to left",
    "long\rwords " * 30,
    "=cmd('calc')",
)

SPACE = {"lr": Float(1e-5, 1e-1, log=True), "freeze": Choice(("none", "layer2", 2)), "nesterov": Choice((True, False))}


@dataclass(frozen=True)
class Planned:
    """A trial to put in the ledger. `values` are the metric's, one an epoch; losses and accuracies follow from them."""

    state: str
    params: dict[str, Any] = field(default_factory=lambda: {"lr": 0.01, "freeze": "none", "nesterov": False})
    values: Sequence[float] = ()
    error: str | None = None


TRIALS = (
    Planned("complete", {"lr": 0.01, "freeze": "none", "nesterov": True}, [0.5, 0.9, 0.8]),
    Planned("complete", {"lr": 0.02, "freeze": "layer2", "nesterov": False}, [0.6, 0.95, 0.95]),
    Planned("pruned", {"lr": 0.00123456, "freeze": 2, "nesterov": False}, [0.4]),
    Planned("failed", {"lr": 0.1, "freeze": "none", "nesterov": True}, [], HOSTILE[0]),
    *(Planned("failed", {"lr": 0.1, "freeze": "none", "nesterov": True}, [0.1], error) for error in HOSTILE[1:]),
    Planned("complete", {"lr": 0.03, "freeze": "none", "nesterov": False}, [0.7, 0.95, 0.1]),
    Planned("running", {"lr": 0.04, "freeze": "layer2", "nesterov": False}, [0.99]),
)


def make_run(
    runs: Path,
    *,
    name: str = "resnet18",
    trials: Sequence[Planned] = TRIALS,
    metric: str = "val_accuracy",
    outcome: str | None = None,
    classes: Sequence[str] = ("ants", "bees"),
) -> Path:
    """A run's folder with its record and its ledger; no checkpoints."""
    run = runs / name
    run.mkdir(parents=True)
    spec = Spec(
        trial={"model": "resnet18", "image_size": 32, "epochs": 3, "weights": "none"},
        space=SPACE,
        search=SearchSettings(trials=len(trials) + 2, metric=metric),
    )
    record = {
        "schema": SCHEMA,
        "created": "2026-01-02T03:04:05+00:00",
        "file": "",
        "base": str(runs),
        "spec": spec.to_json(),
        "classes": list(classes),
        "channels": 1,
        "data": {
            "fingerprint": "f" * 64,
            "short_side": 37,
            "counts": {"train": dict.fromkeys(classes, 5), "val": dict.fromkeys(classes, 2)},
            "skipped": [],
        },
        "weights": {"none": {"resnet18": {"kind": "none", "path": None, "digest": None, "note": "random weights"}}},
        "sharing_bytes": 0,
        "versions": {"tuneyard": "0.1.0"},
    }
    (run / "sweep.json").write_text(json.dumps(record), encoding="utf-8")
    ledger = Ledger.create(run, metric=metric, mode=metric_mode(metric))
    for planned in trials:
        add_trial(ledger, planned, settings=spec.settings_for(planned.params))
    ledger.record_outcome(outcome)
    return run


def add_trial(ledger: Ledger, planned: Planned, *, settings: TrialSettings) -> int:
    """Puts one trial in the ledger, in the order of writes of a real one."""
    ledger.study.enqueue_trial(planned.params)
    number = ledger.study.ask({name: distribution(SPACE[name]) for name in planned.params}).number
    ledger.record_settings(number, dataclasses.asdict(settings))
    for epoch, value in enumerate(planned.values, start=1):
        ledger.record_epoch(number, make_epoch(number, epoch, **{ledger.metric: value}))
    if planned.state != "running":
        ledger.finish(number, planned.state, error=planned.error)
    return number


def make_epoch(number: int, epoch: int, **metrics: float) -> dict[str, Any]:
    """The record of one epoch, as the driver writes it."""
    return {
        "epoch": epoch,
        "train_loss": 1 / epoch,
        "train_accuracy": 0.5,
        "val_loss": 0.5,
        "val_accuracy": 0.5,
        "lr": 0.01,
        "seconds": 1.5,
        "elapsed": 10.0 * number + epoch,
        "checkpoint": f"trials/{number}/epoch-{epoch:05d}.safetensors",
        **metrics,
    }
