"""`tune check FILE`: validate a sweep file, show it resolved, draw sample trials; or a run's, as a resume would."""

import shlex
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from reports.record import RECORD
from trainables.errors import UserError
from trainables.files import expanded
from tuning.cli.options import as_options, changes_of_file, space_argument
from tuning.preview import preview
from tuning.ready import find_space
from tuning.spec_file import load_spec

_WHOLE = 100_000  # columns of what has no width of its own


@click.command(
    epilog="Example: tune check my.yaml --sample 5 --set lr=0.01",
    short_help="Validate a sweep file and show it resolved.",
)
@space_argument
@click.option("--sample", type=click.IntRange(0, 1000), default=0, metavar="N", help="Draw N sample trials.")
@changes_of_file
def check(space: str, sample: int, **changes: Any) -> None:
    """Validate the sweep FILE (a path, or a ready file's name) and show what it says.

    Nothing is run and no picture is read. All mistakes are told at once, each in one line with file, line and field.
    Of a run's folder, or the sweep.yaml in it, it says what `tune resume` would make of what was edited there.
    """
    if run := _run_of(space):
        if any(changes.values()):
            raise UserError("a sweep that goes on keeps these", where="--set and the like", got=f"a run, {run}")
        _check_edited(run, sample=sample)
        return
    path = find_space(space)
    spec = load_spec(path, **changes, files=True)
    console = _console()
    console.print(preview(spec, sample=sample))
    command = shlex.join(["tune", "search", "--space", space, *as_options(**changes)])
    console.print(f"{space} is valid. Run it: {command}", soft_wrap=True)


def _console() -> Console:
    """As wide as the terminal; a pipe or a file gets every line whole."""
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = _WHOLE
    return console


def _run_of(space: str) -> Path | None:
    """The run whose folder or sweep file is meant, if one is."""
    path = expanded(space)
    folder = path.parent if path.name == "sweep.yaml" else path
    return folder if (folder / RECORD).is_file() else None


def _check_edited(run: Path, *, sample: int) -> None:
    from tuning.revise import Revision, revise  # loads Optuna

    revised = revise(run, Revision())
    console = _console()
    console.print(preview(revised.spec, sample=sample))
    for line in revised.lines or ["nothing differs from when the sweep was last at work"]:
        console.print(line, soft_wrap=True)
    console.print(f"Go on with it: tune resume {shlex.quote(str(run))}", soft_wrap=True)
