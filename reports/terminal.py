"""Tables on a terminal, and as plain text when the output goes elsewhere.

    print_table(board, console=Console(), limit=40)

Text of users is shown as it is: nothing in it is taken for rich's markup.
"""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from reports.tables import Cell, Table, plain, shown

_STYLES = {"complete": "green", "pruned": "yellow", "failed": "red", "running": "cyan"}


def print_table(table: Table, *, console: Console, limit: int | None = None) -> int:
    """Prints a table: drawn to a terminal, its first `limit` rows; aligned text to anything else, whole.

    Returns:
        How many rows were left out.
    """
    if not console.is_terminal:
        console.file.write(plain(table))
        return 0
    drawn = RichTable(box=None, header_style="bold", pad_edge=False)
    for index, column in enumerate(table.columns):
        cells = [row[index] for row in table.rows]
        words = any(isinstance(cell, (str, bool)) for cell in cells)
        drawn.add_column(Text(column), justify="left" if words else "right", overflow="fold")
    rows = table.rows[:limit]
    for row in rows:
        drawn.add_row(*(_drawn(cell) for cell in row))
    console.print(drawn)
    return len(table.rows) - len(rows)


def print_line(text: str, *, console: Console, style: str | None = None) -> None:
    """Prints one line of text, with nothing in it taken for markup."""
    if console.is_terminal:
        console.print(Text(shown(text), style=style or ""))
    else:
        console.file.write(shown(text) + "\n")


def _drawn(cell: Cell) -> Text:
    return Text(shown(cell), style=_STYLES.get(cell, "") if isinstance(cell, str) else "")
