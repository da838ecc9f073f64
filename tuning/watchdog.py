"""Ends a driver whose main thread cannot: Ray is gone under it, or it does not come to an end when asked to.

    with Watchdog(lambda: None if session.alive() else "Ray has ended", leave=print_and_exit):
        engine.run(…)

When Ray's own processes die (killed by somebody, or as the machine is short of memory), a call into Ray may
wait for a minute below Python, where no signal handler runs, and then end the process without a word. All that
matters is in the ledger by then, so leaving is safe at any moment.
"""

import threading
from collections.abc import Callable

PERIOD_S = 0.1


class Watchdog:
    """Asks `overdue` ten times a second; when it gives a reason, calls `leave` with it, which ends the process."""

    def __init__(self, overdue: Callable[[], str | None], *, leave: Callable[[str], None]) -> None:
        self._overdue, self._leave = overdue, leave
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(PERIOD_S):
            reason = self._overdue()
            if reason is not None and not self._done.is_set():
                self._leave(reason)
                return
