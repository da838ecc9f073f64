"""Options that several commands share.

@click.command()
@runs_option
def report(runs: Path) -> None: …
"""

from pathlib import Path

import click

runs_option = click.option(
    "--runs",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("runs"),
    envvar="TUNEYARD_RUNS",
    show_default=True,
    show_envvar=True,
    help="The folder that holds the sweeps.",
)

quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show only the result.")
