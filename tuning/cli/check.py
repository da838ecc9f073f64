"""`tune check FILE`: validate a sweep file, show it resolved, draw sample trials."""

import shlex

import click
from rich.console import Console

from tuning.cli.options import space_argument
from tuning.preview import preview
from tuning.ready import find_space
from tuning.spec_file import load_spec


@click.command(
    epilog="Example: tune check my.yaml --sample 5 --set lr=0.01",
    short_help="Validate a sweep file and show it resolved.",
)
@space_argument
@click.option("--sample", type=click.IntRange(0, 1000), default=0, metavar="N", help="Draw N sample trials.")
@click.option(
    "--set", "sets", multiple=True, metavar="NAME=VALUE", help="Change a setting, such as lr=0.01 or search.trials=5."
)
@click.option("--trials", type=click.IntRange(1), help="As of tune search.")
@click.option("--epochs", type=click.IntRange(1), help="As of tune search.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="As of tune search.")
@click.option("--workers", type=click.IntRange(1), help="As of tune search.")
def check(space: str, sample: int, sets: tuple[str, ...], **numbers: float | None) -> None:
    """Validate the sweep FILE (a path, or a ready file's name) and show what it says.

    Nothing is run and no picture is read. All mistakes are told at once, each in one line with file, line and field.
    """
    path = find_space(space)
    spec = load_spec(path, sets=sets, files=True, **numbers)  # type: ignore[arg-type]
    console = Console(markup=False, highlight=False)
    console.print(preview(spec, sample=sample))
    changes = [part for text in sets for part in ("--set", text)]
    changes += [part for name, number in numbers.items() if number is not None for part in (f"--{name}", str(number))]
    command = shlex.join(["tune", "search", "--space", space, *changes])
    console.print(f"{space} is valid. Run it: {command}", soft_wrap=True)
