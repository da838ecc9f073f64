"""Tables on a terminal, and as plain text when the output goes elsewhere.

    print_table(board, console=Console(), limit=40)

Text of users is shown as it is: nothing in it is taken for rich's markup.
"""

import dataclasses
from collections.abc import Container

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.tables import Cell, Table, plain, shown

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}
_WIDEST_WHOLE = 16


def print_table(
    table: Table,
    *,
    console: Console,
    limit: int | None = None,
    names: Container[str] = (),
    joined: Container[str] = (),
) -> int:
    """Prints a table: drawn to a terminal, its first `limit` rows; aligned text to anything else, whole.

    A terminal too narrow for all columns gets those that may be `joined` as one, `lr=0.1 freeze=none`; else the rows
    as columns; and where that is too wide as well, aligned text, which it wraps without losing any. Columns are headed
    in words, but for those that are `names` of the user's.

    Returns:
        How many rows were left out.
    """
    if not console.is_terminal:
        console.file.write(plain(table))
        return 0
    part = dataclasses.replace(table, rows=table.rows[:limit])
    for drawn in (_headed(part, names), _headed(_joined(part, joined), names), _turned(_headed(part, names))):
        least = [_least_width(drawn, index) for index in range(len(drawn.columns))]
        spare = console.width - (sum(least) + len(least) - 1)
        if spare >= 0:
            console.print(_drawn(drawn, _widened(drawn, least, spare)))
            break
    else:
        console.file.write(plain(part))
    return len(table.rows) - len(part.rows)


def print_line(text: str, *, console: Console, style: str | None = None) -> None:
    """Prints one line of text, with nothing in it taken for markup."""
    if console.is_terminal:
        console.print(Text(shown(text), style=style or ""))
    else:
        console.file.write(shown(text) + "\n")


def _headed(table: Table, names: Container[str]) -> Table:
    heads = (shown(column) if column in names else shown(column).replace("_", " ") for column in table.columns)
    return dataclasses.replace(table, columns=tuple(heads))


def _joined(table: Table, names: Container[str]) -> Table:
    """The named columns as a last one, `name=value` of each that is not empty."""
    kept = [index for index, column in enumerate(table.columns) if column not in names]
    others = [index for index, column in enumerate(table.columns) if column in names]
    if not others:
        return table
    rows = tuple(
        (
            *(row[index] for index in kept),
            " ".join(f"{table.columns[index]}={shown(row[index])}" for index in others if row[index] is not None),
        )
        for row in table.rows
    )
    return Table(table.title, (*(table.columns[index] for index in kept), "settings"), rows)


def _turned(table: Table) -> Table:
    """Rows as columns, under their first cells."""
    lines = zip(*(table.columns, *table.rows), strict=True)
    head, *rows = ((column, *map(shown, cells)) for column, *cells in lines)
    return Table(table.title, head, tuple(rows))


def _drawn(table: Table, widths: list[int]) -> RichTable:
    drawn = RichTable(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for index, (head, width) in enumerate(zip(table.columns, widths, strict=True)):
        words = any(isinstance(row[index], (str, bool)) for row in table.rows)
        drawn.add_column(Text(head), justify="left" if words else "right", overflow="fold", width=width)
    for row in table.rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    return drawn


def _values_width(table: Table, index: int) -> int:
    return max((cell_len(shown(row[index])) for row in table.rows), default=0)


def _least_width(table: Table, index: int) -> int:
    """What a column needs for whole values, long texts apart, and for the longest word of its header."""
    words = map(cell_len, table.columns[index].split())
    return max(min(_values_width(table, index), _WIDEST_WHOLE), *words, 1)


def _widened(table: Table, least: list[int], spare: int) -> list[int]:
    """Columns with what is spare, first for values and then for headers on one line, the shortest of each first."""
    places = range(len(least))
    values = [_values_width(table, index) for index in places]
    widths = list(least)
    for wanted in (values, [cell_len(head) for head in table.columns]):
        for index in sorted(places, key=wanted.__getitem__):
            more = min(max(wanted[index] - widths[index], 0), spare)
            widths[index] += more
            spare -= more
    return widths


def _cell(cell: Cell) -> Text:
    return Text(shown(cell), style=_STYLES.get(cell, "") if isinstance(cell, str) else "")
