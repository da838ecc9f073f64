"""A sweep's results as tables: first the data, then its drawing as Markdown, CSV or plain text.

    board = leaderboard(sweep, sweep.ledger().trials(), settings=["lr", "freeze"], sweep_state="running")
    print(plain(board))
    markdown(board)

Cells are plain values; text in them may come from anywhere (class names, paths, errors) and is made harmless by the
drawing: in Markdown all that could be markup or HTML is escaped, in CSV a text that a spreadsheet would take for a
formula (it begins with `=`, `+`, `-` or `@`) gets a leading `'`, and on a terminal no control character gets through.
"""

import csv
import html
import io
import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TextIO

from reports.ledger import TrialRecord
from reports.ranking import ranked
from reports.sweep import Sweep
from trainables.wording import counted

Cell = str | int | float | bool | None

ENDED = {"hours": " (its hours are used up)", "errors": " (the same error again and again)"}
# What Markdown would act on: anywhere, but for `_` within a word; and at the start of a line.
_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_++|_++(?![^\W_])|(?<!\S)#++|^=++(?=\s|$)|^[-+](?=[\s-]|$)")
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s|$)")
_LONGEST_TEXT = 200  # in Markdown and on a terminal; CSV and JSON hold texts whole


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


# data


def leaderboard(
    sweep: Sweep,
    trials: Iterable[TrialRecord],
    *,
    settings: Sequence[str],
    sweep_state: str,
    brief: bool = False,
    trainable: bool = False,
) -> Table:
    """The trials, best first, with their value (under the metric's name) and the given settings.

    `epochs_run` counts recorded epochs; `seconds` is their time. An explored setting is empty where its condition was
    not met. A `brief` board leaves out the rank, which the order tells, and the reasons of failed trials; with
    `trainable` it has how many parameters were trained. States are in words, which depend on the sweep's.
    """
    explored = sweep.record["spec"]["space"]
    facts = ("trial", "state", sweep.metric, "best_epoch", "epochs_run", "seconds", *["trainable"] * trainable)
    columns = (*facts, *settings) if brief else ("rank", *facts, *settings, "error")
    rows = []
    for rank, trial in enumerate(ranked(trials, mode=sweep.mode), start=1):
        row = (
            trial.number,
            state_in_words(trial.state, sweep_state),
            trial.value,
            trial.best_epoch,
            len(trial.epochs),
            round(trial.seconds, 3),
            *[trial.trainable] * trainable,
            *(chosen(trial, name, explored=explored) for name in settings),
        )
        rows.append(row if brief else (rank, *row, trial.error))
    return Table("Leaderboard", columns, tuple(rows))


def chosen(trial: TrialRecord, name: str, *, explored: Container[str]) -> Any:
    """A setting of a trial; None for one that is explored and was not suggested, as its condition was not met."""
    return (trial.params if name in explored else trial.settings).get(name)


def without_empty(table: Table, *columns: str) -> Table:
    """The table without those of the named columns that are empty, or 0, in every row."""
    places = [
        place
        for place, name in enumerate(table.columns)
        if name not in columns or any(row[place] for row in table.rows)
    ]
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return Table(table.title, tuple(table.columns[place] for place in places), rows)


def varying_settings(trials: Sequence[TrialRecord], *, explored: Iterable[str]) -> list[str]:
    """The explored settings, then all others that are not the same in every trial."""
    names = dict.fromkeys(explored)
    for name in dict.fromkeys(name for trial in trials for name in trial.settings):
        if len({repr(trial.settings.get(name)) for trial in trials}) > 1:
            names[name] = None
    return list(names)


def failed_by_reason(trials: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """The failed trials, those of one reason together; reasons that differ in their numbers alone are one."""
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        if trial.state == "failed":
            groups[_NUMBER.sub("#", trial.error or "")].append(trial)
    return list(groups.values())


def headlines(standing: Mapping[str, Any], *, gap: float | None = None) -> list[str]:
    """How a sweep stands, in a few lines without its name.

    Args:
        standing: of `reports.sweep.standing`.
        gap: of `reports.ranking.gap_to_second`.
    """
    counts, budget, best = standing["counts"], standing["budget"], standing["best"]
    total = sum(counts.values())
    epochs = "" if budget["epochs"] is None else f" of up to {counted(budget['epochs'], 'epoch')}"
    hours = "" if budget["hours"] is None else f", {budget['hours']:g} hour{'' if budget['hours'] == 1 else 's'}"
    why = ENDED.get(standing["outcome"], "")
    lines = [
        f"{standing['state']}{why}; {total} of {counted(budget['trials'], 'trial')} begun{epochs}{hours}",
        ", ".join(f"{number} {state_in_words(state, standing['state'])}" for state, number in counts.items()),
    ]
    if best is None:
        lines.append("no trial is complete yet" if total else "no trial has begun yet")
    else:
        ahead = "" if gap is None else f", {shown(gap)} ahead of the second" if gap else ", equalled by the second"
        lines.append(
            f"best {standing['metric']} {shown(best['value'])} in trial {best['number']}, epoch {best['epoch']}{ahead}"
        )
    return lines


# drawing


def state_in_words(state: str, sweep_state: str) -> str:
    """A trial's state for people: one that is recorded as running is not, where nobody is at work on the sweep."""
    return "paused" if state == "running" and sweep_state == "interrupted" else state


def shown(cell: Cell) -> str:
    """A value for people: four significant digits, nothing for None, text on one line without control characters."""
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return f"{cell:.0f}" if 1000 <= abs(cell) < 1e15 else f"{cell:.4g}"
    text = printable(cell) if isinstance(cell, str) else str(cell)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def printable(text: str) -> str:
    """Text whole, on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def local_time(text: str | None) -> str:
    """A time in ISO 8601 as clocks here show it, to the minute; what is none as it is."""
    try:
        return datetime.fromisoformat(text or "").astimezone().strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return text or ""


def markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table, numbers to the right; user text is escaped."""
    numeric = numeric_columns(table)
    lines = [
        [escaped(column) for column in table.columns],
        ["---:" if right else "---" for right in numeric],
        *([escaped(shown(cell)) for cell in row] for row in table.rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """Text that Markdown, and the HTML made of it, show as it is, at the start of a line too."""
    text = html.escape(" ".join(text.split()), quote=False)
    text = _MARKS.sub(lambda found: "".join(f"\\{mark}" for mark in found[0]), text)
    return _NUMBERED.sub(r"\1\\\2", text)


def to_csv(table: Table) -> str:
    """CSV with a header line and full precision; text that could be a formula is led by `'`."""
    out = io.StringIO()
    write = csv_writer(out)
    for row in (table.columns, *table.rows):
        write(row)
    return out.getvalue()


def csv_writer(file: TextIO) -> Callable[[Iterable[Cell]], None]:
    """What writes a line of cells to a CSV file, each as `csv_cell` has it. All CSV files are written by this.

    A file on the disk is to be opened with `newline=""`. Python 3.11 leaves a carriage return without quotes where
    lines end in a mere newline, and then reads it as the end of a line: such lines get quotes around every cell.
    """
    usual = csv.writer(file, lineterminator="\n")
    quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(cells: Iterable[Cell]) -> None:
        row = [csv_cell(cell) for cell in cells]
        returns = any(isinstance(cell, str) and "\r" in cell for cell in row)
        (quoting if returns else usual).writerow(row)

    return write


def records(table: Table) -> list[dict[str, Cell]]:
    """The rows as dictionaries, for JSON."""
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def plain(table: Table) -> str:
    """Aligned columns of text, two spaces apart, one line a row, as wide as they are."""
    numeric = numeric_columns(table)
    lines = [[shown(column) for column in table.columns], *([shown(cell) for cell in row] for row in table.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    return "".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        + "\n"
        for line in lines
    )


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers only, or nothing, and at least one number."""
    columns = ([row[place] for row in table.rows if row[place] is not None] for place in range(len(table.columns)))
    return [bool(there) and all(is_number(cell) for cell in there) for there in columns]


def is_number(value: Any) -> bool:
    """Whether a value is a number; `true` is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def csv_cell(cell: Cell) -> str | int | float | None:
    """A value as CSV should have it: what a spreadsheet would take for a formula is led by `'`."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, str) and cell.lstrip()[:1] in ("=", "+", "-", "@"):
        return "'" + cell
    return cell
