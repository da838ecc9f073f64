"""`tune show RUN`: one sweep as a table, or as data. Imports no torch, Ray or pandas."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainables.wording import few
from tuning.cli.options import runs_option

if TYPE_CHECKING:
    from rich.console import Console

    from reports.ledger import TrialRecord
    from reports.sweep import Sweep

_ROWS_ON_A_TERMINAL = 40
_NUMBERS = 20  # of trials that failed for one reason


@click.command(
    epilog="Example: tune show resnet18 --json | jq .best.params", short_help="One sweep as a table, or as data."
)
@click.argument("run")
@runs_option
@click.option("--json", "as_json", is_flag=True, help="Print the whole sweep as JSON (a stable interface).")
@click.option("--trial", "number", type=click.IntRange(0), metavar="N", help="One trial: its epochs, settings, error.")
def show(run: str, runs: Path | str, as_json: bool, number: int | None) -> None:
    """Show how the sweep RUN stands (its folder, or its name under --runs), best trial first.

    Works while the sweep runs. On a terminal the table shows the best 40 trials, and of one trial the settings that are
    explored or not the defaults; piped, they are all there.
    """
    from rich.console import Console

    from reports.json_text import json_text
    from reports.runs import find_run
    from reports.sweep import Sweep, describe

    sweep = Sweep.open(find_run(run, runs=runs))
    console = Console()
    if as_json:
        document = describe(sweep)
        click.echo(json_text(document if number is None else _one(document["trials"], number)))
    elif number is None:
        _show_sweep(sweep, console)
    else:
        _show_trial(sweep, number, console)


def _show_sweep(sweep: "Sweep", console: "Console") -> None:
    from reports.ranking import gap_to_second
    from reports.sweep import standing
    from reports.tables import headlines, leaderboard
    from reports.terminal import print_line, print_table

    ledger = sweep.ledger()
    trials = ledger.trials()
    stands = standing(sweep, ledger, trials)
    print_line(sweep.name, console=console, style="bold")
    for line in headlines(stands, gap=gap_to_second(trials, mode=sweep.mode)):
        print_line(line, console=console)
    if not trials:
        return
    settings = list(sweep.record["spec"]["space"])
    board = leaderboard(sweep, trials, settings=settings, sweep_state=stands["state"], brief=True)
    print_line("", console=console)
    left_out = print_table(board, console=console, limit=_ROWS_ON_A_TERMINAL, joined=settings)
    if left_out:
        print_line(
            f"… and {left_out} more: tune show {shlex.quote(sweep.address)} | less", console=console, style="dim"
        )
    for line in _reasons(trials):
        print_line(line, console=console, style="red")


def _show_trial(sweep: "Sweep", number: int, console: "Console") -> None:
    from reports.tables import Table, shown
    from reports.terminal import print_line, print_table
    from trainables.errors import UserError

    trials = sweep.ledger().trials()
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        raise UserError("no such trial", where="--trial", got=number, expected=_numbers(len(trials)))
    value = "" if trial.value is None else f", {sweep.metric} {shown(trial.value)} in epoch {trial.best_epoch}"
    print_line(f"{sweep.name}, trial {number}: {trial.state}{value}", console=console, style="bold")
    times = (("started", trial.started), ("ended", trial.ended))
    facts = [(label, text and text.partition(".")[0].replace("T", " ")) for label, text in times]
    for label, text in (*facts, ("error", trial.error)):
        if text is not None:
            print_line(f"{label} {text}", console=console, style="red" if label == "error" else None)
    for reason in trial.attempts:
        print_line(f"interrupted once: {reason}", console=console, style="yellow")
    brief = console.is_terminal
    if trial.epochs:
        columns = [name for name in trial.epochs[0] if name not in ("checkpoint", "elapsed")]
        same = {name: trial.epochs[0][name] for name in columns if brief and _is_the_same(trial.epochs, name)}
        columns = [name for name in columns if name not in same]
        rows = [tuple(epoch.get(name) for name in columns) for epoch in trial.epochs]
        print_line("", console=console)
        print_table(Table("Epochs", tuple(columns), tuple(rows)), console=console)
        if same:
            listed = ", ".join(f"{name} {shown(value)}" for name, value in same.items())
            print_line(f"in every epoch: {listed}", console=console, style="dim")
    print_line("", console=console)
    defaults = sweep.record["spec"]["defaults"]
    rows = [
        (name, shown(value), "yes" if name in trial.params else "")
        for name, value in trial.settings.items()
        if not brief or name in trial.params or value != defaults.get(name)
    ]
    print_table(Table("Settings", ("setting", "value", "explored"), tuple(rows)), console=console)
    if left_out := len(trial.settings) - len(rows):
        more = f"… and {left_out} at their defaults: tune show {shlex.quote(sweep.address)} --trial {number} | less"
        print_line(more, console=console, style="dim")


def _is_the_same(epochs: Sequence[dict[str, Any]], name: str) -> bool:
    """Whether it is no news after the first of several epochs."""
    return len(epochs) > 1 and all(epoch.get(name) == epochs[0][name] for epoch in epochs)


def _reasons(trials: Sequence["TrialRecord"]) -> list[str]:
    """Why trials failed: a line for each reason, with the trials that met it, of many the first."""
    from reports.tables import failed_by_reason

    lines = []
    for those in failed_by_reason(trials):
        numbers = few((str(trial.number) for trial in those), limit=_NUMBERS)
        which = f"{'trial' if len(those) == 1 else 'trials'} {numbers}"
        alike = "" if len({trial.error for trial in those}) == 1 else ", the first of them"
        lines.append(f"failed: {which}{alike}: {those[0].error or 'no reason recorded'}")
    return lines


def _one(trials: list[dict], number: int) -> dict:
    from trainables.errors import UserError

    for trial in trials:
        if trial["number"] == number:
            return trial
    raise UserError("no such trial", where="--trial", got=number, expected=_numbers(len(trials)))


def _numbers(count: int) -> str:
    return f"a number from 0 to {count - 1}" if count else "a sweep with trials"
