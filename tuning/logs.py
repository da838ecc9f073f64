"""A sweep in other tools' logs, as `search.logging` asks: written by the driver, from the ledger alone.

    check_loggers(spec.search.logging)                 # before the sweep: is what it takes installed?
    with following(sweep, ledger, spec.search.logging, console=console) as follow:
        follow()                                       # often; writes what is new, from a thread of its own

A run of the other tool is a trial, named by its number; a step is an epoch. What is written follows from the ledger and
from what is there already, so a sweep that is resumed doubles nothing, and one that asks for a log late gets it whole.
A tool that fails is left out with a word, and the sweep goes on: the next resume writes what is missing.
"""

import importlib.util
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console

from reports.ledger import Ledger, TrialRecord
from reports.sweep import Sweep
from trainables.errors import UserError
from tuning.log_mlflow import MLflowLog
from tuning.log_tensorboard import TensorBoardLog
from tuning.spec import LoggerName

PERIOD_S = 2.0
# A tool that does not answer must not keep the driver from ending.
_LAST_WRITE_S = 60.0


class TrialLog(Protocol):
    """What writes trials to one tool."""

    def write(self, trials: Sequence[TrialRecord]) -> None:
        """Brings the tool's log up to date with these trials, which are all of the sweep's."""

    def close(self) -> None:
        """Called once, after the last `write`."""


# name → what writes it. The module of the name must be installed; so the extra is called.
LOGGERS: dict[LoggerName, Callable[[Sweep], TrialLog]] = {"tensorboard": TensorBoardLog, "mlflow": MLflowLog}


def check_loggers(names: Sequence[str] | None) -> None:
    """Raises UserError when a log is asked for whose tool is not installed."""
    for name in names or ():
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{name} is not installed", where="search.logging", got=name, hint=f"pip install 'tuneyard[{name}]'"
            )


@contextmanager
def following(
    sweep: Sweep, ledger: Ledger, names: Sequence[LoggerName] | None, *, console: Console, period_s: float = PERIOD_S
) -> Iterator[Callable[[], None]]:
    """Gives a function that is to be called often, and writes the rest when the block ends.

    Raises:
        UserError: a tool cannot be written to at all.
    """
    if not names:
        yield lambda: None
        return
    writer = _Writer({name: LOGGERS[name](sweep) for name in names}, console=console)
    last = 0.0

    def follow() -> None:
        nonlocal last
        if time.monotonic() - last >= period_s:
            writer.offer(ledger.trials())
            last = time.monotonic()

    try:
        yield follow
    finally:
        writer.finish(ledger.trials())


class _Writer:
    """Writes the latest state of the trials in a thread, so that a slow tool holds nothing up."""

    def __init__(self, logs: dict[LoggerName, TrialLog], *, console: Console) -> None:
        self._logs: dict[Any, TrialLog] = logs
        self._console = console
        self._latest: Sequence[TrialRecord] | None = None
        self._ends = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="logs", daemon=True)
        self._thread.start()

    def offer(self, trials: Sequence[TrialRecord]) -> None:
        with self._news:
            self._latest = trials
            self._news.notify()

    def finish(self, trials: Sequence[TrialRecord]) -> None:
        """Writes the last state and ends; gives up on a tool that takes too long."""
        with self._news:
            self._latest, self._ends = trials, True
            self._news.notify()
        self._thread.join(_LAST_WRITE_S)
        if self._thread.is_alive():
            self._tell(f"{', '.join(self._logs)} did not answer within {_LAST_WRITE_S:g} s")

    def _work(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._latest is not None)
                trials, self._latest = self._latest, None
                ends = self._ends
            assert trials is not None
            for name in list(self._logs):
                self._safely(name, lambda log: log.write(trials))  # noqa: B023  called at once
                if ends:
                    self._safely(name, lambda log: log.close())
            if ends:
                return

    def _safely(self, name: str, action: Callable[[TrialLog], None]) -> None:
        """A tool's failure is told, and it is asked no more."""
        if name not in self._logs:
            return
        try:
            action(self._logs[name])
        except Exception as error:  # whatever a client of a server may raise
            del self._logs[name]
            self._tell(f"{name} cannot be written to any more ({type(error).__name__}: {error})")

    def _tell(self, what: str) -> None:
        text = f"{' '.join(what.split())[:400]}; the sweep goes on, and the next `tune resume` writes what is missing"
        self._console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
