"""What a sweep shows while it runs: a live view on a terminal, plain lines elsewhere.

    with open_view(console, facts, quiet=False) as view:
        view.refresh()                # often; draws at most four times a second
        view.trial_ended(record)

The view is a function of `SweepFacts`, so it is tested without a terminal.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.ledger import ENDED, TrialRecord
from reports.tables import shown
from trainables.wording import counted
from tuning.conductor import Running


@dataclass(frozen=True)
class SweepFacts:
    """A sweep at one moment."""

    name: str
    metric: str
    trials: int
    counts: Mapping[str, int]
    running: tuple[Running, ...]
    best: TrialRecord | None
    elapsed_s: float
    stopping: str | None
    at_once: bool = False

    @property
    def done(self) -> int:
        """Trials that have ended."""
        return sum(self.counts[state] for state in ENDED)

    @property
    def seconds_left(self) -> float | None:
        """At the pace so far; None before a trial has ended."""
        return self.elapsed_s / self.done * (self.trials - self.done) if self.done else None


class View(Protocol):
    """What the runner asks of a view."""

    def __enter__(self) -> "View": ...

    def __exit__(self, *exception: object) -> None: ...

    def refresh(self) -> None:
        """Called often; draws as often as is good."""

    def trial_ended(self, trial: TrialRecord) -> None:
        """Called once for each trial that ended."""

    def stopping(self, how: str) -> None:
        """Called when the sweep is asked to stop, and again when it is to stop at once."""

    def said(self, line: str) -> None:
        """Called when the sweep goes on in another way."""


class LiveView:
    """A view that redraws itself in place: a bar over trials, those at work, the best so far, counts."""

    def __init__(self, console: Console, facts: Callable[[], SweepFacts]) -> None:
        self._facts = facts
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawn = 0.0

    def __enter__(self) -> "LiveView":
        self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()

    def refresh(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= 0.25:
            self._drawn = now
            self._live.update(render(self._facts()), refresh=True)

    def trial_ended(self, trial: TrialRecord) -> None:
        """Only failures scroll by; the rest is in the picture."""
        if trial.state == "failed":
            line = ended_line(trial, metric=self._facts().metric)
            self._live.console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)

    def stopping(self, how: str) -> None:
        """Shown at once, and in the picture from then on."""
        self._drawn = 0.0
        self.refresh()

    def said(self, line: str) -> None:
        self._live.console.print(line, markup=False, highlight=False)


class PlainView:
    """One line a finished trial, for logs and pipes."""

    def __init__(self, console: Console, facts: Callable[[], SweepFacts]) -> None:
        self._console, self._facts = console, facts

    def __enter__(self) -> "PlainView":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def refresh(self) -> None:
        pass

    def trial_ended(self, trial: TrialRecord) -> None:
        facts = self._facts()
        line = f"[{facts.done}/{facts.trials}] {ended_line(trial, metric=facts.metric)}"
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def stopping(self, how: str) -> None:
        self._console.print(how, markup=False, highlight=False, soft_wrap=True)

    def said(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class NoView(PlainView):
    """Nothing, for `--quiet`."""

    def trial_ended(self, trial: TrialRecord) -> None:
        pass

    def stopping(self, how: str) -> None:
        pass

    def said(self, line: str) -> None:
        pass


def open_view(console: Console, facts: Callable[[], SweepFacts], *, quiet: bool) -> View:
    """The view that suits the output."""
    if quiet:
        return NoView(console, facts)
    return LiveView(console, facts) if console.is_terminal else PlainView(console, facts)


def ended_line(trial: TrialRecord, *, metric: str) -> str:
    """A finished trial in one line."""
    words = [f"trial {trial.number} {trial.state}"]
    if trial.error:
        words.append(" ".join(trial.error.split()))
    if trial.value is not None:
        words.append(f"{metric} {shown(trial.value)} (epoch {trial.best_epoch} of {len(trial.epochs)})")
    words.append(short_params(trial.params))
    words.append(f"{trial.seconds:.0f} s")
    return "  ".join(word for word in words if word)


def short_params(params: Mapping[str, Any]) -> str:
    """Parameters as a person writes them: `lr=0.0123 batch_size=32`."""
    return " ".join(f"{name}={short(value)}" for name, value in params.items())


def short(value: Any) -> str:
    """A value in few characters, as the sweep file has it; numbers to three significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def render(facts: SweepFacts) -> RenderableType:
    """The live picture."""
    head = Table.grid(padding=(0, 1))
    left = "" if facts.seconds_left is None else f"about {duration(facts.seconds_left)} left"
    head.add_row(
        Text(facts.name, style="bold"),
        ProgressBar(total=facts.trials, completed=facts.done, width=30),
        f"{facts.done}/{counted(facts.trials, 'trial')}",
        f"{duration(facts.elapsed_s)}",
        left,
    )
    counts = "  ".join(f"{facts.counts[state]} {state}" for state in ENDED)
    parts: list[RenderableType] = [head, Text(counts, style="dim")]
    if facts.best is not None:
        best = facts.best
        line = f"best  trial {best.number}  {facts.metric} {shown(best.value)}  {short_params(best.params)}"
        parts.append(Text(line, style="green"))
    if facts.running:
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("trial", "epoch", facts.metric, "lr", "settings"):
            table.add_column(column, no_wrap=column != "settings", overflow="ellipsis")
        for trial in facts.running:
            others = {name: value for name, value in trial.params.items() if name != "lr"}
            table.add_row(
                str(trial.number),
                f"{trial.epoch}/{trial.settings.epochs}",
                "–" if trial.value is None else shown(trial.value),
                short(trial.settings.lr),
                escape(short_params(others)),
            )
        parts.append(table)
    if facts.stopping:
        how = "at once …" if facts.at_once else "; trials at work finish their epoch … (Ctrl-C again: at once)"
        parts.append(Text(f"stopping ({facts.stopping}){' ' if facts.at_once else ''}{how}", style="yellow"))
    return Group(*parts, Text())  # whose empty line has room for the terminal's `^C`


def duration(seconds: float) -> str:
    """A time in words: `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
