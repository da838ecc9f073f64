"""The report's comparisons: a table by each choice, what is frozen first, and any two settings against each other.

add_comparisons(page, results)
"""

from itertools import combinations

from reports.comparisons import Grid, Group, pair_grid
from reports.markup import HEADS, Markup, bdi, html_table, join, tag, text, words
from reports.page import Page
from reports.results import Results
from reports.tables import shown, without_empty
from trainables.wording import counted

_MOST_PAIRED = 8  # settings; more make more grids than anybody looks at


def add_comparisons(page: Page, results: Results) -> None:
    """A table by each choice, what is frozen first, and any two settings against each other."""
    if not results.trials:
        page.section("comparisons", "Comparisons", tag("p", "No trial has begun yet."))
        return
    pairs = _pairs(results)
    if not results.comparisons:
        said = "The sweep explores no setting that is a choice."
        page.section("comparisons", "Comparisons", tag("p", said), pairs)
        return
    note = tag(
        "p",
        "Best and median are of complete trials alone: a pruned one never showed what it would have reached. Mind the"
        " counts; a search tries what looks good more often, so groups are neither equal nor random.",
        attributes={"class": "note"},
    )
    drawn = [html_table(without_empty(table, "pruned", "failed"), heads=HEADS) for table in results.comparisons]
    tables = tag("div", *drawn, attributes={"class": "charts tight"})
    page.section("comparisons", "Comparisons", note, tables, pairs)


def _pairs(results: Results) -> Markup:
    names = [table.columns[0] for table in results.comparisons]
    explored = results.sweep.record["spec"]["space"]
    varied = [n for n in explored if len({repr(t.params[n]) for t in results.trials if n in t.params}) > 1]
    names = [*names, *(name for name in varied if name not in names)]
    names, left_out = names[:_MOST_PAIRED], names[_MOST_PAIRED:]
    grids = [pair_grid(results.trials, a, b, mode=results.sweep.mode) for a, b in combinations(names, 2)]
    grids = [grid for grid in grids if grid.cells]
    if not grids:
        return Markup("")
    options, parts = [], []
    for place, grid in enumerate(grids):
        options.append(tag("option", f"{words(grid.row)} × {words(grid.column)}", attributes={"value": str(place)}))
        attributes = {
            "data-chosen-by": "pair",
            "data-part": str(place),
            "class": "hidden" if place else "",
            "tabindex": "0",
        }
        parts.append(
            tag(
                "div",
                _grid_table(grid, mode=results.sweep.mode),
                attributes=attributes | {"class": f"scroll {attributes['class']}".strip()},
            )
        )
    chooser = tag("select", *options, attributes={"id": "pair", "data-chooser": None})
    label = tag("label", "Settings ", chooser)
    return join(
        (
            tag("h3", "Two settings at once"),
            tag(
                "p",
                f"Best {results.sweep.metric}, the median below it, and of how many trials so many were complete."
                + (f" Of the first {_MOST_PAIRED} settings; not of {', '.join(left_out)}." if left_out else ""),
                attributes={"class": "note"},
            ),
            tag("div", label, attributes={"class": "controls"}),
            *parts,
        )
    )


def _grid_table(grid: Grid, *, mode: str) -> Markup:
    values = [cell.best for row in grid.cells for cell in row if cell is not None and cell.best is not None]
    low, high = (min(values), max(values)) if values else (0.0, 0.0)

    def heat(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 1.0
        return 45 * (share if mode == "max" else 1 - share)

    def drawn(cell: Group | None) -> Markup:
        if cell is None:
            return tag("td", "–", attributes={"class": "empty"})
        counts = tag("small", f"{cell.complete} of {cell.trials}")
        if cell.best is None:
            return tag("td", "–", counts)
        median = tag("small", f"median {shown(cell.median)}")
        return tag("td", text(cell.best), median, counts, attributes={"style": f"--heat: {heat(cell.best):.0f}%"})

    head = join(
        (
            tag("th", f"{words(grid.row)} \\ {words(grid.column)}"),
            *(tag("th", bdi(label), attributes={"scope": "col"}) for label in grid.column_labels),
        )
    )
    rows = join(
        tag("tr", tag("th", bdi(label), attributes={"scope": "row"}), *map(drawn, cells))
        for label, cells in zip(grid.row_labels, grid.cells, strict=True)
    )
    left_out = f" (left out: {counted(grid.left_out, 'trial')} to which not both apply)" if grid.left_out else ""
    caption = tag("caption", f"{words(grid.row)} by {words(grid.column)}{left_out}")
    return tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", rows), attributes={"class": "grid"})
