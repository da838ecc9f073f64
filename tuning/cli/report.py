"""`tune report RUN`: the report as one page, and the same data as files. Imports no torch or Ray."""

import json
from pathlib import Path

import click

from tuning.cli.options import LocalPath, runs_option


@click.command(
    epilog="Example: tune report resnet18 -o report/", short_help="Write the report: one page, and the data as files."
)
@click.argument("run")
@runs_option
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False, path_type=Path),
    help="The folder to write to.  [default: the sweep's folder, report/]",
)
def report(run: str, runs: Path | str, output: Path | None) -> None:
    """Write the report of the sweep RUN: index.html, a page that needs nothing else and opens in any browser.

    Beside it leaderboard.md, leaderboard.csv and report.json with the same data, and best.yaml, a sweep file that
    trains the best trial again. Works while the sweep runs, after a crash, and before its first trial; the page says
    how it stood. In the CSV, text that a spreadsheet would take for a formula is led by an apostrophe.
    """
    from reports.modelfile import BEST
    from reports.runs import find_run
    from reports.sweep import Sweep
    from reports.tables import headlines
    from reports.write import DATA, write_report
    from trainables.urls import joined

    sweep = Sweep.open(find_run(run, runs=runs, folders=[BEST]))  # the page shows what its model says of pictures
    paths = write_report(sweep, output or sweep.folder / "report")
    if sweep.home and output is None:
        sweep.home.push_made("report")
    document = next(path for path in paths if path.name == DATA)
    written = json.loads(document.read_text(encoding="utf-8"))
    for line in headlines(written, gap=written["gap_to_second"]):
        click.echo(line)
    for path in paths:
        click.echo(path)
    if sweep.home and output is None:
        click.echo(f"at home {joined(sweep.home.url, 'report')}")
