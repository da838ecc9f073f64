"""`tune resume`: go on with a sweep."""

import sys
from pathlib import Path

import click

from tuning.cli.options import address_option, quiet_option, runs_option


@click.command(epilog="Example: tune resume resnet18 --trials 50")
@click.argument("run")
@runs_option
@click.option("--trials", type=click.IntRange(1), help="Trials in all, those there are included.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Hours in all, those spent included.")
@click.option("--workers", type=click.IntRange(1), help="Most trials at once.")
@address_option
@quiet_option
def resume(
    run: str,
    runs: Path | str,
    trials: int | None,
    hours: float | None,
    workers: int | None,
    address: str | None,
    quiet: bool,
) -> None:
    """Go on with the sweep RUN (its folder, or its name under --runs) after any interruption.

    Finished trials stay as they are; those that were at work go on from their last epoch. More trials or hours
    extend a finished sweep. You may also edit the sweep.yaml in the run's folder: more trials, wider ranges and
    choices, other resources and a new place of the same pictures are taken over; what would make the history
    worthless is refused.
    """
    from reports.runs import find_run

    folder = find_run(run, runs=runs)  # before what takes seconds to load

    from tuning.revise import Revision
    from tuning.session import go_on

    revision = Revision(trials=trials, hours=hours, workers=workers)
    sys.exit(go_on(folder, revision, quiet=quiet, address=address))
