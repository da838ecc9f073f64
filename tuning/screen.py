"""The terminal for us, a log file for everybody else.

with screen_apart(run / "logs" / "ray.log") as console:
    console.print("seen")          # what Ray prints, from Python or below it, goes to the log
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console


@contextmanager
def screen_apart(log: Path) -> Iterator[Console]:
    """Redirects the process's standard output and error to `log`; the console alone still writes to the screen."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    screen, errors = os.dup(1), os.dup(2)
    with log.open("ab") as file, os.fdopen(screen, "w", encoding="utf-8", errors="replace") as output:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield Console(file=output, legacy_windows=False)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            output.flush()
            os.dup2(screen, 1)
            os.dup2(errors, 2)
            os.close(errors)
