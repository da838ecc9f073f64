"""HTML from values: everything that comes from outside is escaped here, and nowhere else.

    tag("p", "loss <", attributes={"class": "note"})         # '<p class="note">loss &lt;</p>'
    html_table(table)
    json_script("rows", rows)

Text is shown on one line, without control characters and without marks that turn the direction of what follows; each
piece of it stands in its own `<bdi>` where it might run from right to left.
"""

import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reports.tables import Cell, Table, numeric_columns, printable, shown

_LONGEST_LABEL = 40

# What columns are called on a page, where their own names would not do.
HEADS = {
    "best_epoch": "best epoch",
    "epochs_run": "epochs",
    "epoch_seconds": "s an epoch",
    "best_pruned": "best when stopped",
    "trainable_share": "trainable share",
    "error": "why it failed",
}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(value: Cell) -> Markup:
    """A value as HTML text, as `reports.tables.shown` shows it."""
    return Markup(html.escape(shown(value)))


def whole_text(value: str) -> Markup:
    """A text of any length and several lines, for `<pre>`."""
    return Markup(_escaped(value.expandtabs(4)))


def bdi(value: Cell) -> Markup:
    """A value from outside, kept from changing the direction of what stands around it."""
    return Markup(f"<bdi>{text(value)}</bdi>") if isinstance(value, str) else text(value)


def tag(name: str, *content: str, attributes: Mapping[str, str | None] | None = None) -> Markup:
    """An element. Content that is not `Markup` is escaped; an attribute without a value is None."""
    said = "".join(
        f" {key}" if value is None else f' {key}="{_escaped(value)}"' for key, value in (attributes or {}).items()
    )
    return Markup(f"<{name}{said}>{join(content)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """Pieces of HTML one after the other; what is not `Markup` is escaped."""
    return Markup("".join(part if isinstance(part, Markup) else _escaped(part) for part in parts))


def html_table(table: Table, *, caption: str | None = None, heads: Mapping[str, str] | None = None) -> Markup:
    """A table that scrolls sideways where it is too wide, numbers to the right.

    Args:
        table: cells are escaped, unless they are `Markup`.
        caption: its title when left out.
        heads: other words for columns.
    """
    numeric = numeric_columns(table)
    head = join(
        tag("th", words(column, heads), attributes={"scope": "col", **({"class": "n"} if right else {})})
        for column, right in zip(table.columns, numeric, strict=True)
    )
    body = join(
        tag(
            "tr",
            join(
                tag("td", _cell(cell), attributes={"class": "n"} if right else None)
                for cell, right in zip(row, numeric, strict=True)
            ),
        )
        for row in table.rows
    )
    title = tag("caption", table.title if caption is None else caption)
    drawn = tag("table", title, tag("thead", tag("tr", head)), tag("tbody", body))
    return tag("div", drawn, attributes={"class": "scroll", "tabindex": "0"})


def words(column: str, heads: Mapping[str, str] | None = None) -> str:
    """A column's name for people."""
    return (heads or {}).get(column, shown(column).replace("_", " "))


def definitions(pairs: Iterable[tuple[str, Cell | Markup]]) -> Markup:
    """Names and what they stand for; those without a value are left out."""
    rows = (join((tag("dt", name), tag("dd", _cell(value)))) for name, value in pairs if value not in (None, ""))
    return tag("dl", join(rows))


def json_script(name: str, document: Any) -> Markup:
    """Data for the page's script, in a script element that holds no code and cannot be left from inside."""
    return Markup(f'<script type="application/json" id="{html.escape(name)}">{safe_json(document)}</script>')


def safe_json(document: Any) -> str:
    """JSON that is ASCII and has no `<`, `>` or `&`; a number that JSON has no word for becomes null."""
    plain = json.dumps(_plain(document), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return plain.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def chart_text(value: Any, *, longest: int = _LONGEST_LABEL) -> str:
    """A value for a label or tooltip of plotly's, which takes some HTML: one short line, nothing in it markup."""
    short = printable(value) if isinstance(value, str) else shown(value)
    if len(short) > longest:
        short = short[: longest - 1] + "…"
    safe = html.escape(short, quote=False)
    return f"&#64;{safe[1:]}" if safe.startswith("@") else safe  # `@best` would be taken for a colour


def _escaped(text: str) -> str:
    """Text without what cannot be seen: control characters, and marks that turn the direction of writing."""
    return html.escape("".join(c for c in text if c.isprintable() or c == "\n"))


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return (float(f"{value:.6g}") if abs(value) < 1e5 else value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(inner) for inner in value]
    return value


def _cell(cell: Cell | Markup) -> Markup:
    return cell if isinstance(cell, Markup) else bdi(cell)
