"""Trials that a sweep file says to begin with."""

from pathlib import Path

import pytest
from rich.console import Console

from trainables.errors import UserError
from tuning.conductor import Conductor, Job, NoJob
from tuning.first_trials import checked_point
from tuning.ready import ready_files
from tuning.retention import Retention
from tuning.setup import create_sweep
from tuning.space import Choice, Float, Int
from tuning.spec_file import load_spec

SPACE = {
    "optimizer": Choice(("sgd", "adam")),
    "lr": Float(1e-4, 1.0, log=True),
    "momentum": Float(0.0, 0.9, step=0.1, when={"optimizer": ("sgd",)}),
    "batch_size": Int(8, 64, step=8),
    "label_smoothing": Choice((0.0, 0.1)),
}

FILE = """\
data: {source: digits}
trial: {model: shufflenet_v2_x0_5, weights: none, image_size: 32}
space:
  lr: {low: 1e-3, high: 1, log: true}
  freeze: [none, backbone]
search:
  trials: 5
  first:
    - {lr: 1, freeze: backbone}
    - {freeze: none}
"""


def test_values_get_the_types_of_the_space() -> None:
    point = {"label_smoothing": 0, "batch_size": 16.0, "lr": 1, "optimizer": "sgd", "momentum": 0.3}
    found = checked_point(point, SPACE, number=1, where="x.yaml:3")
    assert list(found) == ["optimizer", "lr", "momentum", "batch_size", "label_smoothing"]
    assert [type(value) for value in found.values()] == [str, float, float, int, float]


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ({"learning_rat": 1}, "learning_rat is not explored: expected one of optimizer, lr"),
        ({"lr": 2}, "lr is outside its space: got 2, expected 0.0001 to 1"),
        ({"lr": "1"}, "lr is outside its space: got '1'"),
        ({"lr": True}, "lr is outside its space: got true"),
        ({"batch_size": 12}, "batch_size is outside its space: got 12, expected 8 to 64 in steps of 8"),
        ({"batch_size": 16.5}, "batch_size is outside its space"),
        ({"momentum": 0.25}, "momentum is outside its space: got 0.25, expected 0 to 0.9 in steps of 0.1"),
        ({"optimizer": "adamw"}, "optimizer is outside its space: got 'adamw', expected one of sgd, adam"),
        ({"optimizer": "adam", "momentum": 0.3}, "momentum does nothing there: expected optimizer ['sgd']"),
    ],
)
def test_points_outside_the_space_are_refused(point: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        checked_point(point, SPACE, number=2, where="x.yaml:3")
    assert f"x.yaml:3: trial 2 of search.first: {message}" in str(caught.value)


def test_a_sweep_begins_with_them(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE)
    spec = load_spec(tmp_path / "mine.yaml")
    sweep = create_sweep(spec, text=FILE, name="mine", runs=tmp_path / "runs", console=Console(quiet=True))
    study = sweep.ledger().study
    assert [trial.system_attrs["fixed_params"] for trial in study.get_trials()] == [
        {"lr": 1.0, "freeze": "backbone"},
        {"freeze": "none"},
    ]
    assert sweep.ledger().count() == 0


def test_those_beyond_the_trials_wait_for_a_longer_sweep(tmp_path: Path) -> None:
    """The budget counts what was begun."""
    (tmp_path / "mine.yaml").write_text(FILE)
    spec = load_spec(tmp_path / "mine.yaml", trials=1)
    sweep = create_sweep(spec, text=FILE, name="mine", runs=tmp_path / "runs", console=Console(quiet=True))
    ledger = sweep.ledger(writable=True)
    keep = spec.search.keep
    retention = Retention(sweep.place, keep=keep, mode=spec.search.mode)
    conductor = Conductor(ledger, spec, retention=retention, limit=2, clock=lambda: 0.0)
    job = conductor.next_job()
    assert isinstance(job, Job)
    assert (job.number, job.settings.lr, job.settings.freeze) == (0, 1.0, "backbone")
    assert conductor.next_job() is NoJob.WAIT


def test_what_the_command_line_left_out_is_left_out_there_too(tmp_path: Path) -> None:
    file = FILE.replace("lr: {low: 1e-3, high: 1, log: true}", "optimizer: [sgd, adam]\n  lr: {low: 1e-3, high: 1}\n"
        "  momentum: {low: 0, high: 0.9, when: {optimizer: sgd}}")  # fmt: skip
    file = file.replace("- {freeze: none}", "- {optimizer: sgd, momentum: 0.9, lr: 0.01}")
    (tmp_path / "mine.yaml").write_text(file)
    spec = load_spec(tmp_path / "mine.yaml", sets=["optimizer=adamw"])
    assert spec.search.first == [{"lr": 1.0, "freeze": "backbone"}, {"lr": 0.01}]


def test_a_mistake_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.replace("{freeze: none}", "{freeze: layer9}"))
    with pytest.raises(UserError, match=r"mine.yaml:10: trial 2 of search.first: freeze is outside its space"):
        load_spec(tmp_path / "mine.yaml")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        FILE.replace("{freeze: none}", "{freeze: layer9}").replace("{lr: 1,", "{lr: 7,")
    )
    with pytest.raises(UserError) as caught:
        load_spec(tmp_path / "mine.yaml")
    first, second = str(caught.value).splitlines()
    assert "mine.yaml:9: trial 1 of search.first: lr is outside" in first
    assert "mine.yaml:10: trial 2 of search.first: freeze is outside" in second


def test_something_else_than_trials_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(FILE.replace("    - {lr: 1, freeze: backbone}\n", "").replace("- {f", "{f"))
    with pytest.raises(UserError, match=r"search.first: wrong type: .*expected list of trials or nothing"):
        load_spec(tmp_path / "mine.yaml")


@pytest.mark.parametrize("path", ready_files().values(), ids=lambda path: path.name)
def test_every_ready_file_reads(path: Path) -> None:
    """Its first trials are points of its space, and all that can be checked without its pictures is."""
    spec = load_spec(path)
    assert spec.space
    text = path.read_text(encoding="utf-8")
    assert f"tune search --space {path.name}" in text
    assert "# Measured: " in text
