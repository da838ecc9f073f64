"""`tune list`: the sweeps here and how they stand. Imports no torch, Ray or pandas."""

import shlex
from pathlib import Path
from typing import Any

import click

from tuning.cli.options import runs_option


@click.command("list", epilog="Example: tune list --runs runs", short_help="The sweeps here and how they stand.")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(runs: Path | str, as_json: bool) -> None:
    """List the sweeps under --runs: state, trials, best value."""
    from rich.console import Console

    from reports.json_text import json_text
    from reports.runs import run_folders
    from reports.sweep import Sweep, standing
    from reports.terminal import print_line, print_table
    from trainables.errors import UserError

    def left_out(error: UserError) -> None:
        click.echo(f"left out: {error}", err=True)

    sweeps = []
    for folder in run_folders(runs, tell=left_out):
        try:
            sweep = Sweep.open(folder)
            ledger = sweep.ledger()
            stand = standing(sweep, ledger, ledger.trials())
        except UserError as error:  # a damaged sweep must not hide the others
            left_out(error)
            continue
        sweeps.append({**stand, "folder": sweep.address, "created": sweep.record.get("created")})
    if as_json:
        click.echo(json_text({"schema": 1, "sweeps": sweeps}))
    elif not sweeps:
        where = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
        print_line(f"no sweeps under {runs}; start one: tune search --space resnet18.yaml{where}", console=Console())
    else:
        print_table(_table(sweeps), console=Console())


def _table(sweeps: list[dict[str, Any]]) -> Any:
    from reports.tables import Table, local_time

    columns = ("name", "state", "trials", "failed", "best", "metric", "created")
    rows = tuple(
        (
            sweep["name"],
            sweep["state"],
            f"{sum(sweep['counts'].values())}/{sweep['budget']['trials']}",
            sweep["counts"]["failed"],
            sweep["best"] and sweep["best"]["value"],
            sweep["metric"],
            local_time(sweep["created"]),
        )
        for sweep in sweeps
    )
    return Table("Sweeps", columns, rows)
