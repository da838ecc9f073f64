"""Sweeps side by side: in what they differ, what each came to, and how fast.

comparison = compare_sweeps([Sweep.open(first), Sweep.open(second)])
print(plain(comparison.summary))
write_comparison(comparison, Path("comparison"))
"""

import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.answers import answer_of
from reports.charts import history_of
from reports.figures import lines_figure, time_unit
from reports.ledger import TrialRecord, best_of
from reports.markup import html_table, join, tag
from reports.page import Page
from reports.sweep import Sweep, standing
from reports.tables import Cell, Table, chosen, shown, to_csv
from reports.told import explored_words, setting_cell
from reports.write import PAGE, refuse_other_page, write_texts
from trainables.errors import UserError
from trainables.files import expanded
from trainables.wording import counted

SUMMARY, SETTINGS, WINNERS, CURVES = "compare.csv", "settings.csv", "winners.csv", "curves.csv"

# The settings that decide what a loss measures.
_LOSS = ("loss", "label_smoothing", "class_weights", "focal_gamma", "margin", "huber_delta", "smooth_l1_beta")

_Steps = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Comparison:
    """What sweeps have in common and in what they differ.

    Attributes:
        metric: the one that all are judged by.
        warnings: why they may not be quite comparable.
        summary: a row a sweep: how it stands, best, median, gap, what it cost.
        differences: a row for each setting that is not the same everywhere, a column a sweep.
        winners: a row for each setting that any of them explores, with its value in the best trial of each; None where
            it does not apply to that trial.
        over_trials, over_time: by sweep, the best complete value so far, as steps (trial number or seconds, value).
    """

    metric: str
    warnings: tuple[str, ...]
    summary: Table
    differences: Table
    winners: Table
    over_trials: Mapping[str, _Steps]
    over_time: Mapping[str, _Steps]


def compare_sweeps(sweeps: Sequence[Sweep]) -> Comparison:
    """Reads each sweep once.

    Raises:
        UserError: fewer than two, one of them twice, or sweeps of different tasks or metrics.
    """
    _check(sweeps)
    names = _names(sweeps)
    rows, best, over_trials, over_time = [], [], {}, {}
    for name, sweep in zip(names, sweeps, strict=True):
        ledger = sweep.ledger()
        trials = ledger.trials()
        rows.append(
            _summary(name, sweep, trials, state=standing(sweep, ledger, trials)["state"], wall=ledger.elapsed_s())
        )
        best.append(best_of(trials, mode=sweep.mode))
        history = history_of(trials, mode=sweep.mode)
        over_trials[name], over_time[name] = history.over_trials, history.over_time
    columns = (
        "sweep", "state", "trials", "complete", "pruned", "failed", "best", "median", "gap_to_second",
        "standard_error", "wall_seconds", "trial_seconds", "epochs",
    )  # fmt: skip
    return Comparison(
        metric=sweeps[0].metric,
        warnings=tuple(_warnings(names, sweeps)),
        summary=Table("Sweeps", columns, tuple(rows)),
        differences=_differences(names, sweeps),
        winners=_winners(names, sweeps, best),
        over_trials=over_trials,
        over_time=over_time,
    )


def write_comparison(comparison: Comparison, folder: Path) -> list[Path]:
    """Writes `index.html`, `compare.csv`, `settings.csv`, `winners.csv` and `curves.csv`.

    Raises:
        UserError: the folder cannot be written, or holds a page that is no comparison.
    """
    refuse_other_page(folder, beside=CURVES)
    texts = {
        PAGE: _page(comparison),
        SUMMARY: to_csv(comparison.summary),
        SETTINGS: to_csv(comparison.differences),
        WINNERS: to_csv(comparison.winners),
        CURVES: to_csv(curves_table(comparison)),
    }
    write_texts(folder, texts)
    return [folder / name for name in texts]


def curves_table(comparison: Comparison) -> Table:
    """The curves as rows: the sweep, `trials` or `seconds` with where, and the best value so far."""
    rows = [
        (name, over, x, value)
        for over, lines in (("trials", comparison.over_trials), ("seconds", comparison.over_time))
        for name, steps in lines.items()
        for x, value in steps
    ]
    return Table("Best so far", ("sweep", "over", "at", f"best_{comparison.metric}"), tuple(rows))


def _check(sweeps: Sequence[Sweep]) -> None:
    if len(sweeps) < 2:
        raise UserError("one sweep alone", where="compare", expected="two or more", hint="tune report shows one")
    twice = [folder for folder, times in Counter(sweep.folder.resolve() for sweep in sweeps).items() if times > 1]
    if twice:
        raise UserError("given twice", where="compare", got=twice[0].name)
    tasks = {sweep.task: sweep.name for sweep in sweeps}
    if len(tasks) > 1:
        said = ", ".join(f"{name} of {task}" for task, name in tasks.items())
        raise UserError("sweeps of different tasks cannot be compared", where="compare", got=said)
    metrics = {sweep.metric: sweep.name for sweep in sweeps}
    if len(metrics) > 1:
        said = ", ".join(f"{name} by {metric}" for metric, name in metrics.items())
        raise UserError("sweeps of different metrics cannot be compared", where="compare", got=said)


def _names(sweeps: Sequence[Sweep]) -> list[str]:
    """The sweeps' names; with the folder above where two have the same."""
    times = Counter(sweep.name for sweep in sweeps)
    folders = [sweep.folder.resolve() for sweep in sweeps]
    names = [f.name if times[f.name] == 1 else f"{f.parent.name}/{f.name}" for f in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _warnings(names: Sequence[str], sweeps: Sequence[Sweep]) -> list[str]:
    not_the_test = "so the values are not of the same test"
    facts: list[tuple[str, list[Cell], str]] = [
        ("pictures (fingerprints)", [sweep.record["data"]["fingerprint"][:12] for sweep in sweeps], not_the_test),
        ("classes", [", ".join(sweep.record["classes"]) for sweep in sweeps], not_the_test),
        ("hardware", [_hardware(sweep) for sweep in sweeps], "so the times do not compare"),
    ]
    if sweeps[0].metric == "val_loss":
        not_the_measure = "so the losses are not of the same measure"
        told = [_told(sweep) for sweep in sweeps]
        facts += [(name, [settings.get(f"trial.{name}") for settings in told], not_the_measure) for name in _LOSS]
    lines = []
    for what, values, so in facts:
        if len(set(values)) > 1:
            said = "; ".join(f"{name}: {shown(value)}" for name, value in zip(names, values, strict=True))
            lines.append(f"not the same {what}, {so}: {said}")
    return lines


def _hardware(sweep: Sweep) -> str:
    """What makes trials fast or slow, as far as the record tells."""
    hardware = sweep.record.get("hardware") or {}
    gpus = ", ".join(map(str, hardware.get("gpus") or ())) or "no GPU"
    return f"{counted(hardware['cpus'], 'CPU')}, {gpus}" if "cpus" in hardware else "not recorded"


def _summary(name: str, sweep: Sweep, trials: Sequence[TrialRecord], *, state: str, wall: float) -> tuple[Cell, ...]:
    answer = answer_of(sweep, trials, wall_seconds=wall)
    states = Counter(trial.state for trial in trials)
    values = [trial.value for trial in trials if trial.state == "complete" and trial.value is not None]
    return (
        name,
        state,
        len(trials),
        *(states[kind] for kind in ("complete", "pruned", "failed")),
        answer.best.value if answer.best else None,
        statistics.median(values) if values else None,
        answer.gap,
        answer.noise,
        round(wall, 1),
        round(answer.trial_seconds, 1),
        answer.epochs,
    )


def _differences(names: Sequence[str], sweeps: Sequence[Sweep]) -> Table:
    told = [_told(sweep) for sweep in sweeps]
    keys = dict.fromkeys(key for facts in told for key in facts)
    rows = [
        (key, *(facts.get(key) for facts in told)) for key in keys if len({repr(facts.get(key)) for facts in told}) > 1
    ]
    return Table("In what they differ", ("setting", *names), tuple(rows))


def _winners(names: Sequence[str], sweeps: Sequence[Sweep], best: Sequence[TrialRecord | None]) -> Table:
    spaces = [sweep.record["spec"]["space"] for sweep in sweeps]
    trials = list(zip(best, spaces, strict=True))
    explored = dict.fromkeys(name for space in spaces for name in space)
    rows = [
        (name, *(trial and setting_cell(chosen(trial, name, explored=s)) for trial, s in trials)) for name in explored
    ]
    return Table("The best trial of each", ("setting", *names), tuple(rows))


def _told(sweep: Sweep) -> dict[str, Cell]:
    """All that a sweep was told, by section and setting."""
    spec = sweep.record["spec"]
    facts: dict[str, Cell] = {}
    for section in ("data", "search", "resources"):
        facts |= {f"{section}.{name}": setting_cell(value) for name, value in spec[section].items()}
    for name in ("data.path", "data.root"):  # however they are spelt
        if path := spec["data"].get(name.partition(".")[2]):
            facts[name] = os.path.normpath(Path(sweep.record["base"]) / expanded(path))
    for name, value in {**spec["defaults"], **spec["trial"]}.items():
        dimension = spec["space"].get(name)
        facts[f"trial.{name}"] = setting_cell(value) if dimension is None else _explored(dimension)
    facts |= {f"version of {name}": version for name, version in sweep.record["versions"].items()}
    return facts


def _explored(dimension: dict[str, Any]) -> str:
    return ("one of " if dimension["kind"] == "choice" else "") + explored_words(dimension)


def _page(comparison: Comparison) -> str:
    metric, summary = comparison.metric, comparison.summary
    lead = tag("p", f"{len(summary.rows)} sweeps, judged by {metric}", attributes={"class": "lead"})
    page = Page(title="Sweeps side by side", lead=lead)
    told = join(tag("p", line, attributes={"class": "warning"}) for line in comparison.warnings)
    page.section(
        "answer", "Answer", told, html_table(summary, heads={"wall_seconds": "wall, s", "trial_seconds": "trials, s"})
    )
    unit, divisor = time_unit(max((x for steps in comparison.over_time.values() for x, _ in steps), default=0.0))
    in_unit = {name: tuple((x / divisor, y) for x, y in steps) for name, steps in comparison.over_time.items()}
    if any(comparison.over_trials.values()):
        charts = [
            page.chart(
                "over-trials", "Best so far over trials", "The best complete trial’s value, a line a sweep.",
                lines_figure(comparison.over_trials, x="trial", y=metric), height=380,
            ),
            page.chart(
                "over-time", "Best so far over time", "The same over each sweep’s own wall time.",
                lines_figure(in_unit, x=f"wall time, {unit}", y=metric), height=380,
            ),
        ]  # fmt: skip
        page.section("history", "How fast", tag("div", *charts, attributes={"class": "charts"}))
    else:
        page.section("history", "How fast", tag("p", "No trial is complete yet."))
    names = {name: shown(name) for name in comparison.winners.columns}  # no words
    same = (
        html_table(comparison.differences, heads=names)
        if comparison.differences.rows
        else tag("p", "They were told the same.")
    )
    page.section("settings", "In what they differ", same)
    page.section("winners", "What won", html_table(comparison.winners, heads=names))
    return page.html()
