"""`tune submit`: hand a sweep to a Ray cluster, as a job."""

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from tuning.cli.options import jobs_address_option


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
@click.option("--set", "sets", multiple=True, metavar="KEY=VALUE", help="Change one value of the file; repeatable.")
@click.option("--trials", type=click.IntRange(1), help="Trials in all.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of each trial.")
@click.option("--hours", type=click.FloatRange(0, min_open=True), help="Stop after this many hours.")
@click.option("--workers", type=click.IntRange(1), help="Most trials at once.")
def submit(
    address: str | None,
    space: str | None,
    run: str | None,
    name: str | None,
    runs: str | None,
    sets: tuple[str, ...],
    trials: int | None,
    epochs: int | None,
    hours: float | None,
    workers: int | None,
) -> None:
    """Hand a sweep (--space) to a Ray cluster, or one to go on with (--resume).

    The file is checked here first. The project's code travels with it; pictures, weights and runs are looked for on the
    cluster, at absolute paths.
    """
    from reports.working_copies import check_free, existing
    from trainables.errors import UserError
    from trainables.urls import is_url, joined
    from tuning.jobs import Jobs, check_paths

    numbers = {"--trials": trials, "--epochs": epochs, "--hours": hours, "--workers": workers}
    given = [word for option, value in numbers.items() if value is not None for word in (option, str(value))]
    if (space is None) == (run is None):
        raise UserError(
            "one of them is needed", where="--space, --resume", expected="a sweep to start, or one to resume"
        )
    if run is not None:
        if name or sets or epochs:
            raise UserError(
                "a sweep that goes on keeps these", where="--name, --set, --epochs", got="--resume with them"
            )
        check_paths({}, [], run)
        if is_url(run):
            _look(partial(existing, run))
        sweep, file = Path(run).name, None
        words = ["resume", run, "--address", "auto", *given]
    else:
        from reports.runs import check_name
        from tuning.ready import base_of, find_space
        from tuning.space import combinations
        from tuning.spec_file import load_spec

        assert space is not None
        file = find_space(space)
        if runs is None:
            raise UserError("missing", where="--runs", expected="an absolute path that the cluster's nodes see")
        spec = load_spec(
            file, sets=sets, trials=trials, epochs=epochs, hours=hours, workers=workers, base=base_of(file)
        )
        weights = [spec.settings_for(params).weights for params in combinations(spec.space, {"weights"})]
        check_paths({"path": spec.data.path, "root": spec.data.root}, weights, runs)
        sweep = name or file.stem
        check_name(sweep)
        if is_url(runs):
            _look(partial(check_free, joined(runs, sweep)))
        run = joined(runs, sweep) if is_url(runs) else str(Path(runs) / sweep)
        changes = [word for change in sets for word in ("--set", change)]
        words = ["search", "--space", file.name, "--name", sweep, "--runs", runs, "--address", "auto", *changes, *given]
    job = Jobs(address).submit(words, name=sweep, run=run, file=file)
    click.echo(f"submitted {job}")
    click.echo(f"follow  tune logs {job} -f")
    click.echo(f"stop    tune stop {job}")
    click.echo(f"go on   tune submit --resume {shlex.quote(run)}")


def _look(at: Callable[[], object]) -> None:
    """Looks on object storage, which the cluster may reach where this machine does not."""
    from trainables.outages import StorageError

    try:
        at()
    except StorageError as error:
        click.echo(f"note: not looked at from here: {error}", err=True)
