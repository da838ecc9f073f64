"""Trials that learnt nothing: which they are, and what tells them from the others."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from reports.collapsed import Cause, _apart, collapsed_of
from reports.sweep import Sweep
from reports.write import write_report
from runs import Planned, make_run
from tuning.driver import learnt_nothing

# Two of each class validate: chance is 0.5, and its standard error 0.18 by the adjusted share of four pictures.
CLASSES = ("ants", "bees")


def planned(lr: float, value: float, *, state: str = "pruned", freeze: str = "none") -> Planned:
    return Planned(state, {"lr": lr, "freeze": freeze, "nesterov": False}, [value])


RATES = (
    planned(0.09, 0.5),
    planned(0.05, 0.4, state="complete"),
    planned(0.01, 0.9, state="complete"),
    planned(0.001, 0.95, state="complete"),
    planned(0.08, 0.0, state="failed"),
    planned(0.07, 0.5, state="running"),
)


def test_large_rates_collapse(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=RATES, classes=CLASSES))
    found = collapsed_of(sweep, sweep.ledger().trials())
    assert found is not None
    assert ([trial.number for trial in found.trials], found.judged, found.chance) == ([0, 1], 4, 0.5)
    assert found.cause == Cause("lr", (0.05, 0.09), (0.001, 0.01))


def test_the_report_says_so(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=RATES, classes=CLASSES))
    write_report(sweep, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "2 of 4 trials got no further than chance: 0.5, one class for all pictures, give or take" in page
    assert "Their lr was 0.05 to 0.09; that of the others 0.001 to 0.01." in page
    told = json.loads((tmp_path / "report" / "report.json").read_text())["collapsed"]
    assert told["trials"] == [0, 1]
    assert told["cause"]["setting"] == "lr"


def test_a_report_of_trials_that_learnt_has_no_such_card(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=RATES[2:4], classes=CLASSES))
    assert collapsed_of(sweep, sweep.ledger().trials()) is None
    write_report(sweep, tmp_path / "report")
    assert "What learnt nothing" not in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    "rates",
    [
        pytest.param((0.09, 0.05, 0.06, 0.04), id="they lie among the others"),
        pytest.param((0.09, 0.05), id="there are no others"),
    ],
)
def test_no_cause_is_made_up(tmp_path: Path, rates: tuple[float, ...]) -> None:
    trials = [planned(lr, 0.5 if place < 2 else 0.95) for place, lr in enumerate(rates)]
    sweep = Sweep.open(make_run(tmp_path, trials=[*trials, planned(0.07, 0.9)], classes=CLASSES))
    found = collapsed_of(sweep, sweep.ledger().trials())
    assert found is not None
    assert found.cause is None


def test_in_regression_the_mean_is_chance(tmp_path: Path) -> None:
    trials = (
        planned(0.09, -200_000.0),
        planned(0.05, 0.0, state="complete"),
        planned(0.01, 0.1, state="complete"),
        planned(0.001, 0.9),
        planned(0.06, math.nan),
    )
    run = make_run(tmp_path, trials=trials, metric="val_r2")
    record = json.loads((run / "sweep.json").read_text())
    (run / "sweep.json").write_text(json.dumps({**record, "task": "regression"}))
    sweep = Sweep.open(run)
    found = collapsed_of(sweep, sweep.ledger().trials())
    assert found is not None
    assert ([trial.number for trial in found.trials], found.judged) == ([0, 1], 4)
    assert found.cause == Cause("lr", (0.05, 0.09), (0.001, 0.01))
    write_report(sweep, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "2 of 4 trials got no further than chance: an R² of 0, the mean for all pictures." in page
    assert learnt_nothing(sweep, sweep.ledger().trial(1)) == [
        "no trial is clearly better than chance (an R² of 0, the mean for all pictures)"
    ]


def test_where_only_the_order_is_learnt_the_mean_says_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[planned(0.05, -3.0, state="complete")], metric="val_r2")
    record = json.loads((run / "sweep.json").read_text())
    (run / "sweep.json").write_text(json.dumps({**record, "task": "regression"}))
    sweep = Sweep.open(run)
    (trial,) = sweep.ledger().trials()
    assert collapsed_of(sweep, [trial]) is not None
    ranking = dataclasses.replace(trial, settings={**trial.settings, "loss": "margin_ranking"})
    assert collapsed_of(sweep, [ranking]) is None


def test_a_loss_has_no_chance(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=RATES, metric="val_loss", classes=CLASSES))
    assert collapsed_of(sweep, sweep.ledger().trials()) is None


@pytest.mark.parametrize(
    ("some", "others", "share"),
    [([3, 4], [1, 2], 1), ([1, 2], [3, 4], 1), ([1, 1], [1, 1], 0.5), ([1, 4], [2, 3], 0.5), ([2, 4], [1, 3], 0.75)],
)
def test_how_far_two_sets_of_values_are_apart(some: list[float], others: list[float], share: float) -> None:
    assert _apart(some, others) == share
