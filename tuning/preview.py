"""A checked sweep file as tables to look at, before it is run.

    console.print(preview(spec, sample=3))

Rows are made first, as plain text, and drawn second. No picture is read.
"""

import dataclasses
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table

from trainables.data.sources import ONLY_FOR
from trainables.files import expanded
from trainables.settings import NAMED_WEIGHTS
from trainables.wording import counted
from tuning.checking import Shown
from tuning.crosschecks import advice
from tuning.space import draw
from tuning.space_file import condition_in_words, words_for
from tuning.spec import Spec

Row = tuple[str, ...]


def preview(spec: Spec, *, sample: int) -> Group:
    """The spec as rich tables; with `sample` trials drawn at random, by the sweep's seed."""
    parts = [
        _table("Data", ("setting", "value"), data_rows(spec)),
        _table("Every trial (but for defaults)", ("setting", "value", "default"), trial_rows(spec)),
        _table("Explored", ("setting", "values", "only when"), space_rows(spec)),
        _table("Search and resources", ("setting", "value"), search_rows(spec)),
    ]
    if sample:
        header, rows = sample_rows(spec, sample)
        parts.append(_table(f"Drawn at random: {counted(sample, 'trial')}", header, rows))
    notes = [f"Note: {line}" for line in advice(spec)]
    return Group(*[part for part in parts if part is not None], *notes)


def data_rows(spec: Spec) -> list[Row]:
    """Every setting that this source looks at; a path with what it leads to."""
    rows: list[Row] = []
    for name, value in dataclasses.asdict(spec.data).items():
        if value is not None and spec.data.source in ONLY_FOR.get(name, (spec.data.source,)):
            found = f" ({_found(spec.base, value)})" if name in ("path", "root") else ""
            rows.append((name, _shown(value) + found))
    return rows


def trial_rows(spec: Spec) -> list[Row]:
    """Setting, value, default: of the fixed settings, those that are not the default."""
    rows: list[Row] = []
    for name, value in spec.trial.items():
        if value != spec.defaults[name]:
            is_file = name == "weights" and value not in NAMED_WEIGHTS
            found = f" ({_found(spec.base, value)})" if is_file else ""
            rows.append((name, _shown(value) + found, _shown(spec.defaults[name])))
    return rows


def space_rows(spec: Spec) -> list[Row]:
    """Setting, its values, its condition: of the explored settings."""
    return [(name, words_for(dimension), condition_in_words(dimension)) for name, dimension in spec.space.items()]


def search_rows(spec: Spec) -> list[Row]:
    """Every setting of search and resources that is set."""
    settings = {**dataclasses.asdict(spec.search), **dataclasses.asdict(spec.resources)}
    return [(name, _shown(value)) for name, value in settings.items() if value is not None]


def sample_rows(spec: Spec, count: int) -> tuple[Row, list[Row]]:
    """Header and rows of `count` trials drawn at random from the space; the same ones every time."""
    rng = random.Random(spec.search.seed)
    trials = [draw(spec.space, rng) for _ in range(count)]
    rows = [
        (str(number), *(_shown(trial[name]) if name in trial else "–" for name in spec.space))
        for number, trial in enumerate(trials)
    ]
    return ("trial", *spec.space), rows


def _found(base: Path, value: str) -> str:
    path = base / expanded(value)
    return "found" if path.exists() else f"not found at {path.absolute()}"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else repr(Shown(value))


def _table(title: str, header: Row, rows: Iterable[Row]) -> Table | None:
    rows = list(rows)
    if not rows:
        return None
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table
