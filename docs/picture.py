"""Draws the README's picture of a sweep at work from the ledger of a real one.

    python docs/picture.py runs/resnet18 --at 90 > docs/sweep.svg

The ledger tells of each epoch when it ended, so the live view of any moment can be drawn again, here that after 90 s;
below it, what the sweep ended with.
"""

import argparse
import dataclasses
import io
import re
import sys
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.text import Text

from reports.ledger import TrialRecord, best_of
from reports.ranking import gap_to_second
from reports.sweep import Sweep, standing
from reports.tables import headlines, leaderboard
from reports.terminal import print_line, print_table
from trainables.settings import TrialSettings
from tuning.conductor import Running
from tuning.progress import SweepFacts, render

WIDTH = 120
ROWS = 6


def facts_at(sweep: Sweep, elapsed_s: float) -> SweepFacts:
    """The sweep as it stood after so many seconds."""
    trials = [trial for trial in sweep.ledger().trials() if _began_s(trial) <= elapsed_s]
    begun = [_as_of(trial, elapsed_s, mode=sweep.mode) for trial in trials]
    running = [trial for trial in begun if trial.state == "running"]
    return SweepFacts(
        name=sweep.name,
        metric=sweep.metric,
        trials=sweep.record["spec"]["search"]["trials"],
        counts=Counter(trial.state for trial in begun),
        running=tuple(
            Running(t.number, TrialSettings(**t.settings), t.params, len(t.epochs), t.value) for t in running
        ),
        best=best_of(begun, mode=sweep.mode),
        elapsed_s=elapsed_s,
        stopping=None,
    )


def _began_s(trial: TrialRecord) -> float:
    return trial.epochs[0]["elapsed"] - trial.epochs[0]["seconds"] if trial.epochs else float("inf")


def _as_of(trial: TrialRecord, elapsed_s: float, *, mode: str) -> TrialRecord:
    """The trial with the epochs it had by then; running, when more were to come."""
    epochs = tuple(epoch for epoch in trial.epochs if epoch["elapsed"] <= elapsed_s)
    if len(epochs) == len(trial.epochs):
        return trial
    values = [epoch["val_accuracy" if mode == "max" else "val_loss"] for epoch in epochs]
    value = (max if mode == "max" else min)(values, default=None)
    return dataclasses.replace(trial, epochs=epochs, value=value, state="running", ended=None)


def draw(run: Path, *, elapsed_s: float) -> str:
    """The picture as SVG."""
    sweep = Sweep.open(run)
    ledger = sweep.ledger()
    trials = ledger.trials()
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    _prompt(console, "tune search --space resnet18.yaml")
    console.print(render(facts_at(sweep, elapsed_s)))
    console.print()
    _prompt(console, f"tune show {sweep.name}")
    print_line(sweep.name, console=console, style="bold")
    stands = standing(sweep, ledger, trials)
    for line in headlines(stands, gap=gap_to_second(trials, mode=sweep.mode)):
        print_line(line, console=console)
    console.print()
    settings = list(sweep.record["spec"]["space"])
    board = leaderboard(sweep, trials, settings=settings, sweep_state=stands["state"], brief=True)
    left_out = print_table(board, console=console, limit=ROWS)
    console.print(Text(f"… and {left_out} more", style="dim"))
    svg = console.export_svg(title=sweep.name, unique_id="sweep")
    return re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # a picture fetches no fonts


def _prompt(console: Console, command: str) -> None:
    console.print(Text.assemble(("$ ", "dim"), (command, "bold")))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--at", type=float, default=90, metavar="SECONDS", help="the moment to draw")
    arguments = parser.parse_args()
    sys.stdout.write(draw(arguments.run, elapsed_s=arguments.at))
