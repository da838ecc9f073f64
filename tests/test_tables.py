"""Tables as data, and drawn so that no text of a user's does harm."""

import csv
import io
import itertools
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from rich.console import Console

from reports.comparisons import categorical_settings, comparison
from reports.frames import EPOCH_COLUMNS, TRIAL_COLUMNS, epochs_frame, trials_frame
from reports.sweep import Sweep
from reports.tables import (
    Table,
    csv_cell,
    escaped,
    headlines,
    leaderboard,
    local_time,
    markdown,
    plain,
    records,
    shown,
    to_csv,
    varying_settings,
)
from reports.terminal import print_line, print_table
from reports.write import write_report
from runs import HOSTILE, TRIALS, Planned, make_run
from trainables.errors import UserError
from trainables.settings import TrialSettings

MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
HOSTILE_TABLE = Table("Hostile", ("text", "number"), tuple((text, -1.5) for text in HOSTILE))
HOSTILE_HEAD = Table("Hostile", tuple(HOSTILE), (tuple(range(len(HOSTILE))),))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path)


# frames


def test_trials_frame_has_a_row_a_trial_and_every_setting(run: Path) -> None:
    frame = trials_frame(str(run))
    assert list(frame.columns) == [*TRIAL_COLUMNS, *TrialSettings.__dataclass_fields__]
    assert list(frame.number) == list(range(len(TRIALS)))
    assert list(frame.state) == [planned.state for planned in TRIALS]
    assert list(frame.error[frame.state == "failed"]) == list(HOSTILE)
    best = frame.loc[1]
    assert (best.value, best.best_epoch, best.epochs_run, best.seconds) == (0.95, 2, 3, 4.5)
    assert (best.lr, best.freeze, best.image_size, best.epochs) == (0.02, "layer2", 32, 3)
    assert frame.value.isna().sum() == 1
    assert frame.best_epoch.dtype == "Int64"


def test_epochs_frame_has_a_row_an_epoch(run: Path) -> None:
    frame = epochs_frame(Sweep.open(run))
    assert list(frame.columns) == list(EPOCH_COLUMNS)
    assert len(frame) == sum(len(planned.values) for planned in TRIALS)
    assert list(frame.val_accuracy[frame.number == 1]) == [0.6, 0.95, 0.95]


def test_frames_of_a_sweep_without_trials(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[])
    assert list(trials_frame(run).columns) == list(TRIAL_COLUMNS)
    assert list(epochs_frame(run).columns) == list(EPOCH_COLUMNS)
    assert trials_frame(run).empty


def test_frames_of_no_sweep(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep"):
        trials_frame(tmp_path)


# tables as data


def test_leaderboard(run: Path) -> None:
    sweep = Sweep.open(run)
    board = leaderboard(sweep, sweep.ledger().trials(), settings=["lr", "freeze"], sweep_state="running")
    assert board.columns == (
        "rank", "trial", "state", "val_accuracy", "best_epoch", "epochs_run", "seconds", "lr", "freeze", "error",
    )  # fmt: skip
    assert board.rows[0] == (1, 1, "complete", 0.95, 2, 3, 4.5, 0.02, "layer2", None)
    assert [row[1] for row in board.rows] == [1, 8, 0, 2, 4, 5, 6, 7, 3, 9]
    assert [row[0] for row in board.rows] == list(range(1, 11))


def test_a_setting_whose_condition_was_not_met_is_empty(tmp_path: Path) -> None:
    planned = [Planned("complete", {"lr": 0.1, "freeze": "none"}, [0.5])]
    run = make_run(tmp_path, trials=planned)
    sweep = Sweep.open(run)
    board = leaderboard(sweep, sweep.ledger().trials(), settings=["nesterov", "momentum"], sweep_state="running")
    assert board.rows[0][-3:] == (None, TrialSettings().momentum, None)
    write_report(sweep, tmp_path / "report")
    (row,) = csv.DictReader((tmp_path / "report" / "leaderboard.csv").open())
    assert (row["nesterov"], row["freeze"]) == ("", "none")


def test_trials_left_by_an_interrupted_sweep_are_paused_everywhere(run: Path, tmp_path: Path) -> None:
    page, board, table, *_ = write_report(Sweep.open(run), tmp_path / "report")
    for path in (page, board, table):
        text = path.read_text()
        assert "paused" in text
        assert "running" not in re.sub(r"<(script|style).*?</\1>|state\.running", "", text, flags=re.DOTALL), path.name


def test_comparison_by_a_setting(run: Path) -> None:
    table = comparison(Sweep.open(run).ledger().trials(), "freeze", mode="max")
    counts = ("freeze", "trials", "complete", "pruned", "failed")
    assert table.columns == (*counts, "best", "median", "best_pruned", "epoch_seconds")
    assert table.rows == (
        ("none", 7, 2, 0, 5, 0.95, pytest.approx(0.925), None, 1.5),
        ("layer2", 2, 1, 0, 0, 0.95, 0.95, None, 1.5),
        (2, 1, 0, 1, 0, None, None, 0.4, 1.5),
    )
    by_flag = comparison(Sweep.open(run).ledger().trials(), "nesterov", mode="max")
    assert [row[:5] for row in by_flag.rows] == [(False, 4, 2, 1, 0), (True, 6, 1, 0, 5)]
    assert all(isinstance(row[0], bool) for row in by_flag.rows)


def test_comparison_goes_down_for_a_loss(tmp_path: Path) -> None:
    trials = [
        Planned("complete", {"lr": 0.1, "freeze": "none"}, [0.5, 0.3]),
        Planned("complete", {"lr": 0.1, "freeze": "layer2"}, [0.2]),
        Planned("failed", {"lr": 0.1, "freeze": 2}),
    ]
    run = make_run(tmp_path, metric="val_loss", trials=trials)
    table = comparison(Sweep.open(run).ledger().trials(), "freeze", mode="min")
    shown_columns = [(row[0], row[5], row[7]) for row in table.rows]
    assert shown_columns == [("layer2", 0.2, 1.5), ("none", 0.3, 1.5), (2, None, None)]


def test_which_settings_to_compare_and_to_show(run: Path) -> None:
    trials = Sweep.open(run).ledger().trials()
    assert categorical_settings(trials) == ["freeze", "nesterov"]
    assert varying_settings(trials, explored=["lr"]) == ["lr", "freeze", "nesterov"]
    assert varying_settings([], explored=["lr"]) == ["lr"]


def test_headlines() -> None:
    standing = {
        "state": "finished",
        "outcome": "trials",
        "metric": "val_accuracy",
        "budget": {"trials": 3, "epochs": 8, "hours": 1.5},
        "counts": {"complete": 2, "pruned": 1, "failed": 0, "running": 0},
        "best": {"number": 1, "value": 0.98765, "epoch": 4, "params": {}},
    }
    assert headlines(standing, gap=0.0123) == [
        "finished; 3 of 3 trials begun of up to 8 epochs, 1.5 hours",
        "2 complete, 1 pruned, 0 failed, 0 running",
        "best val_accuracy 0.9877 in trial 1, epoch 4, 0.0123 ahead of the second",
    ]
    assert headlines(standing, gap=0.0)[2].endswith("equalled by the second")
    assert headlines({**standing, "outcome": "hours"})[0].startswith("finished (its hours are used up); 3 of 3")
    none = {**standing, "best": None, "counts": dict.fromkeys(standing["counts"], 0)}
    assert headlines(none)[2] == "no trial has begun yet"
    assert headlines({**none, "counts": {"failed": 2}})[2] == "no trial is complete yet"


# drawing


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (100000, "100000"),
        (0.987654, "0.9877"),
        (1.23456e-5, "1.235e-05"),
        (12345.6, "12346"),
        (float("nan"), "nan"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("a\u202eb\x00c", "a b c"),
        ("long " * 60, ("long " * 60)[:199] + "…"),
    ],
)
def test_shown(cell: object, text: str) -> None:
    assert shown(cell) == text  # type: ignore[arg-type]


MARKED = (
    "~~~", "```", "`a`", "# Big", "##", "c# #", "1. FC", "2)", "-", "- a", "---", "+ a", "===", "> a", "a|b",
    "__init__", "_a_", "a__b", "*a*", "~~a~~", "[a](b)", "![a](b)", "[a]: b", "<b>", "&copy;", "a\\", "$a$",
)  # fmt: skip


@pytest.mark.parametrize("text", MARKED)
@pytest.mark.parametrize("before", ["", "- ", "# ", "above\n"])
def test_markdown_shows_text_as_it_is(text: str, before: str) -> None:
    plain, marked = (MARKDOWN.parse(f"{before}{said}\nbelow") for said in ("x", escaped(text)))
    assert [token.type for token in marked] == [token.type for token in plain]
    assert rendered(marked) == rendered(plain).replace("x", text)


def rendered(tokens: Sequence[Token]) -> str:
    return "".join(part.content or "\n" for token in tokens for part in token.children or ())


def test_ordinary_text_stays_readable_in_markdown() -> None:
    for text in ("batch_size", "a (b), c.", "1.5e-3", "-1.5", "12.5", "v1.2", "don't", "a-b", "C#", "50 %", "a!"):
        assert escaped(text) == text


def test_markdown_keeps_cells_apart() -> None:
    lines = markdown(HOSTILE_TABLE).splitlines()
    assert lines[:2] == ["| text | number |", "| --- | ---: |"]
    assert len(lines) == 2 + len(HOSTILE)
    for line in lines:
        assert len(re.findall(r"(?<!\\)\|", line)) == 3  # no cell breaks out of its column
        assert not re.search(r"[<>]", line)
        assert line.isprintable()


def test_csv_guards_against_formulas_and_keeps_the_rest_whole() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(HOSTILE_TABLE))))
    assert rows[0] == ["text", "number"]
    assert [row[0] for row in rows[1:]] == [*HOSTILE[:-1], "'" + HOSTILE[-1]]
    assert {row[1] for row in rows[1:]} == {"-1.5"}  # a number is no text: it stays a number


@pytest.mark.parametrize("text", ["a\rb", "\r", "a\r\nb", "x\n\ry"])
def test_csv_keeps_carriage_returns(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(to_csv(Table("", (text, "=n"), ((text, 1), ("plain", 2)))), newline="")
    with (tmp_path / "a.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [[text, "'=n"], [text, "1"], ["plain", "2"]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", " =1", "\t=1", "\r=1"])
def test_csv_formulas(text: str) -> None:
    assert csv_cell(text) == "'" + text


@pytest.mark.parametrize("cell", ["", "a=b", "0", 0, -1, -0.5, None])
def test_csv_harmless(cell: object) -> None:
    assert csv_cell(cell) == cell  # type: ignore[arg-type]


def test_plain_text_is_aligned_one_line_a_row() -> None:
    table = Table("", ("name", "n"), (("a", 1), ("long name", 20)))
    assert plain(table) == "name        n\na           1\nlong name  20\n"
    lines = plain(HOSTILE_TABLE).splitlines()
    assert len(lines) == 1 + len(HOSTILE)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_names_of_columns_are_made_harmless(terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=2000, color_system=None)
    print_table(HOSTILE_HEAD, console=console)
    assert console.file.getvalue().replace("\n", "").isprintable()  # type: ignore[attr-defined]


def test_on_a_terminal_markup_in_texts_has_no_effect() -> None:
    console = Console(force_terminal=True, width=400, file=io.StringIO(), color_system="standard")
    left_out = print_table(HOSTILE_TABLE, console=console, limit=3)
    print_line("[red]x[/red] \x1b]0;title\x07", console=console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert left_out == 2
    assert "[bold]x[/bold]" in text
    assert "[red]x[/red]" in text
    assert "\x1b]0" not in text
    assert "\x1b[31mcolour" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("width", [20, 60, 79, 80, 200])
def test_no_terminal_is_too_narrow_for_a_value(run: Path, width: int) -> None:
    console = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    settings = ["lr", "freeze", "nesterov"]
    sweep = Sweep.open(run)
    trials = sweep.ledger().trials()
    print_table(leaderboard(sweep, trials, settings=settings, sweep_state="running", brief=True), console=console)
    words = console.file.getvalue().split()  # type: ignore[attr-defined]
    assert words.count("complete") == 3
    assert "0.001235" in words
    assert "layer2" in words
    assert words.count("false") == 4


EPOCHS = Table(
    "",
    ("epoch", "train_loss", "train_accuracy", "val_loss", "val_balanced_accuracy", "val_f1", "seconds_validating"),
    ((1, 1.178, 0.5, 0.9791, 0.625, 0.4505, 0.008488), (2, 1.279, 0.7941, 1.466, 0.75, 0.6703, 0.005327)),
)


@pytest.mark.parametrize("joined", [(), ("val_f1", "seconds_validating")])
def test_at_every_width_a_terminal_shows_every_value(joined: tuple[str, ...]) -> None:
    for width in range(12, 120):
        text = printed(EPOCHS, width=width, joined=joined)
        unwrapped = "".join(text.split())
        for cell in itertools.chain(*EPOCHS.rows):
            assert shown(cell) in (unwrapped if joined else text), width
        if width >= 40:  # what the table needs with its rows as columns
            assert max(map(len, text.splitlines())) <= width


def test_a_narrow_terminal_joins_columns_or_turns_the_table() -> None:
    row = (0, "complete", 0.125, "none", None, 16)
    table = Table("", ("trial", "state", "learning_rate", "freeze", "step", "batch_size"), (row,))
    assert stripped(printed(table, width=41)) == [
        "               learning             batch",
        "trial state        rate freeze step  size",
        "    0 complete    0.125 none           16",
    ]
    assert stripped(printed(table, width=40, joined=table.columns[2:])) == [
        "trial state    settings",
        "    0 complete learning_rate=0.125",
        "               freeze=none batch_size=16",
    ]
    assert stripped(printed(table, width=40)) == [
        "trial         0",
        "state         complete",
        "learning rate 0.125",
        "freeze        none",
        "step",
        "batch size    16",
    ]


def stripped(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines()]


def printed(table: Table, *, width: int, joined: tuple[str, ...] = ()) -> str:
    console = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    print_table(table, console=console, joined=joined)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_piped_tables_are_whole() -> None:
    console = Console(file=io.StringIO(), width=20)
    assert print_table(HOSTILE_TABLE, console=console, limit=1) == 0
    assert console.file.getvalue() == plain(HOSTILE_TABLE)  # type: ignore[attr-defined]


# the report's folder


def test_report_of_a_run_with_all_kinds_of_trials(run: Path, tmp_path: Path) -> None:
    paths = write_report(Sweep.open(run), tmp_path / "out")
    page, *paths, winner = paths
    assert page.name == "index.html"
    assert [path.name for path in paths] == ["leaderboard.md", "leaderboard.csv", "report.json"]
    assert winner.name == "best.yaml"
    written = [page, *paths, winner]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(path.name for path in written)

    text = paths[0].read_text()
    assert "<script>" not in text
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# resnet18", "## Leaderboard", "## By freeze", "## By nesterov", "## The same in all trials",
    ]  # fmt: skip
    assert "- best val_accuracy 0.95 in trial 1, epoch 2, equalled by the second" in text

    rows = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert len(rows) == len(TRIALS)
    assert set(TrialSettings.__dataclass_fields__) <= set(rows[0])
    assert (rows[0]["trial"], rows[0]["val_accuracy"], rows[0]["image_size"]) == ("1", "0.95", "32")

    document = json.loads(paths[2].read_text())
    assert document["schema"] == 1
    assert [trial["rank"] for trial in document["leaderboard"]] == list(range(1, 11))
    assert document["leaderboard"][0]["settings"]["image_size"] == 32
    assert document["leaderboard"][5]["error"] in HOSTILE
    assert list(document["comparisons"]) == ["freeze", "nesterov"]
    assert (
        document["comparisons"]["freeze"][0]
        == records(comparison(Sweep.open(run).ledger().trials(), "freeze", mode="max"))[0]
    )


@pytest.mark.parametrize("trials", [[], [Planned("running")]])
def test_report_before_anything_is_complete(tmp_path: Path, trials: list[Planned]) -> None:
    run = make_run(tmp_path, trials=trials)
    _, *paths = write_report(Sweep.open(run), run / "report")
    expected = "no trial is complete yet" if trials else "no trial has begun yet"
    assert expected in paths[0].read_text()
    assert json.loads(paths[2].read_text())["best"] is None
    assert len(paths[1].read_text().splitlines()) == 1 + len(trials)


def test_report_replaces_the_former_one_and_is_the_same_twice(run: Path) -> None:
    first = [path.read_bytes() for path in write_report(Sweep.open(run), run / "report")]
    assert [path.read_bytes() for path in write_report(Sweep.open(run), run / "report")] == first


def test_report_that_cannot_be_written(run: Path) -> None:
    (run / "report").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        write_report(Sweep.open(run), run / "report")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-11-26T20:04:05+00:00", "2026-11-27 05:04"),
        ("2026-11-27T05:04:05", "2026-11-27 05:04"),
        ("2026-11-26T23:04:05.5+03:00", "2026-11-27 05:04"),
        ("some day", "some day"),
        (None, ""),
    ],
)
def test_times_are_those_of_the_clock_here(text: str | None, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = local_time(text)
    time.tzset()
    assert found == told
