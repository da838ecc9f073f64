"""Runs' folders with something wrong in them: told in one line, and no other run is hidden by it."""

import copy
import json
import math
import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from reports.json_text import json_text
from reports.ledger import JOURNAL
from reports.record import RECORD
from reports.sweep import Sweep, describe
from reports.write import DATA, write_report
from runs import TRIALS, make_run
from trainables.errors import UserError
from tuning.cli.list import list_

NOTE = 8  # op code of a trial's attribute in Optuna's journal
DAMAGE = (None, "x", -1, 1.5, math.nan, math.inf, [], [None], {"a": None}, 10**400, "a\0b")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """With everything in its record that there may be."""
    run = make_run(tmp_path, trials=TRIALS[:4])
    record = json.loads((run / RECORD).read_text())
    record |= {
        "hardware": {"cpus": 2, "gpus": ["A"]},
        "notes": ["n"],
        "initialisation": ["i"],
        "git": None,
        "study": "s",
    }
    record["data"] |= {"pictures": {"val": 4}, "normalization": {"mean": [0.1], "std": [0.2]}, "reading_s": 1.5}
    record["spec"]["space"]["nesterov"]["when"] = {"freeze": ["none"]}
    (run / RECORD).write_text(json.dumps(record))
    return run


def noted(run: Path, name: str, value: Any) -> None:
    """Exchanges an attribute of the first trial that has it; else gives it to the first trial."""
    logs = [json.loads(line) for line in (run / JOURNAL).read_text().splitlines()]
    note = next((log for log in logs if log["op_code"] == NOTE and name in log["user_attr"]), None)
    if note is None:
        note = {"op_code": NOTE, "worker_id": "w", "trial_id": 0}
        began = next(place for place, log in enumerate(logs) if log["op_code"] == NOTE)
        logs.insert(began, note)
    note["user_attr"] = {name: value}
    (run / JOURNAL).write_text("".join(json.dumps(log) + "\n" for log in logs))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("epoch:00001", None, "trial 0, epochs.0 cannot be right"),
        ("epoch:00001", {"epoch": 1}, "it lacks trial 0, epochs.0.seconds"),
        ("epoch:00001", {"epoch": 1, "seconds": "1"}, "trial 0, epochs.0.seconds cannot be right"),
        ("epoch:00001", {"epoch": 1, "seconds": math.nan}, "trial 0, epochs.0.seconds cannot be right"),
        ("epoch:00001", {"epoch": 1, "seconds": 1.0, "val_loss": "low"}, "trial 0, epochs.0.val_loss cannot be right"),
        ("epoch:00001", {"epoch": 1, "seconds": 1.0, "elapsed": []}, "trial 0, epochs.0.elapsed cannot be right"),
        ("order", "first", "trial 0, order cannot be right"),
        ("attempts", "lost", "trial 0, attempts cannot be right"),
        ("error", 3, "trial 3, error cannot be right"),
        ("settings", [], "trial 0, settings cannot be right"),
        ("settings", {"lr": 0.1}, "it lacks trial 0, settings.model"),
    ],
)
def test_a_damaged_trial_is_told_in_one_line_and_hides_no_run(run: Path, name: str, value: Any, message: str) -> None:
    make_run(run.parent, name="sound", trials=TRIALS[:1])
    noted(run, name, value)
    with pytest.raises(UserError, match=f"journal.log: damaged: {message}") as told:
        describe(Sweep.open(run))
    assert "\n" not in str(told.value)
    listed = CliRunner().invoke(list_, ["--runs", str(run.parent)])
    assert listed.exit_code == 0
    assert "\nsound " in listed.stdout
    assert "left out: " in listed.stderr


@pytest.mark.parametrize(
    "line", ["5", "null", '{"op_code": 8, "trial_id": 0}', '{"op_code": 8, "user_attr": 3}', "[[]]"]
)
def test_a_damaged_line_is_told_in_one_line(run: Path, line: str) -> None:
    first, *rest = (run / JOURNAL).read_text().splitlines()
    (run / JOURNAL).write_text("\n".join([first, line, *rest]) + "\n")
    with pytest.raises(UserError, match="the ledger cannot be read"):
        Sweep.open(run).ledger()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", 3),
        ("hardware", []),
        ("hardware.cpus", "2"),
        ("hardware.gpus", 1),
        ("notes", "n"),
        ("initialisation", [None]),
        ("data.reading_s", math.nan),
        ("data.counts.val.ants", -1),
        ("data.skipped", [["one"]]),
        ("spec.search.hours", math.nan),
        ("spec.search.storage", 3),
        ("spec.data.source", None),
        ("spec.data.path", 3),
        ("spec.data.val", "0.2"),
        ("spec.data.limit", -1),
        ("spec.space.lr.kind", "any"),
        ("spec.space.lr.low", math.nan),
        ("spec.space.freeze.values", "none"),
        ("spec.space.freeze.values", [[]]),
        ("spec.space.nesterov.when", {"freeze": "none"}),
    ],
)
def test_a_damaged_record_is_told(run: Path, key: str, value: Any) -> None:
    record = json.loads((run / RECORD).read_text())
    *path, last = key.split(".")
    part = record
    for name in path:
        part = part[name]
    part[last] = value
    (run / RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match=f"{RECORD}: damaged: {'.'.join(path)}.* cannot be right"):
        Sweep.open(run)


def places(document: Any, path: tuple = ()) -> Iterator[tuple]:
    """The path of each value in a JSON document."""
    if isinstance(document, (dict, list)):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield (*path, key)
            yield from places(value, (*path, key))


def exchanged(document: Any, path: tuple, value: Any) -> str:
    changed = part = copy.deepcopy(document)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    return json.dumps(changed)


@pytest.mark.parametrize("seed", range(40))
def test_any_value_exchanged_is_told_or_does_no_harm(run: Path, seed: int) -> None:
    draw = random.Random(seed)
    document = json.loads((run / RECORD).read_text())
    lines = (run / JOURNAL).read_text().splitlines()
    if seed % 2:
        path = draw.choice([path for path in places(document) if path[:2] != ("spec", "defaults")])
        (run / RECORD).write_text(exchanged(document, path, draw.choice(DAMAGE)))
    else:
        number = draw.randrange(len(lines))
        log = json.loads(lines[number])
        lines[number] = exchanged(log, draw.choice(list(places(log))), draw.choice(DAMAGE))
        (run / JOURNAL).write_text("\n".join(lines) + "\n")
    with suppress(UserError):
        sweep = Sweep.open(run)
        json.loads(json_text(describe(sweep)), parse_constant=pytest.fail)
        write_report(sweep, run / "report")
        json.loads((run / "report" / DATA).read_text(), parse_constant=pytest.fail)
