"""`tune export RUN`: the best model as a self-contained folder."""

from pathlib import Path

import click

from tuning.cli.options import runs_option


@click.command(
    epilog="Example: tune export resnet18 -o bees-model", short_help="The best model as a self-contained folder."
)
@click.argument("run")
@runs_option
@click.option("--trial", "number", type=click.IntRange(0), metavar="N", help="This trial instead of the best one.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The folder to write; a former export there is replaced.  [default: the sweep's folder, best/]",
)
def export(run: str, runs: Path, number: int | None, output: Path | None) -> None:
    """Export the best model of the sweep RUN: weights, description and model card, checked by loading them again.

    The folder is all that `tune predict` needs; its README says how to load it with plain torch.
    """
    from reports.sweep import Sweep, find_run

    sweep = Sweep.open(find_run(run, runs=runs))  # before what takes seconds to load

    from reports.export import export_model

    default = sweep.folder / ("best" if number is None else f"trial-{number}")
    folder = export_model(sweep, output or default, number=number)
    click.echo(folder)
    click.echo(f"try it: tune predict {folder} PICTURES...")
