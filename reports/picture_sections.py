"""The report's charts: what the trials did, and what the settings did.

add_trials(page, results)
add_settings(page, results)
"""

import dataclasses

from reports.charts import curves_of, history_of, time_spent, timeline_of
from reports.figures import curves_figure, history_figure, time_figure, timeline_figure
from reports.markup import Markup, chart_text, html_table, join, tag
from reports.page import Page
from reports.results import Results
from reports.sections import duration
from reports.study_charts import (
    FEWEST_TRIALS,
    MOST_DOTS,
    MOST_JUDGED,
    MOST_LINES,
    Importance,
    Sample,
    contour_figure,
    contour_pairs,
    importance_of,
    parallel_figure,
    sampled_study,
    slice_figure,
)
from reports.study_figures import dressed_contour, dressed_parallel, dressed_slice, importance_figure
from reports.tables import Table, state_in_words

_TITLES = {
    "map": "Mean average precision",
    "auroc": "AUROC",
    "f1": "F1",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "r2": "R²",
    "balanced_accuracy": "Balanced accuracy",
    "top5": "Top-5 accuracy",
}
_FEW_TRIALS = 30  # below this an importance is a hint at most
_MOST_SLICES = 12


def add_trials(page: Page, results: Results) -> None:
    """History, learning curves, workers and where the time went."""
    sweep, state = results.sweep, results.standing["state"]
    trials = [dataclasses.replace(trial, state=state_in_words(trial.state, state)) for trial in results.trials]
    if not any(trial.epochs for trial in trials):
        page.section("trials", "How it went", tag("p", "No trial has finished an epoch yet."))
        return
    history = history_of(trials, mode=sweep.mode)
    some = _sampled(history.left_out)
    charts = [
        page.chart(
            "history-trials", "History over trials", f"Each trial’s value, and the best complete one so far.{some}",
            history_figure(history, metric=sweep.metric, over="trials"),
        ),
        page.chart(
            "history-time", "History over wall time", f"The same by when the trial ended.{some}",
            history_figure(history, metric=sweep.metric, over="time"),
        ),
    ]  # fmt: skip
    metrics = [sweep.metric] + ["val_loss"] * (sweep.metric != "val_loss")
    for metric in metrics:
        curves = curves_of(trials, metric=metric, mode=sweep.mode)
        some = _sampled(curves.left_out)
        for side, pictures in (("train", "training"), ("val", "validation")):
            if all(value is None for curve in curves.curves for value in getattr(curve, side)):
                continue
            charts.append(
                page.chart(
                    f"curves-{side}-{curves.name}",
                    f"{_TITLES.get(curves.name, curves.name.capitalize())} on the {pictures} pictures",
                    "A line a trial; pruned ones are faint, the best stands out. The scale is that of complete ones."
                    + some,
                    curves_figure(curves, side=side),
                )
            )
    timeline = timeline_of(trials)
    if timeline.bars:
        some = f" The last part: {timeline.left_out:,} earlier trials are not drawn." if timeline.left_out else ""
        charts.append(
            page.chart(
                "timeline", "Workers", f"Which trials ran when, a lane for each that ran at once.{some}",
                timeline_figure(timeline), height=90 + 44 * min(timeline.lanes, 16), wide=True,
            )
        )  # fmt: skip
    spent = time_spent(trials, wall_seconds=results.answer.wall_seconds, lanes=timeline.lanes)
    if spent.parts:
        reading_s = sweep.record["data"].get("reading_s")
        before = f" Before the first trial, {duration(reading_s)} went into reading the pictures." if reading_s else ""
        charts.append(
            page.chart(
                "time", "Where the time went",
                f"All the time of the workers; an epoch’s parts are told apart where the ledger has them.{before}",
                time_figure(spent), height=210, wide=True,
            )
        )  # fmt: skip
    page.section("trials", "How it went", tag("div", *charts, attributes={"class": "charts"}))


def add_settings(page: Page, results: Results) -> None:
    """Importance, parallel coordinates, slices and contours of the settings."""
    trials, sweep = results.trials, results.sweep
    sample = sampled_study(trials, mode=sweep.mode)
    if sample.trials < FEWEST_TRIALS or not sample.settings:
        said = f"These charts need at least {FEWEST_TRIALS} complete trials that differ; there {_are(sample.trials)}."
        page.section("settings", "What the settings did", tag("p", said))
        return
    note = tag("p", f"Of complete trials alone.{_sampled(sample.left_out)}", attributes={"class": "note"})
    page.section("settings", "What the settings did", note, _importance(page, results), _others(page, sample, results))


def _importance(page: Page, results: Results) -> Markup:
    sample = sampled_study(results.trials, mode=results.sweep.mode, most=MOST_JUDGED)
    importance = importance_of(sample)
    if not importance.shares:
        return tag("p", "The complete trials are equally good, or alike, so no setting can be called important.")
    limits = "How much of the values’ variation each setting explains, by itself and with others (fANOVA)."
    limits += " It says what mattered within the ranges searched, not which value is good."
    if sample.trials < _FEW_TRIALS:
        limits += f" From {sample.trials} complete trials it is a hint at most."
    if importance.left_out:
        limits += f" Not in every trial, so not judged: {', '.join(importance.left_out)}."
    limits += _sampled(sample.left_out, verb="looked at")
    height = 80 + 30 * len(importance.shares)
    chart = page.chart("importance", "Importance", limits, importance_figure(importance), height=height)
    table = Table(
        "", ("setting", "share of the variation"), tuple((n, round(s, 3)) for n, s in importance.shares.items())
    )
    details = tag("details", tag("summary", "The same as a table"), html_table(table, caption="Importance"))
    return tag("div", tag("div", chart, details), _contours(page, results, importance), attributes={"class": "charts"})


def _contours(page: Page, results: Results, importance: Importance) -> Markup:
    """One chart for the most important pair; the others of the three most important settings can be chosen."""
    pairs = contour_pairs(importance)
    if not pairs:
        return Markup("")
    sample = sampled_study(results.trials, mode=results.sweep.mode, most=MOST_DOTS)
    says = f"Values between the trials (dots) are interpolated.{_sampled(sample.left_out)}"
    options, charts = [], []
    for place, (first, second) in enumerate(pairs):
        figure = dressed_contour(contour_figure(sample, first, second))
        title = f"{first} and {second}"
        chart = page.chart(f"contour-{place}", title, says, figure)
        options.append(tag("option", title, attributes={"value": str(place)}))
        hidden = {"class": "hidden"} if place else {}
        charts.append(tag("div", chart, attributes={"data-chosen-by": "contour", "data-part": str(place), **hidden}))
    label = tag("label", "Contour of ", tag("select", *options, attributes={"id": "contour", "data-chooser": None}))
    return tag("div", tag("div", label, attributes={"class": "controls"}), *charts)


def _others(page: Page, sample: Sample, results: Results) -> Markup:
    metric = results.sweep.metric
    lines = sampled_study(results.trials, mode=results.sweep.mode, most=MOST_LINES)
    parallel = page.chart(
        "parallel",
        "Parallel coordinates",
        "A line a trial: the best in its own colour, the best tenth strong." + _sampled(lines.left_out),
        dressed_parallel(parallel_figure(lines), metric=metric),
        height=400,
        wide=True,
        least=90 * (len(lines.settings) + 1),
    )
    slices = [
        page.chart(
            f"slice-{name}", name, "Value over setting; later trials are stronger.",
            dressed_slice(slice_figure(sample, name), setting=chart_text(name), metric=metric), height=250,
        )
        for name in sample.settings[:_MOST_SLICES]
    ]  # fmt: skip
    return join(
        (
            tag("div", parallel, attributes={"class": "charts"}),
            tag("h3", "Slices"),
            tag("div", *slices, attributes={"class": "charts small"}),
        )
    )


def _sampled(left_out: int, *, verb: str = "drawn") -> str:
    return f" Sampled evenly: {left_out:,} trials are not {verb}." if left_out else ""


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}" if count else "is none"
