"""`tune predict MODEL PICTURES...`: labels and probabilities, or values, from an exported model."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainables.errors import UserError
from trainables.urls import given_url, joined
from tuning.cli.options import LocalPath, runs_option

if TYPE_CHECKING:
    from reports.predict import Prediction, Predictor

_WIDEST = 40  # columns for labels on a terminal


@click.command(
    epilog="Example: tune predict runs/resnet18/best holiday/ 'bees/*.jpg' --json",
    short_help="Labels and probabilities for pictures.",
)
@click.argument("model")
@click.argument("pictures", nargs=-1, required=True, type=LocalPath())
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list, with the likeliest classes.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a line a picture.")
@click.option(
    "--top", type=click.IntRange(1), help="How many of the likeliest classes to tell: by default 5 in JSON, else 1."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    help="Least probability of a label, where a picture may have several: by default 0.5.",
)
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Pictures computed at a time."
)
def predict(
    model: str,
    pictures: tuple[str, ...],
    runs: Path | str,
    as_json: bool,
    as_csv: bool,
    top: int | None,
    threshold: float | None,
    batch_size: int,
) -> None:
    """Predict PICTURES (files, folders, globs) with MODEL, a folder that `tune export` wrote, or a sweep.

    Pictures that cannot be read are told on standard error, and the rest predicted; the exit code is 2 only when
    not one could be read. Computes in fp32.
    """
    from reports.modelfile import model_folder

    if as_json and as_csv:
        raise UserError("one of them at a time", where="--json, --csv")
    folder = model_folder(_model_place(model, runs))  # before what takes seconds to load

    from reports.json_text import json_text
    from reports.predict import Predictor

    predictor = Predictor.load(folder)
    tally = _Tally()
    if top is not None and predictor.task != "classification" and (not as_json or predictor.task == "regression"):
        raise UserError(
            f"a model of {predictor.task} tells what it tells; there is no order to take the first of",
            where="--top",
            got=top,
            hint="leave it out" if predictor.task == "regression" else "leave it out, or add --json",
        )
    if threshold is not None and predictor.task != "multilabel":
        what = f"a model of {predictor.task} tells no labels by their probability"
        raise UserError(what, where="--threshold", got=threshold, hint="leave it out")
    # Of multilabel the lines have the labels' probabilities, any of which may be wanted.
    least = {"classification": 1, "multilabel": len(predictor.classes), "regression": 1}[predictor.task]
    top = top or (5 if as_json else least)
    least_probable = 0.5 if threshold is None else threshold
    predictions = tally.counted(predictor.predict(pictures, batch_size=batch_size, top=top, threshold=least_probable))
    if sys.stderr.isatty() and (as_json or not sys.stdout.isatty()):  # else the lines themselves show how far
        predictions = _with_bar(predictions, pictures)
    if as_json:
        click.echo(json_text([prediction.to_json() for prediction in predictions]))
    elif as_csv:
        _print_csv(predictions, predictor, top=min(top, len(predictor.classes)))
    else:
        _print_lines(predictions, predictor)
    if tally.failed and not tally.read:
        raise UserError(
            "not one picture could be read", got=f"{tally.failed} unreadable", hint="the lines above say why"
        )


def _model_place(model: str, runs: Path | str) -> Path:
    """The folder itself, or the run of this name; on object storage, its working copy."""
    if given_url(model) or isinstance(runs, str):
        from reports.working_copies import model_at

        return model_at(model if given_url(model) or isinstance(runs, Path) else joined(runs, model))
    try:
        return Path(model) if Path(model).exists() or not (runs / model).is_dir() else runs / model
    except OSError as error:  # such as a name that is too long
        shortened = model if len(model) <= 80 else f"{model[:80]}…"
        raise UserError(f"cannot be looked for ({error.strerror})", where="MODEL", got=shortened) from error


class _Tally:
    """Counts predictions as they pass, and tells of those that failed."""

    def __init__(self) -> None:
        self.read = self.failed = 0

    def counted(self, predictions: "Iterable[Prediction]") -> "Iterator[Prediction]":
        for prediction in predictions:
            if prediction.error is None:
                self.read += 1
            else:
                self.failed += 1
                # Not by click, which would write past the bar.
                sys.stderr.write(f"{_safe(prediction.path)}: {_safe(prediction.error)}\n")
            yield prediction


def _with_bar(predictions: "Iterable[Prediction]", pictures: tuple[str, ...]) -> "Iterator[Prediction]":
    """The predictions, with a bar on standard error while they are made."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from reports.picture_files import find_pictures

    total = sum(1 for _ in find_pictures(pictures))
    columns = (TextColumn("predicting"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        yield from progress.track(predictions, total=total)


def _print_csv(predictions: "Iterable[Prediction]", predictor: "Predictor", *, top: int) -> None:
    """Classification: path, label, probability, error, and for a `top` of more `label_2`, `probability_2` and so on.

    Multilabel: all labels in a cell. Regression: a column each.
    """
    from reports.tables import csv_writer

    ranks = ["", *(f"_{rank}" for rank in range(2, top + 1))]
    told = {
        "classification": tuple(f"{name}{rank}" for rank in ranks for name in ("label", "probability")),
        "multilabel": ("labels",),
        "regression": predictor.classes,
    }[predictor.task]
    write = csv_writer(sys.stdout)
    write(["path", *told, "error"])
    for prediction in predictions:
        cells: tuple[str | float | None, ...]
        if prediction.error is not None:
            cells = (None,) * len(told)
        elif predictor.task == "classification":
            cells = tuple(cell for pair in prediction.top for cell in pair)
        elif predictor.task == "multilabel":
            cells = ("; ".join(prediction.labels),)
        else:
            cells = tuple(value for _, value in prediction.values)
        write([prediction.path, *cells, prediction.error])


def _print_lines(predictions: "Iterable[Prediction]", predictor: "Predictor") -> None:
    """One line a picture, as it is predicted: what the model says, then the path."""
    width = min(_WIDEST, max(len(_safe(name)) for name in predictor.classes))
    for prediction in predictions:
        if prediction.error is None:
            click.echo(f"{_said(prediction, width=width)}  {_safe(prediction.path)}")


def _said(prediction: "Prediction", *, width: int) -> str:
    if prediction.task == "regression":
        return "  ".join(f"{_safe(name)} {_safe(value)}" for name, value in prediction.values)
    if prediction.task == "multilabel":
        probable = dict(prediction.top)
        return "  ".join(f"{_safe(name)} {probable[name]:.2f}" for name in prediction.labels) or "no label"
    return "  ".join(f"{_safe(label):<{width}}  {probability:.4f}" for label, probability in prediction.top)


def _safe(value: str | float) -> str:
    """A number as people write it; text without what a terminal would act on."""
    from reports.tables import shown

    return shown(value)
