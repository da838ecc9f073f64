"""What the operating system asks of a driver while its trials run: heard, and acted on between two steps.

with Signals() as signals:
    signals.asked, signals.at_once, signals.waited_s()     # "SIGINT", False, 1.7
"""

import signal
import time
from typing import Any


def not_ignored(handler: Any) -> bool:
    """Whether a signal is not to be left alone: `nohup` has the programs it starts ignore SIGHUP."""
    return handler is not signal.SIG_IGN


class Signals:
    """SIGINT, SIGTERM and SIGHUP ask the sweep to stop after the epochs at work; a second SIGINT stops it at once."""

    NAMES = ("SIGINT", "SIGTERM", "SIGHUP")

    def __init__(self) -> None:
        self.asked: str | None = None
        self.asked_at = 0.0
        self.at_once = False  # no exception is raised from a handler: it would come up in the middle of Ray's own code
        self._before: dict[str, Any] = {}

    def __enter__(self) -> "Signals":
        found = {name: signal.getsignal(getattr(signal, name)) for name in self.NAMES}
        self._before = {name: handler for name, handler in found.items() if name == "SIGINT" or not_ignored(handler)}
        for name in self._before:
            signal.signal(getattr(signal, name), self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        for name, handler in self._before.items():
            signal.signal(getattr(signal, name), handler)

    def _hear(self, number: int, frame: object) -> None:
        if self.asked is None:
            self.asked, self.asked_at = signal.Signals(number).name, time.monotonic()
        elif number == signal.SIGINT and not self.at_once:
            self.at_once, self.asked_at = True, time.monotonic()

    def waited_s(self) -> float:
        """Seconds since the sweep was asked to stop, or to stop at once."""
        return time.monotonic() - self.asked_at if self.asked else 0.0
