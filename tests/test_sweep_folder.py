"""A run's folder: found, opened, described, listed; damaged ones are said in one line."""

import json
import math
import os
import socket
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from filelock import FileLock
from rich.console import Console

from reports.drivers import LOCK, driver_of
from reports.json_text import json_text
from reports.ledger import Ledger
from reports.record import METRICS
from reports.runs import find_run, list_runs, run_folders
from reports.sweep import Sweep, describe, metric_mode, standing
from runs import HOSTILE, TRIALS, Planned, make_epoch, make_run
from trainables.errors import UserError
from tuning import setup
from tuning.spec import SearchSettings, Spec

EPOCH_KEYS = {"epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds"}


def test_the_document_of_a_sweep(tmp_path: Path) -> None:
    """The keys that `tune show --json` promises within schema 1."""
    document = describe(Sweep.open(make_run(tmp_path)))
    keys = ["schema", "name", "state", "outcome", "metric", "mode", "budget", "counts", "best", "trials"]
    assert list(document) == keys
    assert document["schema"] == 1
    assert (document["name"], document["metric"], document["mode"]) == ("resnet18", "val_accuracy", "max")
    assert document["budget"] == {"trials": 12, "epochs": 3, "hours": None}
    assert document["counts"] == {"complete": 3, "pruned": 1, "failed": 5, "running": 1}
    assert document["best"] == {
        "number": 1,
        "value": 0.95,
        "epoch": 2,
        "params": {"lr": 0.02, "freeze": "layer2", "nesterov": False},
    }
    assert [trial["number"] for trial in document["trials"]] == list(range(10))
    for trial in document["trials"]:
        assert set(trial) == {"number", "state", "params", "value", "best_epoch", "error", "epochs"}
        assert all(set(epoch) == EPOCH_KEYS for epoch in trial["epochs"])
    assert [trial["error"] for trial in document["trials"] if trial["state"] == "failed"] == list(HOSTILE)
    assert json.loads(json.dumps(document)) == document


def test_standing_is_the_document_without_its_trials(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path))
    ledger = sweep.ledger()
    document = describe(sweep)
    del document["trials"]
    assert standing(sweep, ledger, ledger.trials()) == document


def test_of_two_searches_of_one_name_the_later_is_told_that_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "_record", lambda *_, **__: {"weights": {}, "study": "same"})
    monkeypatch.setattr(setup, "_keep_exported", lambda *_, **__: make_run(tmp_path, name="same"))
    with pytest.raises(UserError, match="this sweep exists"):
        setup.create_sweep(Spec(), text="", name="same", runs=tmp_path, console=Console(quiet=True))
    assert [path.name for path in tmp_path.iterdir()] == ["same"]


def test_a_sweep_by_loss_goes_down(tmp_path: Path) -> None:
    trials = [Planned("complete", values=[0.5, 0.3, 0.4]), Planned("complete", values=[0.6])]
    document = describe(Sweep.open(make_run(tmp_path, metric="val_loss", trials=trials)))
    assert document["mode"] == "min"
    assert (document["best"]["number"], document["best"]["value"], document["best"]["epoch"]) == (0, 0.3, 2)


def test_metric_mode() -> None:
    assert (metric_mode("val_accuracy"), metric_mode("val_loss")) == ("max", "min")
    assert {"auto", *METRICS} == set(get_args(get_type_hints(SearchSettings)["metric"]))


def test_numbers_that_json_has_no_word_for_become_null(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[Planned("running")])
    ledger = Ledger.open(run, metric="val_accuracy", mode="max", writable=True)
    ledger.record_epoch(0, make_epoch(0, 1, train_loss=math.inf, val_accuracy=math.nan))
    (epoch,) = json.loads(json_text(describe(Sweep.open(run))), parse_constant=pytest.fail)["trials"][0]["epochs"]
    assert epoch["train_loss"] is epoch["val_accuracy"] is None


def test_state_follows_the_driver_and_the_outcome(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert describe(Sweep.open(run))["state"] == "interrupted"
    (run / "driver.json").write_text('{"pid": 1, "host": "here", "since": "now"}')
    assert driver_of(run) is None
    with FileLock(run / LOCK):
        assert driver_of(run) == {"pid": 1, "host": "here", "since": "now"}
        assert describe(Sweep.open(run))["state"] == "running"
    assert driver_of(run) is None
    (run / "driver.json").write_text('{"pid": 1}')
    with FileLock(run / LOCK):
        assert driver_of(run) == {}
    done = make_run(tmp_path, name="done", outcome="trials", trials=TRIALS[:3])
    assert describe(Sweep.open(done))["state"] == "finished"
    with FileLock(done / LOCK):  # its driver writes the report
        assert describe(Sweep.open(done))["state"] == "finished"


def test_what_the_driver_itself_reports_last_is_not_running(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": "now"}
    (run / "driver.json").write_text(json.dumps(holder))
    with FileLock(run / LOCK):
        assert driver_of(run) is None
        assert describe(Sweep.open(run))["state"] == "interrupted"
        (run / "driver.json").write_text(json.dumps({**holder, "host": "elsewhere"}))  # the same number by chance
        assert describe(Sweep.open(run))["state"] == "running"


@pytest.mark.parametrize("outcome", ["hours", "errors"])
def test_a_sweep_that_ended_with_trials_half_done_is_interrupted(tmp_path: Path, outcome: str) -> None:
    for name, trials, state in (("whole", TRIALS[:3], "finished"), ("half", TRIALS, "interrupted")):
        document = describe(Sweep.open(make_run(tmp_path, name=name, outcome=outcome, trials=trials)))
        assert (document["state"], document["outcome"]) == (state, outcome)


def test_epochs_planned_are_unknown_when_explored(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[])
    record = json.loads((run / "sweep.json").read_text())
    record["spec"]["space"]["epochs"] = {"kind": "int", "low": 1, "high": 5, "log": False, "step": 1, "when": None}
    (run / "sweep.json").write_text(json.dumps(record))
    assert describe(Sweep.open(run))["budget"]["epochs"] is None


def test_a_run_is_found_by_folder_or_name_and_keeps_its_folder_s_name(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert find_run("resnet18", runs=tmp_path) == run
    assert find_run(str(run), runs=Path("elsewhere")) == run
    moved = run.rename(tmp_path / "moved here")
    assert Sweep.open(moved).name == "moved here"
    with pytest.raises(UserError, match=r"no such sweep.*there is: moved here"):
        find_run("resnet18", runs=tmp_path)
    with pytest.raises(UserError, match="there is none under"):
        find_run("resnet18", runs=tmp_path / "nowhere")


def test_runs_are_listed_and_a_damaged_one_hides_no_other(tmp_path: Path) -> None:
    for name in ("b", "a", ".c.new"):
        make_run(tmp_path, name=name, trials=[])
    (tmp_path / "other").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "sweep.json").write_text("{")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "sweep.json").write_text('{"schema": 1}')
    assert [folder.name for folder in run_folders(tmp_path)] == ["a", "b", "bare", "broken"]
    assert [sweep.name for sweep in list_runs(tmp_path)] == ["a", "b"]
    assert list_runs(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no sweep"), ("{", "cannot be read"), ("[]", "another version"), ('{"schema": 2}', "another version")],
)
def test_a_folder_that_is_no_sweep(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(UserError, match=message) as raised:
        Sweep.open(tmp_path)
    assert str(raised.value).startswith(str(tmp_path))


def _changed(document: Any, key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        document = document[part]
    if value is None:
        del document[last]
    else:
        document[last] = value


_KEYS = ("created", "file", "base", "classes", "channels", "data", "weights", "versions", "spec")
_DEEPER = ("spec.space", "spec.trial", "spec.defaults", "spec.search.metric", "spec.search.hours", "data.short_side")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        *((key, None, f"damaged: it lacks {key}; restore") for key in (*_KEYS, *_DEEPER)),
        ("spec", [], "spec cannot be right"),
        ("spec.search.trials", "24", "spec.search.trials cannot be right"),
        ("spec.search.metric", "speed", "spec.search.metric cannot be right"),
        ("spec.defaults.epochs", "many", "spec.defaults.epochs cannot be right"),
        ("classes", {"ants": 1}, "classes cannot be right"),
        ("channels", 2, "channels cannot be right"),
        ("data.counts", {"train": 3}, r"data.counts.train cannot be right"),
        ("weights", {"none": {"resnet18": {"kind": "none"}}}, "lacks weights.none.resnet18.path"),
        ("weights", {"none\nof": {"resnet18": 3}}, "weights.none of.resnet18 cannot be right"),
    ],
)
def test_a_damaged_record_is_told_in_one_line(tmp_path: Path, key: str, value: Any, message: str) -> None:
    run = make_run(tmp_path, trials=[])
    document = json.loads((run / "sweep.json").read_text())
    if key == "spec.defaults.epochs":
        del document["spec"]["trial"]["epochs"]
    _changed(document, key, value)
    (run / "sweep.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=message) as raised:
        Sweep.open(run)
    assert str(raised.value).startswith(f"{run / 'sweep.json'}: ")
    assert "\n" not in str(raised.value)


def test_weights_that_the_record_does_not_have(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[]))
    assert sweep.starting_weights({"weights": "none", "model": "resnet18"})["kind"] == "none"
    with pytest.raises(UserError, match="lacks the starting weights 'auto' of resnet18"):
        sweep.starting_weights({"weights": "auto", "model": "resnet18"})
