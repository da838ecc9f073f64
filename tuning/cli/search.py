"""`tune search`: start a sweep and see it through."""

import sys
from pathlib import Path

import click

from tuning.cli.options import address_option, quiet_option, runs_option, space_argument


@click.command(epilog="Example: tune search --space resnet18.yaml --set image_size=64 --trials 12")
@space_argument
@click.option("--name", help="The sweep's name; the file's name without its ending when left out.")
@runs_option
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one value of the file; repeatable.")
@click.option("--trials", type=click.IntRange(1), help="Trials in all.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of each trial.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Stop after this many hours.")
@click.option("--workers", type=click.IntRange(1), help="Most trials at once; as many as fit when left out.")
@address_option
@quiet_option
def search(
    space: str,
    name: str | None,
    runs: Path | str,
    sets: tuple[str, ...],
    trials: int | None,
    epochs: int | None,
    hours: float | None,
    workers: int | None,
    address: str | None,
    quiet: bool,
) -> None:
    """Start the sweep FILE: run its trials, then write its report and export the best model.

    Ctrl-C stops it after the epochs at work; `tune resume` goes on with it, as it does after a crash.
    """
    from reports.runs import check_new
    from tuning.ready import find_space
    from tuning.spec_file import load_spec
    from tuning.yaml_file import read_text

    path = find_space(space)
    spec = load_spec(path, sets=sets, trials=trials, epochs=epochs, hours=hours, workers=workers, files=True)
    name = name or path.stem
    check_new(name, runs=runs)  # before what takes seconds to load

    from tuning.session import start

    sys.exit(start(spec, text=read_text(path), name=name, runs=runs, quiet=quiet, address=address))
