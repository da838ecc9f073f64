"""`tune report RUN`: the leaderboard as files. Imports no torch or Ray."""

import json
from pathlib import Path

import click

from tuning.cli.options import runs_option


@click.command(
    epilog="Example: tune report resnet18 -o report/", short_help="Write the leaderboard as .md, .csv and .json."
)
@click.argument("run")
@runs_option
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to.  [default: the sweep's folder, report/]",
)
def report(run: str, runs: Path, output: Path | None) -> None:
    """Write leaderboard.md, leaderboard.csv and leaderboard.json of the sweep RUN.

    Works while the sweep runs, after a crash, and before its first trial; the files say how it stood.
    In the CSV, text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    from reports.sweep import Sweep, find_run
    from reports.tables import headlines
    from reports.write import write_report

    sweep = Sweep.open(find_run(run, runs=runs))
    paths = write_report(sweep, output or sweep.folder / "report")
    written = json.loads(paths[-1].read_text(encoding="utf-8"))
    for line in headlines(written, gap=written["gap_to_second"]):
        click.echo(line)
    for path in paths:
        click.echo(path)
