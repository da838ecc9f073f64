"""The terminal for us, a log file for everybody else.

with screen_apart(run / "logs" / "ray.log") as console:
    console.print("seen")          # what Ray prints, from Python or below it, goes to the log
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO, cast

from rich.console import Console


@contextmanager
def screen_apart(log: Path) -> Iterator[Console]:
    """Redirects the process's standard output and error to `log`; the console alone still writes to the screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    screen, errors = os.dup(1), os.dup(2)
    output = _Screen(os.fdopen(screen, "w", encoding="utf-8", errors="replace"))
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield Console(file=cast("TextIO", output), legacy_windows=False)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(screen, 1)
            os.dup2(errors, 2)
            os.close(errors)
            output.close()


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
