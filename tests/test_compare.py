"""Sweeps side by side."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from reports.compare import Comparison, compare_sweeps, curves_table, write_comparison
from reports.sweep import Sweep
from runs import HOSTILE, Planned, make_run
from trainables.errors import UserError
from tuning.cli.main import main

FILES = ["index.html", "compare.csv", "settings.csv", "winners.csv", "curves.csv"]


def sweeps(runs: Path, **by_name: list[Planned]) -> list[Sweep]:
    return [Sweep.open(make_run(runs, name=name, trials=trials)) for name, trials in by_name.items()]


def values(*numbers: float, state: str = "complete") -> list[Planned]:
    return [Planned(state, values=[number]) for number in numbers]


def changed(sweep: Sweep, **facts: object) -> Sweep:
    """The sweep with other facts in its record, on disk too."""
    record = {**sweep.record, **facts}
    (sweep.folder / "sweep.json").write_text(json.dumps(record))
    return Sweep.open(sweep.folder)


@pytest.fixture
def two(tmp_path: Path) -> Comparison:
    first, second = sweeps(tmp_path, first=values(0.5, 0.7, 0.6), second=values(0.8) + values(0.9, state="pruned"))
    search = {**second.record["spec"]["search"], "seed": 7}
    trial = {**second.record["spec"]["trial"], "image_size": 64}
    return compare_sweeps([first, changed(second, spec={**second.record["spec"], "search": search, "trial": trial})])


def test_best_median_and_cost_of_each(two: Comparison) -> None:
    rows = [dict(zip(two.summary.columns, row, strict=True)) for row in two.summary.rows]
    assert [(r["sweep"], r["trials"], r["complete"], r["best"], r["median"]) for r in rows] == [
        ("first", 3, 3, 0.7, 0.6), ("second", 2, 1, 0.8, 0.8),
    ]  # fmt: skip
    assert [r["gap_to_second"] for r in rows] == [pytest.approx(0.1), None]
    assert [(r["wall_seconds"], r["trial_seconds"], r["epochs"]) for r in rows] == [(21.0, 4.5, 3), (11.0, 3.0, 2)]
    assert two.warnings == ()


def test_settings_that_differ_and_no_others(two: Comparison) -> None:
    assert two.differences.columns == ("setting", "first", "second")
    assert set(two.differences.rows) == {
        ("search.trials", 5, 4), ("search.seed", 0, 7), ("trial.image_size", 32, 64),
    }  # fmt: skip


def test_the_same_in_other_words_is_no_difference(tmp_path: Path) -> None:
    told = []
    for sweep, path, first in zip(
        sweeps(tmp_path, first=values(0.5), second=values(0.5)),
        ("pictures", str(tmp_path / "x" / ".." / "pictures")),
        ({"lr": 0.1, "freeze": 2}, {"freeze": 2, "lr": 0.1}),
        strict=True,
    ):
        spec = sweep.record["spec"]
        data = {**spec["data"], "source": "folder", "path": path}
        search = {**spec["search"], "first": [first, {"lr": 0.2}]}
        told.append(changed(sweep, spec={**spec, "data": data, "search": search}, base=str(tmp_path)))
    assert compare_sweeps(told).differences.rows == ()


def test_what_won(tmp_path: Path) -> None:
    first, second = sweeps(
        tmp_path,
        first=[*values(0.9), Planned("complete", {"lr": 0.02, "freeze": 2, "nesterov": True}, [0.95])],
        second=values(0.5, state="running"),
    )
    assert compare_sweeps([first, second]).winners.rows == (
        ("lr", 0.02, None), ("freeze", 2, None), ("nesterov", True, None),
    )  # fmt: skip


def test_a_setting_that_does_not_apply_to_the_winner_won_nothing(tmp_path: Path) -> None:
    first, second = sweeps(tmp_path, first=[Planned("complete", {"lr": 0.02, "freeze": 2}, [0.95])], second=values(0.5))
    space = {name: dim for name, dim in second.record["spec"]["space"].items() if name != "lr"}
    second = changed(second, spec={**second.record["spec"], "space": space})
    assert compare_sweeps([first, second]).winners.rows == (
        ("lr", 0.02, 0.01), ("freeze", 2, "none"), ("nesterov", None, False),
    )  # fmt: skip


def test_what_is_explored_by_one_and_fixed_by_the_other(tmp_path: Path) -> None:
    first, second = sweeps(tmp_path, first=values(0.5), second=values(0.5))
    space = {name: dim for name, dim in second.record["spec"]["space"].items() if name != "lr"}
    second = changed(second, spec={**second.record["spec"], "space": space})
    assert compare_sweeps([first, second]).differences.rows == (("trial.lr", "1e-05 to 0.1, log scale", 0.001),)


def test_curves_over_trials_and_over_time(two: Comparison) -> None:
    assert two.over_trials == {"first": ((0, 0.5), (1, 0.7), (2, 0.7)), "second": ((0, 0.8), (1, 0.8))}
    assert two.over_time["first"] == ((1.0, 0.5), (11.0, 0.7), (21.0, 0.7))
    table = curves_table(two)
    assert table.columns == ("sweep", "over", "at", "best_val_accuracy")
    assert table.rows[:2] == (("first", "trials", 0, 0.5), ("first", "trials", 1, 0.7))
    assert {row[1] for row in table.rows} == {"trials", "seconds"}


def test_the_files_have_the_same_data(two: Comparison, tmp_path: Path) -> None:
    paths = write_comparison(two, tmp_path / "out")
    assert [path.name for path in paths] == FILES
    rows = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert [row["best"] for row in rows] == ["0.7", "0.8"]
    assert len(list(csv.reader(io.StringIO(paths[4].read_text())))) == 1 + len(curves_table(two).rows)
    html = paths[0].read_text()
    assert all(text in html for text in ("first", "second", "image_size", "over-trials", "over-time"))
    write_comparison(two, tmp_path / "out")  # a former comparison may be replaced


def test_another_page_is_not_replaced(two: Comparison, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(UserError, match="holds another page"):
        write_comparison(two, tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_other_pictures_are_warned_of(tmp_path: Path) -> None:
    first, second = sweeps(tmp_path, first=values(0.5), second=values(0.5))
    second = changed(second, data={**second.record["data"], "fingerprint": "e" * 64}, classes=["ants", "wasps"])
    pictures, classes = compare_sweeps([first, second]).warnings
    assert pictures == (
        "not the same pictures (fingerprints), so the values are not of the same test: "
        "first: ffffffffffff; second: eeeeeeeeeeee"
    )
    assert "ants, wasps" in classes


def test_other_hardware_is_warned_of(tmp_path: Path) -> None:
    first, second = sweeps(tmp_path, first=values(0.5), second=values(0.5))
    first = changed(first, hardware={"cpus": 2, "gpus": [], "fast_bf16": False})
    second = changed(second, hardware={"cpus": 16, "gpus": ["H200"], "fast_bf16": True})
    assert compare_sweeps([first, second]).warnings == (
        "not the same hardware, so the times do not compare: first: 2 CPUs, no GPU; second: 16 CPUs, H200",
    )


@pytest.mark.parametrize(("metric", "expected"), [("val_loss", 1), ("val_accuracy", 0)])
def test_other_losses_are_warned_of_where_they_are_what_is_compared(tmp_path: Path, metric: str, expected: int) -> None:
    first, second = (
        Sweep.open(make_run(tmp_path, name=name, trials=values(0.5), metric=metric)) for name in ("first", "second")
    )
    spec = second.record["spec"]
    second = changed(second, spec={**spec, "trial": {**spec["trial"], "label_smoothing": 0.1}})
    warnings = compare_sweeps([first, second]).warnings
    said = "not the same label_smoothing, so the losses are not of the same measure: first: 0; second: 0.1"
    assert warnings == (said,) * expected


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    first, second = sweeps(tmp_path, first=values(0.5), second=values(0.5))
    labels = changed(Sweep.open(make_run(tmp_path, name="labels", trials=values(0.5))), task="multilabel")
    loss = Sweep.open(make_run(tmp_path, name="loss", trials=values(0.5), metric="val_loss"))
    for given, message in (
        (
            [first, loss],
            "sweeps of different metrics cannot be compared: got 'first by val_accuracy, loss by val_loss'",
        ),
        (
            [first, labels],
            "sweeps of different tasks cannot be compared: got 'first of classification, labels of multilabel'",
        ),
        ([first], "one sweep alone"),
        ([first, second, first], "given twice: got 'first'"),
    ):
        with pytest.raises(UserError, match=message):
            compare_sweeps(given)


def test_sweeps_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = [Sweep.open(make_run(tmp_path / place, name="same", trials=values(0.5))) for place in ("here", "there")]
    assert [row[0] for row in compare_sweeps(found).summary.rows] == ["here/same", "there/same"]


def test_sweeps_without_a_result(tmp_path: Path) -> None:
    comparison = compare_sweeps(sweeps(tmp_path, first=[], second=values(0.5, state="running")))
    assert [row[6:8] for row in comparison.summary.rows] == [(None, None)] * 2
    assert "No trial is complete yet" in write_comparison(comparison, tmp_path / "out")[0].read_text()


def test_hostile_names(tmp_path: Path) -> None:
    names = (HOSTILE[0].replace("/", "-"), HOSTILE[1].replace("/", "-"), HOSTILE[2])
    comparison = compare_sweeps([Sweep.open(make_run(tmp_path, name=name, trials=values(0.5))) for name in names])
    html = write_comparison(comparison, tmp_path / "out")[0].read_text()
    assert "<script>alert" not in html
    assert "\u202e" not in html


def test_names_of_sweeps_are_no_words(tmp_path: Path) -> None:
    comparison = compare_sweeps(sweeps(tmp_path, first_of_two=values(0.5), second_of_two=values(0.5, 0.6)))
    page = write_comparison(comparison, tmp_path / "out")[0].read_text()
    assert len(re.findall("<th [^>]*>first_of_two</th>", page)) == 2


def test_hostile_names_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    hostile = make_run(tmp_path / "runs", name="a\x1b]0;owned\x07", trials=values(0.5))
    changed(Sweep.open(hostile), hardware={"cpus": 64})
    make_run(tmp_path / "runs", name="b", trials=values(0.5))
    words = ["compare", str(hostile), "b", "--runs", str(tmp_path / "runs"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert "note: not the same hardware" in result.stderr
    for line in result.output.splitlines():
        assert line.isprintable()


def test_the_command(tmp_path: Path) -> None:
    sweeps(tmp_path / "runs", first=values(0.5, 0.75), second=values(0.5))
    out = tmp_path / "out"
    words = ["compare", "first", "second", "--runs", str(tmp_path / "runs"), "-o", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split()[:2] == ["sweep", "state"]
    assert lines[1].split()[:2] == ["first", "interrupted"]
    assert "search.trials" in result.stdout
    assert lines[-5:] == [str(out / name) for name in FILES]
    lonely = CliRunner().invoke(main, ["compare", "first", "--runs", str(tmp_path / "runs")])
    assert (lonely.exit_code, lonely.stderr.count("\n")) == (2, 1)


def test_compare_needs_no_torch_and_no_ray(tmp_path: Path) -> None:
    sweeps(tmp_path, first=values(0.5), second=values(0.5))
    code = (
        "import sys; from tuning.cli.compare import compare\n"
        f"words = ['first', 'second', '--runs', {str(tmp_path)!r}, '-o', {str(tmp_path / 'o')!r}]\n"
        "compare(words, standalone_mode=False)\n"
        "sys.exit('heavy' if {'torch', 'ray'} & set(sys.modules) else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
