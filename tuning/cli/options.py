"""Options that several commands share.

@click.command()
@runs_option
def report(runs: Path | str) -> None: …
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from trainables.errors import UserError
from trainables.files import expanded
from trainables.urls import given_url, is_url
from tuning.address import check_address


class _Runs(click.Path):
    """A folder, or an URL of object storage."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        return value if given_url(value) else super().convert(_expanded(value), parameter, context)


class LocalPath(click.Path):
    """A file or folder of this machine; a URL would name a folder called `s3:`."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if is_url(value):
            what = parameter.opts[0] if isinstance(parameter, click.Option) else "pictures and folders"
            raise UserError("must be a path on this machine", where=what, got=f"{value.split('://')[0]}://…")
        given_url(value)  # which it might have been meant for
        return super().convert(_expanded(value), parameter, context)


def _expanded(value: Any) -> Any:
    """With `~` as a home folder, where a shell leaves it: in `--runs=~/sweeps`, and in quotes."""
    return str(expanded(value)) if str(value).startswith("~") else value


runs_option = click.option(
    "--runs",
    type=_Runs(file_okay=False, path_type=Path),
    default=Path("runs"),
    envvar="TUNEYARD_RUNS",
    show_default=True,
    show_envvar=True,
    help="The folder that holds the sweeps, or its URL on object storage (s3://…, gs://…).",
)


def _checked(context: click.Context, option: click.Parameter, address: str | None) -> str | None:
    return check_address(address or "")


address_option = click.option(
    "--address",
    envvar="RAY_ADDRESS",
    show_envvar=True,
    metavar="RAY",
    callback=_checked,
    help="A Ray cluster to run on: host:port of its head, or auto for the one this machine belongs to; a Ray of its own"
    " on this machine when left out.",
)

quiet_option = click.option("--quiet", "-q", is_flag=True, help="Show only the result.")

jobs_address_option = click.option(
    "--address",
    metavar="URL",
    envvar=["RAY_API_SERVER_ADDRESS"],
    show_envvar=True,
    help="The cluster's dashboard, such as http://10.0.0.5:8265; that of the cluster this machine belongs to when left"
    " out.",
)


def changes_of_file(command: Callable[..., Any]) -> Callable[..., Any]:
    """What the command line changes of a sweep file, by the names that `load_spec` takes."""
    options = (
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change one value of the file, such as lr=0.01 or search.trials=5; repeatable.",
        ),
        click.option("--trials", type=click.IntRange(1), help="Trials in all."),
        click.option("--epochs", type=click.IntRange(1), help="Epochs of each trial."),
        click.option("--hours", type=click.FloatRange(0, min_open=True), help="Stop after this many hours."),
        click.option("--workers", type=click.IntRange(1), help="Most trials at once; as many as fit when left out."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def as_options(*, sets: tuple[str, ...], **numbers: float | None) -> list[str]:
    """The same changes, as a command line has them."""
    words = [word for text in sets for word in ("--set", text)]
    given = {name: number for name, number in numbers.items() if number is not None}
    return [*words, *(word for name, number in given.items() for word in (f"--{name}", str(number)))]


def space_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """The sweep file, given as FILE or as `--space FILE`; the command gets it as `space`."""

    @functools.wraps(command)
    def with_space(*, file: str | None, space: str | None, **others: Any) -> Any:
        if not file and not space:
            raise click.UsageError(
                "Which sweep file? Name one, such as resnet18.yaml (tune init lists the ready ones)."
            )
        if file is not None and space is not None:
            raise click.UsageError(f"Two sweep files: {file} and {space}")
        return command(space=space if file is None else file, **others)

    option = click.option("--space", metavar="FILE", help="The sweep file, or the name of a ready one (tune init).")
    return click.argument("file", required=False)(option(with_space))
