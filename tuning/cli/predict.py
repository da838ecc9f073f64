"""`tune predict MODEL PICTURES...`: labels and probabilities from an exported model."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainables.errors import UserError

if TYPE_CHECKING:
    from reports.predict import Prediction


@click.command(
    epilog="Example: tune predict runs/resnet18/best holiday/ 'bees/*.jpg' --json",
    short_help="Labels and probabilities for pictures.",
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True)
@click.option("--json", "form", flag_value="json", help="Print a JSON list, with the likeliest classes.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV: path, label, probability, error.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Likeliest classes in the JSON.")
@click.option(
    "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="Pictures computed at a time."
)
def predict(model: Path, pictures: tuple[str, ...], form: str | None, top: int, batch_size: int) -> None:
    """Predict PICTURES (files, folders, globs) with MODEL, a folder that `tune export` wrote.

    Pictures that cannot be read are told on standard error, and the rest predicted; the exit code is 2 only when
    not one could be read. Computes in fp32.
    """
    from reports.predict import Predictor

    predictor = Predictor.load(model)
    tally = _Tally()
    predictions = tally.counted(predictor.predict(pictures, batch_size=batch_size, top=top))
    if sys.stderr.isatty() and (form == "json" or not sys.stdout.isatty()):  # else the lines themselves show how far
        predictions = _with_bar(predictions, pictures)
    if form == "json":
        click.echo(json.dumps([prediction.to_json() for prediction in predictions], indent=2))
    elif form == "csv":
        _print_csv(predictions)
    else:
        _print_lines(predictions, classes=predictor.classes)
    if tally.failed and not tally.read:
        raise UserError(
            "not one picture could be read", got=f"{tally.failed} unreadable", hint="the lines above say why"
        )


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


def _print_csv(predictions: "Iterable[Prediction]") -> None:
    from reports.tables import csv_cell

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "label", "probability", "error"])
    for prediction in predictions:
        row = (prediction.path, prediction.label, prediction.probability, prediction.error)
        writer.writerow([csv_cell(cell) for cell in row])


def _print_lines(predictions: "Iterable[Prediction]", *, classes: tuple[str, ...]) -> None:
    """One line a picture, as it is predicted: label, probability, path."""
    width = min(40, max(len(_safe(name)) for name in classes))
    for prediction in predictions:
        if prediction.label is not None:
            click.echo(f"{_safe(prediction.label):<{width}}  {prediction.probability:.4f}  {_safe(prediction.path)}")


def _safe(text: str) -> str:
    """Text without what a terminal would act on."""
    from reports.tables import shown

    return shown(text)
