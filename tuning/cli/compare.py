"""`tune compare RUN RUN...`: sweeps side by side. Imports no torch or Ray."""

from pathlib import Path

import click

from tuning.cli.options import LocalPath, runs_option


@click.command(
    epilog="Example: tune compare resnet18 squeezenet -o comparison/",
    short_help="Sweeps side by side: table, page, CSV.",
)
@click.argument("names", metavar="RUN RUN...", nargs=-1, required=True)
@runs_option
@click.option(
    "-o",
    "--output",
    type=LocalPath(file_okay=False, path_type=Path),
    default=Path("comparison"),
    show_default=True,
    help="The folder to write to.",
)
def compare(names: tuple[str, ...], runs: Path | str, output: Path) -> None:
    """Compare two or more sweeps of one metric: their best and median, cost, and in what their settings differ.

    Prints the table, and writes index.html (with the best value so far over trials and over time in one picture),
    compare.csv, settings.csv, winners.csv and curves.csv.
    """
    from rich.console import Console

    from reports.compare import compare_sweeps, write_comparison
    from reports.runs import find_run
    from reports.sweep import Sweep
    from reports.tables import printable
    from reports.terminal import print_line, print_table

    comparison = compare_sweeps([Sweep.open(find_run(name, runs=runs)) for name in names])
    console = Console()
    for warning in comparison.warnings:
        click.echo(f"note: {printable(warning)}", err=True)
    print_table(comparison.summary, console=console)
    for table in (comparison.differences, comparison.winners):
        if table.rows:
            print_line("", console=console)
            print_line(table.title, console=console, style="bold")
            print_table(table, console=console, names=table.columns[1:])
    print_line("", console=console)
    for path in write_comparison(comparison, output):
        click.echo(path)
