"""`tune submit`: hand a sweep to a Ray cluster, as a job."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tuning.cli.options import as_options, changes_of_file, jobs_address_option

if TYPE_CHECKING:
    from tuning.spec import Spec


@click.command(
    epilog="Example: tune submit --address http://10.0.0.5:8265 --space my.yaml --runs /shared/runs --workers 8"
)
@jobs_address_option
@click.option("--space", metavar="FILE", help="The sweep file, or the name of a ready one (tune init).")
@click.option(
    "--resume", "run", metavar="RUN", help="Go on with this run instead: its folder as the cluster sees it, or its URL."
)
@click.option("--name", help="The sweep's name; the file's name without its ending when left out.")
@click.option(
    "--runs",
    envvar="TUNEYARD_RUNS",
    show_envvar=True,
    help="The folder for runs as the cluster sees it, or its URL (s3://…).",
)
@changes_of_file
def submit(
    address: str | None,
    space: str | None,
    run: str | None,
    name: str | None,
    runs: str | None,
    **changes: Any,
) -> None:
    """Hand a sweep (--space) to a Ray cluster, or one to go on with (--resume).

    The file is checked here first. The project's code travels with it; pictures, weights and runs are looked for on the
    cluster, at absolute paths.
    """
    from trainables.errors import UserError
    from tuning.jobs import Jobs

    if (space is None) == (run is None):
        raise UserError(
            "one of them is needed", where="--space, --resume", expected="a sweep to start, or one to resume"
        )
    if run is not None:
        if name or changes["sets"] or changes["epochs"]:
            raise UserError(
                "a sweep that goes on keeps these", where="--name, --set, --epochs", got="--resume with them"
            )
        sweep, file = _to_resume(run), None
        words = ["resume", run, "--address", "auto"]
    else:
        from tuning.ready import find_space
        from tuning.spec_file import load_spec

        assert space is not None
        file = find_space(space)
        if runs is None:
            raise UserError("missing", where="--runs", expected="an absolute path that the cluster's nodes see")
        spec = load_spec(file, **changes)
        sweep = name or file.stem
        run = _to_start(spec, sweep, runs=runs)
        words = ["search", "--space", file.name, "--name", sweep, "--runs", runs, "--address", "auto"]
    job = Jobs(address).submit([*words, *as_options(**changes)], name=sweep, run=run, file=file)
    click.echo(f"submitted {job}")
    click.echo(f"follow  tune logs {job} -f")
    click.echo(f"stop    tune stop {job}")
    click.echo(f"go on   tune submit --resume {shlex.quote(run)}")


def _to_resume(run: str) -> str:
    """The name of a run that goes on, checked as far as this machine sees it."""
    from reports.home import cut
    from reports.working_copies import existing
    from trainables.urls import is_url
    from tuning.jobs import check_paths

    check_paths({}, [], run)
    if not is_url(run):
        return Path(run).name
    _look(partial(existing, run))
    return cut(run)[1]


def _to_start(spec: "Spec", name: str, *, runs: str) -> str:
    """Where a new run will be, checked as far as this machine sees it."""
    from reports.runs import check_name
    from reports.storages import note_storage
    from reports.working_copies import check_free
    from trainables.urls import is_url, joined
    from tuning.jobs import check_paths
    from tuning.space import combinations

    weights = [spec.settings_for(params).weights for params in combinations(spec.space, {"weights"})]
    check_paths({"path": spec.data.path, "root": spec.data.root}, weights, runs)
    check_name(name)
    if spec.search.storage:
        note_storage(spec.search.storage)  # so that this machine may read it too
    if not is_url(runs):
        return str(Path(runs) / name)
    _look(partial(check_free, joined(runs, name)))
    return joined(runs, name)


def _look(at: Callable[[], object]) -> None:
    """Looks on object storage, which the cluster may reach where this machine does not."""
    from trainables.outages import StorageError

    try:
        at()
    except StorageError as error:
        click.echo(f"note: not looked at from here: {error}", err=True)
