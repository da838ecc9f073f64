"""Tables on a terminal, and as plain text when the output goes elsewhere.

    print_table(board, console=Console(), limit=40)

Text of users is shown as it is: nothing in it is taken for rich's markup.
"""

import dataclasses
from collections.abc import Container

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.tables import Cell, Table, plain, shown

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}
_WIDEST_WHOLE = 16


def print_table(table: Table, *, console: Console, limit: int | None = None, names: Container[str] = ()) -> int:
    """Prints a table: drawn to a terminal, its first `limit` rows; aligned text to anything else, whole.

    A terminal too narrow for all columns gets aligned text too, which it wraps without losing any. Columns are headed
    in words, but for those that are `names` of the user's.

    Returns:
        How many rows were left out.
    """
    if not console.is_terminal:
        console.file.write(plain(table))
        return 0
    part = dataclasses.replace(table, rows=table.rows[:limit])
    heads = [shown(column) if column in names else shown(column).replace("_", " ") for column in part.columns]
    widths = [_least_width(part, index, heads[index]) for index in range(len(part.columns))]
    if sum(widths) + len(widths) - 1 > console.width:
        console.file.write(plain(part))
    else:
        console.print(_drawn(part, heads, widths))
    return len(table.rows) - len(part.rows)


def print_line(text: str, *, console: Console, style: str | None = None) -> None:
    """Prints one line of text, with nothing in it taken for markup."""
    if console.is_terminal:
        console.print(Text(shown(text), style=style or ""))
    else:
        console.file.write(shown(text) + "\n")


def _drawn(table: Table, heads: list[str], widths: list[int]) -> RichTable:
    drawn = RichTable(box=None, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for index, (head, width) in enumerate(zip(heads, widths, strict=True)):
        words = any(isinstance(row[index], (str, bool)) for row in table.rows)
        drawn.add_column(Text(head), justify="left" if words else "right", overflow="fold", min_width=width)
    for row in table.rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    return drawn


def _least_width(table: Table, index: int, head: str) -> int:
    """What a column needs for whole values, long texts apart, and for the longest word of its header."""
    values = max((len(shown(row[index])) for row in table.rows), default=0)
    return max(min(values, _WIDEST_WHOLE), *(len(word) for word in head.split()))


def _cell(cell: Cell) -> Text:
    return Text(shown(cell), style=_STYLES.get(cell, "") if isinstance(cell, str) else "")
