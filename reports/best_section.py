"""The report's section on the best model, from what the export left in `best/`.

add_best_model(page, results)
"""

import math
import shlex
from collections.abc import Callable, Sequence

from reports import evaluation
from reports.markup import Markup, bdi, html_table, join, tag, text
from reports.model_figures import calibration_figure, confusion_figure, truth_figure
from reports.modelfile import BEST, PREDICTIONS
from reports.page import Page, command
from reports.predictions import HeldOut, read_predictions
from reports.ranking import on_new_pictures
from reports.results import Results
from reports.tables import Cell, Table, shown
from reports.tested import exported, measures_of
from reports.thumbnails import thumbnails
from trainables.errors import UserError
from trainables.wording import counted

_PICTURES = 12
_CELLS = 12  # classes of a confusion matrix that is a table
_DRAWN = 60  # and of one that is drawn
_LISTED = 100
_PAIRS = 15
_MOST_CHARTS = 6
# What an export measures of labels, and its name here.
_LABEL_SCORES = {"pictures": "pictures", "map": "mAP", "accuracy": "accuracy", "f1": "macro F1", "auroc": "AUROC"}

_Splits = dict[str, list[HeldOut]]
_Facts = Sequence[tuple[str, Cell]]


def add_best_model(page: Page, results: Results) -> None:
    """How good the best model is, on which pictures, and where it errs."""
    page.section("model", "The best model", *_content(page, results))


def _content(page: Page, results: Results) -> list[Markup]:
    sweep, best = results.sweep, results.answer.best
    if best is None:
        return [tag("p", "There is none before a trial is complete.")]
    folder, export = sweep.folder / BEST, command(f"tune export {shlex.quote(sweep.address)}")
    path = folder / PREDICTIONS
    classes = tuple(sweep.record["classes"])
    if not path.is_file():
        missing = "What it says of the held-out pictures is not there yet. Make it, then write this report again:"
        return [tag("p", missing), export]
    try:
        predictions = read_predictions(path, classes=classes, task=sweep.task)
    except UserError as error:
        return [tag("p", f"Its predictions cannot be used: {error}.", attributes={"class": "warning"}), export]
    content = []
    number = exported(sweep).get("trial")
    if number != best.number:
        whose = "an unknown trial" if number is None else f"trial {number}"
        old = f"This is of {whose}, exported earlier; the best one now is trial {best.number}. To renew it:"
        content += [tag("p", old, attributes={"class": "warning"}), export]
    splits: _Splits = {}
    for picture in predictions:
        splits.setdefault(picture.split, []).append(picture)
    if not splits:
        return [*content, tag("p", "The sweep has no held-out pictures.")]
    seen = "test" if "test" in splits else next(iter(splits))
    expected = on_new_pictures(sweep.mode)
    chose = "chose nothing" if seen == "test" else f"also chose the trial and its epoch: expect {expected} on new ones"
    said = f"Measured on the {counted(len(splits[seen]), f'{seen} picture')}, which {chose}."
    content.append(tag("p", said, attributes={"class": "note"}))
    draw = {"classification": _classification, "multilabel": _multilabel, "regression": _regression}[sweep.task]
    return content + draw(page, results, splits, seen, classes)


# one class a picture


def _classification(page: Page, results: Results, splits: _Splits, seen: str, classes: tuple[str, ...]) -> list[Markup]:
    measures = {split: evaluation.classification(those, classes) for split, those in splits.items()}
    summary = Table(
        "Measures",
        ("split", "pictures", "accuracy", "macro F1", "calibration error"),
        tuple((split, m.pictures, m.accuracy, m.macro_f1, m.calibration.error) for split, m in measures.items()),
    )
    of = measures[seen]
    sure = shown(of.calibration.error)
    reliability = page.chart(
        "calibration",
        "Calibration",
        f"When it is so sure, how often is it right? On the diagonal, as often. Expected calibration error {sure}.",
        calibration_figure(of.calibration),
    )
    by_class = _class_table(of.by_class, head="class")
    confusion = join(_confusion(page, of.confusion, classes))
    small = len(classes) <= _CELLS
    left = tag("div", html_table(summary), confusion if small else "", by_class if small else "")
    side = tag("div", left, reliability, attributes={"class": "charts"})
    if not small:
        side = join((side, confusion, by_class))

    def caption(p: HeldOut) -> _Facts:
        assert isinstance(p.truth, int)
        assert p.predicted is not None
        return [("is", classes[p.truth]), ("taken for", classes[p.predicted]), ("sure", f"{max(p.scores):.0%}")]

    wrong, unsure = (
        evaluation.mistakes(splits[seen], most=_PICTURES),
        evaluation.least_sure(splits[seen], most=_PICTURES),
    )
    found = thumbnails(results.sweep, [p.name for p in (*wrong, *unsure)])
    return [
        side,
        tag("h3", "The most confident mistakes"),
        _pictures(wrong, found, caption)
        if wrong
        else tag("p", f"None: all {len(splits[seen]):,} pictures are told right."),
        tag("h3", "Where it is least sure"),
        _pictures(unsure, found, caption),
    ]


def _confusion(page: Page, confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Markup]:
    """A table, a heat map, or for very many classes the pairs that are taken for each other most."""
    parts: list[Markup] = []
    if len(classes) <= _CELLS:
        drawn = _confusion_table(confusion, classes)
        parts.append(tag("div", drawn, attributes={"class": "scroll", "tabindex": "0"}))
    elif len(classes) <= _DRAWN:
        parts.append(
            page.chart(
                "confusion",
                "Confusion matrix",
                "True class by row, predicted class by column; the mistakes alone are coloured.",
                confusion_figure(confusion, classes),
                height=18 * len(classes) + 120,
                wide=True,
                least=16 * len(classes) + 260,
            )
        )
    if len(classes) > 2 and (pairs := evaluation.confused_pairs(confusion, classes)):
        title = "The most frequent confusions"
        if len(classes) > _DRAWN:
            title += f" (a matrix of {len(classes)} classes is not drawn)"
        parts.append(html_table(Table(title, ("is", "taken for", "pictures"), tuple(pairs[:_PAIRS]))))
    return parts


def _class_table(measures: Sequence[evaluation.ClassMeasures], *, head: str) -> Markup:
    rows = tuple((m.name, m.pictures, m.precision, m.recall, m.f1) for m in measures)
    title = f"By {head}"
    if len(rows) > _LISTED:
        rows = tuple(sorted(rows, key=lambda row: math.inf if row[4] is None else row[4])[:_LISTED])
        title += f" (the {_LISTED} of {len(measures)} with the lowest F1)"
    return html_table(Table(title, (head, "pictures", "precision", "recall", "F1"), rows))


def _confusion_table(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Markup:
    """Counts, with the share of the true class's pictures."""
    head = join(
        (tag("th", "is \\ taken for"), *(tag("th", bdi(name), attributes={"scope": "col"}) for name in classes))
    )

    def cell(count: int, total: int, *, right: bool) -> Markup:
        share = count / total if total else 0.0
        attributes = {"style": f"--heat: {70 * share:.0f}%"} | ({"class": "right"} if right else {})
        return tag("td", text(count), tag("small", f"{share:.0%}" if total else "–"), attributes=attributes)

    rows = join(
        tag(
            "tr",
            tag("th", bdi(name), attributes={"scope": "row"}),
            *(cell(count, sum(row), right=column == place) for column, count in enumerate(row)),
        )
        for place, (name, row) in enumerate(zip(classes, confusion, strict=True))
    )
    caption = tag("caption", "Confusion matrix")
    return tag("table", caption, tag("thead", tag("tr", head)), tag("tbody", rows), attributes={"class": "confusion"})


# several labels a picture


def _multilabel(page: Page, results: Results, splits: _Splits, seen: str, classes: tuple[str, ...]) -> list[Markup]:
    pictures = splits[seen]
    sure, right = [], []
    for p in pictures:
        assert isinstance(p.truth, tuple)
        sure += [max(score, 1 - score) for score in p.scores]
        right += [evaluation.is_told(score) == bool(truth) for score, truth in zip(p.scores, p.truth, strict=True)]
    calibration = evaluation.calibration(sure, right)
    chart = page.chart(
        "calibration",
        "Calibration",
        "How often a label is told right, by how sure it is told."
        f" Expected calibration error {shown(calibration.error)}.",
        calibration_figure(calibration),
    )
    measured = measures_of(exported(results.sweep))
    rows = tuple((split, *map(measured[split].get, _LABEL_SCORES)) for split in splits if split in measured)
    summary = html_table(Table("Measures", ("split", *_LABEL_SCORES.values()), rows)) if rows else ""
    table = _class_table(evaluation.labels_measures(pictures, classes), head="label")
    worst = evaluation.worst_labels(pictures, most=_PICTURES)

    def caption(p: HeldOut) -> _Facts:
        assert isinstance(p.truth, tuple)
        place = max(range(len(classes)), key=lambda i: abs(p.truth[i] - p.scores[i]))  # type: ignore[index]
        return [(classes[place], "yes" if p.truth[place] else "no"), ("probability", f"{p.scores[place]:.0%}")]

    found = thumbnails(results.sweep, [p.name for p in worst])
    side = tag("div", tag("div", summary, table), chart, attributes={"class": "charts"})
    return [side, tag("h3", "The labels told most wrongly"), _pictures(worst, found, caption)]


# values


def _regression(page: Page, results: Results, splits: _Splits, seen: str, classes: tuple[str, ...]) -> list[Markup]:
    rows = [
        (split, m.name, m.mean_absolute_error, m.root_mean_square_error, m.r2)
        for split, those in splits.items()
        for m in evaluation.value_measures(those, classes)
    ]
    table = Table(
        "Measures, in the values’ own units", ("split", "value", "mean absolute error", "RMSE", "R²"), tuple(rows)
    )
    pictures = splits[seen]
    says = "Predicted by true value; on the line they agree."
    charts = [
        page.chart(f"truth-{place}", shown(name), says, truth_figure(evaluation.value_points(pictures, place)))
        for place, name in enumerate(classes[:_MOST_CHARTS])
    ]
    worst = evaluation.furthest_off(pictures, most=_PICTURES)

    def caption(p: HeldOut) -> _Facts:
        assert isinstance(p.truth, tuple)
        pairs = zip(classes, p.truth, p.scores, strict=True)
        return [(name, f"{shown(said)}, is {shown(truth)}") for name, truth, said in pairs][:3]

    found = thumbnails(results.sweep, [p.name for p in worst])
    return [
        html_table(table),
        tag("div", *charts, attributes={"class": "charts"}),
        tag("h3", "Furthest off"),
        _pictures(worst, found, caption),
    ]


def _pictures(those: Sequence[HeldOut], found: dict[str, str], caption: Callable[[HeldOut], _Facts]) -> Markup:
    """Thumbnails with their facts; a picture that is gone is shown by its name alone."""
    items = []
    for p in those:
        facts = join(tag("div", bdi(head), " ", tag("b", bdi(value))) for head, value in caption(p))
        if p.name in found:
            picture = Markup(f'<img src="{found[p.name]}" width="96" height="96" loading="lazy" alt="{text(p.name)}">')
        else:
            picture = tag("div", "gone", attributes={"class": "absent"})
        items.append(tag("li", picture, facts, tag("span", bdi(p.name), attributes={"class": "name"})))
    return tag("ul", *items, attributes={"class": "pictures"})
