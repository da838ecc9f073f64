"""The report's leaderboard: every trial and setting, sorted and filtered by the page's script, and why trials failed.

add_leaderboard(page, results)
"""

from collections.abc import Sequence
from typing import Any

from reports.markup import HEADS, Markup, bdi, html_table, join, tag, text, words
from reports.page import Page
from reports.results import Results
from reports.tables import (
    Cell,
    Table,
    failed_by_reason,
    leaderboard,
    numeric_columns,
    shown,
    state_in_words,
    varying_settings,
    without_empty,
)
from trainables.wording import counted

ROWS_ON_A_PAGE = 25
_VALUE = 3  # the leaderboard's column with the metric
_MOST_REASONS = 20


def add_leaderboard(page: Page, results: Results) -> None:
    """All trials, sorted and filtered by the page's script; without it the first of them."""
    trials, sweep = results.trials, results.sweep
    if not trials:
        page.section("leaderboard", "Leaderboard", tag("p", "No trial has begun yet."))
        return
    settings = varying_settings(trials, explored=sweep.record["spec"]["space"])
    table = board(results, settings=settings)
    numeric = numeric_columns(table)
    columns = [
        {"name": name, "head": words(name, HEADS), "numeric": right, "digits": _digits(table, name, place)}
        for place, (name, right) in enumerate(zip(table.columns, numeric, strict=True))
    ]
    rows = [[cell if isinstance(cell, (int, float)) or cell is None else shown(cell) for cell in r] for r in table.rows]
    best = results.answer.best.number if results.answer.best else None
    page.data("rows", {"columns": columns, "rows": rows, "best": best, "page": ROWS_ON_A_PAGE})
    stands = results.standing
    states = [state_in_words(state, stands["state"]) for state, number in stands["counts"].items() if number]
    shared = {name: value for name, value in trials[0].settings.items() if name not in settings}
    content = [
        tag(
            "p",
            "Click a column to sort. Filter by any words, or by conditions such as lr<0.01 freeze=none.",
            attributes={"class": "note"},
        ),
        _controls(states),
        tag(
            "div",
            _board_table(table, columns, best=best),
            attributes={"class": "scroll", "tabindex": "0"},
        ),
        _pager(),
    ]
    if reasons := failures(results):
        content.append(html_table(reasons))
    if shared:
        same = Table("The same in all trials", ("setting", "value"), tuple(shared.items()))
        content.append(
            tag(
                "details",
                tag("summary", f"{counted(len(shared), 'more setting')}, the same in all trials"),
                html_table(same, caption=""),
            )
        )
    page.section("leaderboard", "Leaderboard", tag("div", *content, attributes={"class": "board", "id": "board"}))


def board(results: Results, *, settings: Sequence[str]) -> Table:
    """The leaderboard with the given settings, and trained parameters and reasons where there are any."""
    state = results.standing["state"]
    table = leaderboard(results.sweep, results.trials, settings=settings, sweep_state=state, trainable=True)
    return without_empty(table, "trainable", "error")


def failures(results: Results) -> Table | None:
    """Why trials failed, a line for each reason; None where none did.

    Reasons that differ in their numbers alone (`diverged at lr 0.3`) are one, shown as the first trial had it.
    """
    groups = failed_by_reason(results.trials)
    if not groups:
        return None
    rows = []
    for those in sorted(groups, key=lambda group: -len(group))[:_MOST_REASONS]:
        numbers = ", ".join(str(trial.number) for trial in those[:12]) + (" …" if len(those) > 12 else "")
        rows.append((those[0].error or "no reason recorded", len(those), numbers))
    title = "Why trials failed" + (f" (the {_MOST_REASONS} most frequent reasons)" if len(groups) > len(rows) else "")
    return Table(title, ("reason", "trials", "numbers"), tuple(rows))


def _controls(states: Sequence[str]) -> Markup:
    search = tag(
        "label",
        "Filter ",
        Markup('<input type="search" id="board-filter" placeholder="adamw lr&lt;0.01" autocomplete="off">'),
    )
    options = join(
        (tag("option", "all", attributes={"value": ""}), *(tag("option", s, attributes={"value": s}) for s in states))
    )
    choice = tag("label", "State ", tag("select", options, attributes={"id": "board-state"}))
    count = tag("span", attributes={"id": "board-count", "class": "note", "role": "status"})
    return tag("div", search, choice, count, attributes={"class": "controls hidden needs-script"})


def _pager() -> Markup:
    back = tag("button", "Back", attributes={"type": "button", "id": "board-back"})
    on = tag("button", "Next", attributes={"type": "button", "id": "board-on"})
    return tag("div", back, on, attributes={"class": "pages hidden"})


def _board_table(table: Table, columns: Sequence[dict[str, Any]], *, best: int | None) -> Markup:
    heads = join(
        tag(
            "th",
            tag("button", column["head"], attributes={"type": "button", "title": column["name"]}),
            attributes={"scope": "col", **({"class": "n"} if column["numeric"] else {})},
        )
        for column in columns
    )
    rows = join(
        tag(
            "tr",
            join(_board_cell(cell, column) for cell, column in zip(row, columns, strict=True)),
            attributes={"class": "best"} if row[1] == best else None,
        )
        for row in table.rows[:ROWS_ON_A_PAGE]
    )
    caption = tag("caption", "Trials, best first")
    return tag("table", caption, tag("thead", tag("tr", heads)), tag("tbody", rows))


def _board_cell(cell: Cell, column: dict[str, Any]) -> Markup:
    if column["name"] == "state":
        return tag("td", tag("span", text(cell), attributes={"class": f"state {shown(cell)}"}))
    kind = "n" if column["numeric"] else "reason" if column["name"] == "error" else None
    digits = column["digits"]
    content = Markup(f"{cell:.{digits}f}") if digits is not None and isinstance(cell, float) else bdi(cell)
    return tag("td", content, attributes={"class": kind} if kind else None)


def _digits(table: Table, name: str, place: int) -> int | None:
    """How many decimals a column has, where all of it is shown with the same: the metric's values and the seconds."""
    if name == "seconds":
        return 1
    largest = max((abs(row[place]) for row in table.rows if isinstance(row[place], float)), default=0.0)  # type: ignore[arg-type]
    return 4 if name == table.columns[_VALUE] and largest < 100 else None
