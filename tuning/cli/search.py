"""`tune search`: start a sweep and see it through."""

import sys
from pathlib import Path
from typing import Any

import click

from tuning.cli.options import address_option, changes_of_file, quiet_option, runs_option, space_argument


@click.command(epilog="Example: tune search --space resnet18.yaml --set image_size=64 --trials 12")
@space_argument
@click.option("--name", help="The sweep's name; the file's name without its ending when left out.")
@runs_option
@changes_of_file
@address_option
@quiet_option
def search(space: str, name: str | None, runs: Path | str, address: str | None, quiet: bool, **changes: Any) -> None:
    """Start the sweep FILE: run its trials, then write its report and export the best model.

    Ctrl-C stops it after the epochs at work; `tune resume` goes on with it, as it does after a crash.
    """
    from reports.runs import check_new
    from tuning.ready import find_space
    from tuning.spec_file import load_spec
    from tuning.yaml_file import read_text

    path = find_space(space)
    spec = load_spec(path, **changes, files=True)
    name = name or path.stem
    check_new(name, runs=runs)  # before what takes seconds to load

    from tuning.session import start

    sys.exit(start(spec, text=read_text(path), name=name, runs=runs, quiet=quiet, address=address))
