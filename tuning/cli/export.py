"""`tune export RUN`: the best model as a self-contained folder."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainables.errors import UserError
from tuning.cli.options import LocalPath, runs_option

if TYPE_CHECKING:
    from reports.measure import Progress
    from reports.modelfile import Description

_WEIGHTS = "safetensors"  # always written
_INSTALLED = "installed"


@click.command(
    epilog="Example: tune export resnet18 --formats pt2,onnx -o bees-model",
    short_help="The best model as a self-contained folder.",
)
@click.argument("run")
@runs_option
@click.option("--trial", "number", type=click.IntRange(0), metavar="N", help="This trial instead of the best one.")
@click.option(
    "--formats",
    default=_INSTALLED,
    metavar="LIST",
    help="Of safetensors (always written), pt2 and onnx, with commas; all that are installed when left out.",
)
@click.option(
    "-o",
    "--output",
    type=LocalPath(path_type=Path),
    help="The folder to write; a former export there is replaced.  [default: the sweep's folder, best/]",
)
def export(run: str, runs: Path | str, number: int | None, formats: str, output: Path | None) -> None:
    """Export the best model of the sweep RUN: weights, description, predictions and model card.

    model.safetensors is all that `tune predict` needs; model.pt2 runs with torch alone and model.onnx with
    onnxruntime. Each is loaded again and must say of held-out pictures what the trained network says.
    """
    from reports.runs import find_run
    from reports.sweep import Sweep

    sweep = Sweep.open(find_run(run, runs=runs))  # before what takes seconds to load

    from reports.export import export_model
    from reports.formats import FORMATS, available_formats
    from reports.modelfile import BEST, read_description
    from trainables.urls import joined

    chosen = available_formats() if formats == _INSTALLED else _chosen(formats, known=tuple(FORMATS))
    default = sweep.folder / (BEST if number is None else f"trial-{number}")
    with _progress() as progress:
        folder = export_model(sweep, output or default, number=number, formats=chosen, progress=progress)
    if sweep.home and output is None:
        sweep.home.push_made(folder.name)
    click.echo(folder)
    for line in _summary(read_description(folder)):
        click.echo(f"  {line}")
    for name, kind in FORMATS.items():
        if formats == _INSTALLED and name not in chosen:
            click.echo(f"  no {kind.files[0]}: pip install 'tuneyard[{kind.extra}]' makes it")
    model = str(folder)
    if sweep.home and output is None:
        model = joined(sweep.home.url, folder.name)
        click.echo(f"  at home {model}")
    click.echo(f"try it: tune predict {shlex.quote(model)} PICTURES...")


def _chosen(formats: str, *, known: tuple[str, ...]) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in formats.split(",") if name.strip()))
    for name in names:
        if name not in (_WEIGHTS, *known):
            raise UserError(
                "no such format", where="--formats", got=name, expected=f"some of {', '.join((_WEIGHTS, *known))}"
            )
    return tuple(name for name in names if name != _WEIGHTS)


def _summary(description: "Description") -> list[str]:
    """What was written, compared and measured."""
    from reports.tables import shown
    from trainables.wording import counted

    checked, measured, recorded = (description.facts[name] for name in ("checked", "measured", "metrics"))
    lines = [
        f"{', '.join(checked['files'])}: the same scores as the trained network on {checked['pictures']}"
        f" {checked['on']} (within {checked['largest_difference']:.1g})"
    ]
    score = description.facts["selected_by"]["metric"]
    lines.append(f"{score} {shown(recorded[score])} as trained ({recorded['precision']})")
    for split in ("val", "test"):
        if found := measured.get(split):
            name = score.removeprefix("val_")
            pictures = counted(found["pictures"], "picture")
            lines.append(f"{split}_{name} {shown(found[name])} as exported (fp32, {pictures})")
    if "missing" in measured:
        lines.append(f"not measured, for want of the sweep's pictures: {shown(measured['missing'])}")
    return lines


@contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on standard error over the pictures that are predicted, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("measuring"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
