"""The terminal for us, a log file for everybody else.

with screen_apart() as screen:
    screen.console.print("seen")               # what Ray prints, from Python or below it, is not
    screen.log_to(run / "logs" / "ray.log")    # but goes there, with what it printed before
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from rich.console import Console

from trainables.errors import UserError


class Screen:
    """What standard output and error were, while file descriptors 1 and 2 lead elsewhere.

    `console` prints to the one, `errors` to the other.

    Args:
        output: standard output.
        errors: standard error.
        unlogged: where the two descriptors lead until there is a log.
    """

    def __init__(self, output: "_Screen", errors: "_Screen", unlogged: BinaryIO) -> None:
        self._output, self._unlogged = output, unlogged
        self.console, self.errors = _console(output), _console(errors)

    def told(self, *, quiet: bool) -> Console:
        """A console for what is said on the way; nothing is when `quiet`."""
        return _console(self._output, quiet=quiet)

    def log_to(self, log: Path) -> None:
        """Has others' output appended to `log`, beginning with what came before this."""
        log.parent.mkdir(parents=True, exist_ok=True)
        _flush()
        with log.open("ab") as file:
            _lead(file)
            file.write(self.take_unlogged())

    def take_unlogged(self) -> bytes:
        """What others printed before there was a log; handed out once."""
        self._unlogged.seek(0)
        text = self._unlogged.read()
        self._unlogged.seek(0)  # which is where others go on
        self._unlogged.truncate()
        return text


@contextmanager
def screen_apart() -> Iterator[Screen]:
    """Leads the process's standard output and error away from the screen; the consoles alone still write there.

    What others print and no log was named for comes up on standard error in the end.
    """
    _flush()
    screen, errors = os.dup(1), os.dup(2)
    parts = [_Screen(os.fdopen(os.dup(fd), "w", encoding="utf-8", errors="replace")) for fd in (screen, errors)]
    with tempfile.TemporaryFile() as unlogged:
        _lead(unlogged)
        shown = Screen(parts[0], parts[1], unlogged)
        try:
            yield shown
        except UserError:
            _flush()
            shown.take_unlogged()  # one line says what is wrong
            raise
        finally:
            _flush()
            os.dup2(screen, 1)
            os.dup2(errors, 2)
            with suppress(OSError):  # a terminal that is closed
                os.write(2, shown.take_unlogged())
            for part in parts:
                part.close()
            os.close(screen)
            os.close(errors)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _lead(file: BinaryIO) -> None:
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)


def _console(screen: "_Screen", *, quiet: bool = False) -> Console:
    return Console(file=cast("TextIO", screen), legacy_windows=False, quiet=quiet)


class _Screen:
    """A terminal that may be closed while we work: what is written then is lost, and nothing else."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self.encoding = output.encoding

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._output.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._output.flush()

    def close(self) -> None:
        with suppress(OSError):
            self._output.close()

    def isatty(self) -> bool:
        return self._output.isatty()

    def fileno(self) -> int:
        return self._output.fileno()
