"""`tune dashboard RUN`: optuna-dashboard on a sweep."""

import signal
from pathlib import Path

import click

from tuning.cli.options import runs_option


@click.command(epilog="Example: tune dashboard resnet18 --port 8081", short_help="optuna-dashboard on a sweep.")
@click.argument("run")
@runs_option
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any that is free."
)
def dashboard(run: str, runs: Path | str, port: int) -> None:
    """Look at the sweep RUN in optuna-dashboard, in a browser on this machine; it follows a sweep that is at work.

    It only shows: notes and the like are refused, since the sweep's driver alone writes its record. Ctrl-C ends it.
    Needs `pip install 'tuneyard[dashboard]'`.
    """
    from reports.runs import find_run
    from reports.sweep import Sweep
    from tuning.dashboard import address, dashboard_server

    with dashboard_server(Sweep.open(find_run(run, runs=runs)), port=port) as server:
        # Shells start what runs in the background deaf to Ctrl-C; `kill -INT` is to end it all the same.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        click.echo(f"{address(server)}   (Ctrl-C ends it)")
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            click.echo("ended", err=True)
