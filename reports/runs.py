"""Runs by their names, folders or URLs.

sweep = Sweep.open(find_run("resnet18", runs=Path("runs")))
sweep = Sweep.open(find_run("s3://bucket/sweeps/resnet18", runs=Path("runs")))     # its working copy, fetched
folders = run_folders(Path("runs"))
"""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from reports.record import RECORD
from reports.sweep import Sweep
from reports.working_copies import check_free, fetched, runs_at
from trainables.data.folders import check_names
from trainables.errors import UserError
from trainables.urls import given_url, is_url, joined

_LONGEST_NAME = 200  # bytes; file systems take 255, and a few of them go to what is written beside it


def find_run(run: str, *, runs: Path | str, folders: Sequence[str] = ()) -> Path:
    """A run's folder, given as a path, as a URL, or as a name under `runs`, which may be a URL too.

    Args:
        folders: what is to be fetched beside the record, where the run is at a URL.

    Raises:
        UserError: there is no such run; the message names those that are there.
    """
    if given_url(run):
        return fetched(run, folders=folders)
    if isinstance(runs, str):
        return fetched(joined(runs, run), folders=folders)
    for folder in (Path(run), runs / run):
        if (folder / RECORD).is_file():
            return folder
    there = ", ".join(sweep.name for sweep in list_runs(runs)[:8])
    raise UserError(
        "no such sweep",
        where=run,
        hint=f"under {runs} there is: {there}" if there else f"there is none under {runs}",
    )


def check_new(name: str, *, runs: Path | str) -> None:
    """UserError where no new run can be called so under `runs`, a folder or URL, or one is."""
    check_name(name)
    if isinstance(runs, str):
        check_free(joined(runs, name))
        return
    check_names([str(runs.absolute())], where="--runs")
    run = runs / name
    if run.exists():
        raise UserError(
            "this sweep exists",
            where=str(run),
            hint=f"`tune resume {shlex.quote(str(run))}` goes on with it; --name starts another",
        )
    if (runs / RECORD).exists():
        raise _a_sweep(runs)


def _a_sweep(runs: Path) -> UserError:
    return UserError("a sweep itself", where=str(runs), expected="the folder that holds the sweeps")


def check_name(name: str) -> None:
    """UserError where a run cannot be called so."""
    check_names([name], where="--name")
    if is_url(name):
        raise UserError("a URL is no name", where="--name", got=name, hint="--runs takes it, without the name")
    if not name or name.startswith(".") or "/" in name or len(os.fsencode(name)) > _LONGEST_NAME:
        raise UserError(
            "not a name for a folder", where="--name", got=name, expected="no '/', no '.' in front, up to 200 letters"
        )


def list_runs(runs: Path | str) -> list[Sweep]:
    """The sweeps directly under a folder, by name; what is no sweep is passed over."""
    sweeps = []
    for folder in run_folders(runs):
        try:
            sweeps.append(Sweep.open(folder))
        except UserError:  # a damaged one must not hide the others; `tune list` and `tune show` say what is wrong
            continue
    return sweeps


def run_folders(runs: Path | str, *, tell: Callable[[UserError], object] = lambda error: None) -> list[Path]:
    """The folders directly under `runs` that hold a sweep's record, whole or damaged, by name.

    At a URL they are fetched first; of one that cannot be, `tell` hears.

    Raises:
        UserError: that is a sweep itself, or the storage cannot be used.
    """
    if isinstance(runs, str):
        return list(runs_at(runs, tell=tell))
    if not runs.is_dir():
        return []
    if (runs / RECORD).is_file():
        raise _a_sweep(runs)
    return [f for f in sorted(runs.iterdir()) if (f / RECORD).is_file() and not f.name.startswith(".")]
