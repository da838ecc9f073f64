"""Trials gathered by what they have in common: one setting as a table, two settings as a grid.

    by_freeze = comparison(trials, "freeze", mode="max")       # a Table
    grid = pair_grid(trials, "freeze", "optimizer", mode="max")
    grid.cells[0][1].best, grid.cells[0][1].trials

Every cell comes with its count, so that nobody takes one lucky trial for a finding. A trial to which a setting does not
apply is left out: what it has there is the default, which nobody chose.
"""

import statistics
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from optuna.distributions import CategoricalDistribution

from reports.ledger import TrialRecord
from reports.tables import Cell, Table, is_number, shown
from trainables.wording import counted

_MOST_VALUES = 8  # a numeric setting of more is cut into ranges
_RANGES = 4


@dataclass(frozen=True)
class Group:
    """Trials that share something, and what they led to. `best` and `median` are of the complete ones, `best_pruned` is
    what the pruned ones had reached."""

    label: Cell
    trials: int
    complete: int
    pruned: int
    failed: int
    best: float | None
    median: float | None
    best_pruned: float | None
    epoch_seconds: float | None
    trainable: int | None
    trainable_share: float | None


@dataclass(frozen=True)
class Grid:
    """Two settings against each other; a cell is None where no trial has both values.

    `left_out` are the trials to which not both settings apply.
    """

    row: str
    column: str
    row_labels: tuple[Cell, ...]
    column_labels: tuple[Cell, ...]
    cells: tuple[tuple[Group | None, ...], ...]
    left_out: int = 0


def comparison(trials: Sequence[TrialRecord], setting: str, *, mode: str) -> Table:
    """What each value of one setting led to, the best first.

    Args:
        trials: of a ledger.
        setting: the one to go by; an explored setting of few values.
        mode: `max` or `min`.

    Returns:
        Columns: the setting, `trials`, `complete`, `pruned`, `failed` (counts), `best` and `median` (of complete
        trials' values: a pruned one never showed what it would have reached), `best_pruned` where some value has no
        complete trial, `epoch_seconds` (mean over all epochs), and, where the ledger has it, `trainable` (the mean
        number of parameters that were trained) and `trainable_share` (of the network's). The title says to how many
        trials the setting does not apply.
    """
    sizes, having = network_sizes(trials), _having(trials, setting)
    groups = [_group(label, members, mode=mode, sizes=sizes) for label, members in _by_value(having, setting)]
    groups.sort(key=lambda group: _order(group, mode=mode))
    columns = ["trials", "complete", "pruned", "failed", "best", "median"]
    columns += ["best_pruned"] * any(group.best is None and group.best_pruned is not None for group in groups)
    columns += ["epoch_seconds"]
    columns += [
        name for name in ("trainable", "trainable_share") if any(getattr(group, name) is not None for group in groups)
    ]
    rows = tuple((group.label, *(getattr(group, name) for name in columns)) for group in groups)
    left_out = len(trials) - len(having)
    said = f" (does not apply to {left_out:,} of {counted(len(trials), 'trial')})" if left_out else ""
    return Table(f"By {setting}{said}", (setting, *columns), rows)


def pair_grid(trials: Sequence[TrialRecord], row: str, column: str, *, mode: str) -> Grid:
    """What pairs of two settings' values led to. A number of many values is cut into ranges of about equal counts."""
    having = _having(trials, row, column)
    rows, columns = _by_range(having, row), _by_range(having, column)
    places = {trial.number: place for place, (_, members) in enumerate(columns) for trial in members}
    cells = []
    for _, members in rows:
        gathered: list[list[TrialRecord]] = [[] for _ in columns]
        for trial in members:
            gathered[places[trial.number]].append(trial)
        cells.append(tuple(_group(None, those, mode=mode) if those else None for those in gathered))
    return Grid(
        row,
        column,
        tuple(label for label, _ in rows),
        tuple(label for label, _ in columns),
        tuple(cells),
        left_out=len(trials) - len(having),
    )


def categorical_settings(trials: Iterable[TrialRecord]) -> list[str]:
    """The explored settings that are choices, what is frozen first, the rest in the order of the search space."""
    names: dict[str, None] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            if isinstance(distribution, CategoricalDistribution) and len(distribution.choices) > 1:
                names[name] = None
    return sorted(names, key=lambda name: name != "freeze")


def network_sizes(trials: Iterable[TrialRecord]) -> dict[str, int]:
    """All parameters of each model, as far as an epoch tells them."""
    return {
        trial.settings["model"]: trial.epochs[0]["parameters"]
        for trial in trials
        if trial.epochs and "parameters" in trial.epochs[0]
    }


def _group(label: Cell, members: Sequence[TrialRecord], *, mode: str, sizes: Mapping[str, int] | None = None) -> Group:
    best_of = max if mode == "max" else min
    values, stopped = (
        [trial.value for trial in members if trial.state == state and trial.value is not None]
        for state in ("complete", "pruned")
    )
    epochs = sum(len(trial.epochs) for trial in members)
    counts = [(count, trial.settings["model"]) for trial in members if (count := trial.trainable) is not None]
    shares = [count / sizes[model] for count, model in counts if sizes and model in sizes]
    states = [trial.state for trial in members]
    return Group(
        label=label,
        trials=len(members),
        complete=states.count("complete"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        best=best_of(values) if values else None,
        median=statistics.median(values) if values else None,
        best_pruned=best_of(stopped) if stopped else None,
        epoch_seconds=sum(trial.seconds for trial in members) / epochs if epochs else None,
        trainable=round(statistics.fmean(count for count, _ in counts)) if counts else None,
        trainable_share=statistics.fmean(shares) if shares else None,
    )


def _order(group: Group, *, mode: str) -> tuple[bool, float]:
    best = group.best or 0.0
    return group.best is None, -best if mode == "max" else best


def _having(trials: Iterable[TrialRecord], *settings: str) -> list[TrialRecord]:
    """The trials to which all these settings apply."""
    return [trial for trial in trials if trial.params.keys() >= set(settings)]


def _by_value(trials: Iterable[TrialRecord], setting: str) -> list[tuple[Cell, list[TrialRecord]]]:
    """Trials by a setting's value, in the order of their first appearance."""
    groups: dict[str, tuple[Cell, list[TrialRecord]]] = {}
    for trial in trials:
        value = trial.params[setting]
        groups.setdefault(repr(value), (value, []))[1].append(trial)  # by repr: True and 1, "2" and 2 stay apart
    return list(groups.values())


def _by_range(trials: Sequence[TrialRecord], setting: str) -> list[tuple[Cell, list[TrialRecord]]]:
    """As `_by_value`, in the order of the values; a number of many values in ranges of about equal counts."""
    groups = _by_value(trials, setting)
    if not all(is_number(label) for label, _ in groups):
        places = _choices(trials, setting)
        return sorted(groups, key=lambda group: places.get(repr(group[0]), len(places)))
    groups.sort(key=lambda group: group[0])  # type: ignore[arg-type, return-value]
    if len(groups) <= _MOST_VALUES:
        return groups
    ordered = sorted(trials, key=lambda trial: (trial.params[setting], trial.number))
    values = [trial.params[setting] for trial in ordered]
    ends = (round(len(values) * part / _RANGES) for part in range(1, _RANGES + 1))
    edges = dict.fromkeys([0, *(bisect_right(values, values[end - 1]) for end in ends)])  # equal values stay together
    return [(_range(values[low], values[high - 1]), ordered[low:high]) for low, high in pairwise(edges)]


def _range(low: float, high: float) -> Cell:
    return low if low == high else f"{shown(low)} – {shown(high)}"


def _choices(trials: Iterable[TrialRecord], setting: str) -> dict[str, int]:
    """The place of each choice in the search space."""
    for trial in trials:
        distribution = trial.distributions.get(setting)
        if isinstance(distribution, CategoricalDistribution):
            return {repr(choice): place for place, choice in enumerate(distribution.choices)}
    return {}
