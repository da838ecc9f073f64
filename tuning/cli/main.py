"""The command line: `tune`, `tuneyard` and `python -m tuning` are this one program.

Commands are loaded when they are called, so `tune --help` needs neither torch nor Ray.
"""

import atexit
import difflib
import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn, cast

import click

from trainables.errors import UserError
from tuning import exit_codes

if TYPE_CHECKING:
    from io import TextIOWrapper

# name → (module in this package, function in it, its line in `tune --help`)
COMMANDS = {
    "search": ("search", "search", "Start a sweep and see it through to its report and best model."),
    "resume": ("resume", "resume", "Go on with a sweep after any interruption, or extend it."),
    "submit": ("submit", "submit", "Hand a sweep to a Ray cluster, as a job."),
    "jobs": ("jobs", "jobs", "The sweeps handed to a cluster."),
    "logs": ("logs", "logs", "What such a job prints."),
    "stop": ("stop", "stop", "Stop such a job; it can be resumed."),
    "list": ("list", "list_", "The sweeps here and how they stand."),
    "show": ("show", "show", "One sweep as a table, or as data."),
    "report": ("report", "report", "Write a sweep's report: one page, and the data as files."),
    "compare": ("compare", "compare", "Sweeps side by side: table, page, CSV."),
    "export": ("export", "export", "Write the best model as a folder that stands alone."),
    "predict": ("predict", "predict", "Label pictures with an exported model."),
    "dashboard": ("dashboard", "dashboard", "Look at a sweep in optuna-dashboard."),
    "check": ("check", "check", "Check a sweep file and show what it comes to."),
    "data": ("data", "data", "Make train and val folders; look at a data set."),
    "init": ("init", "init", "List the ready sweep files, or copy one out to edit."),
    "doctor": ("doctor", "doctor", "Versions, hardware, whose `tune` is on the PATH, caches."),
}


class _Commands(click.Group):
    """The table above as a click group; a command's module is imported when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, function, _ = COMMANDS[cmd_name]
        return getattr(import_module(f"tuning.cli.{module}"), function)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0] if args else ""
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            raise click.UsageError(f"No such command {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (UserError, OSError) as error:
            told = error if isinstance(error, UserError) else _users_mistake(error)
            if told is None:
                raise
            for line in str(told).splitlines():
                click.echo(f"tune: {line}", err=True)
            ctx.exit(exit_codes.USER_ERROR)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(exit_codes.INTERRUPTED)


def _users_mistake(error: OSError) -> UserError | None:
    """What to tell of an error that is none of the program's own making, wherever it comes up; None for others."""
    if error.errno == errno.ENAMETOOLONG:
        return UserError("too long for a path", got=error.filename)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(f"{error.filename or 'the output'} cannot be written ({error.strerror})", hint="make room")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and error.filename:
        return UserError(f"cannot be read or written ({error.strerror})", where=str(error.filename))
    return None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: tune search --space resnet18.yaml",
)
@click.version_option(version("tuneyard"), prog_name="tuneyard")
def main() -> None:
    """Find the best fine-tuned image classifier for your own pictures.

    A sweep file says where the pictures are, what a trial does and which settings to explore; Ray Tune runs the
    trials, Optuna chooses them.
    """


def run() -> None:
    """The program itself: the command, and then its end."""
    if sys.stdout:  # None where it is closed
        cast("TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")  # as standard error is already
    try:
        main(prog_name="python -m tuning" if sys.argv[0].endswith("__main__.py") else None)
    except SystemExit as ended:
        _end(ended.code if isinstance(ended.code, int) else int(ended.code is not None))


def _end(code: int) -> NoReturn:
    """Ends the process without taking apart all that was loaded, which takes torch a second and a half."""
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except ValueError:  # it is closed
            pass
        except OSError as error:
            if code == 0 and (told := _users_mistake(error)):  # else nobody reads any more
                code = exit_codes.USER_ERROR
                with suppress(OSError):
                    os.write(2, f"tune: {told}\n".encode())
    os._exit(code)
