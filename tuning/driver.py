"""What a driver does: make a run, work on it, write its report and best model, say what there is.

    run = begin(spec, text=…, name="resnet18", runs=Path("runs"), console=screen.told(quiet=False))
    code = work_on(run, Revision(trials=50), screen=screen, ray=ray, quiet=False)

Loads torch; `tuning.session` is what the commands call.
"""

import shlex
import traceback
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape

from reports.collapsed import collapsed_of
from reports.export import export_model
from reports.home import address_of, home_of
from reports.ledger import ENDED, JOURNAL, TrialRecord
from reports.modelfile import BEST
from reports.sweep import Sweep
from reports.working_copies import pulled, settle, unsettled
from reports.write import write_report
from trainables.data.parallel import available_cores
from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.urls import joined
from trainables.wording import counted
from tuning import exit_codes
from tuning.ahead import Ahead
from tuning.cluster import RaySession, check_room
from tuning.driving import driving, saving
from tuning.lease import leased
from tuning.logs import check_loggers
from tuning.mirror import mirrored
from tuning.progress import ended_line
from tuning.revise import Revision, revise
from tuning.rounds import trial_resources
from tuning.runner import Outcome, run_sweep
from tuning.screen import Screen
from tuning.setup import create_sweep, open_sweep
from tuning.spec import Spec


def begin(spec: Spec, *, text: str, name: str, runs: Path | str, console: Console) -> Path:
    """Makes a new run. Returns its folder; with `runs` on object storage, that of its working copy."""
    check_loggers(spec.search.logging)
    if isinstance(runs, Path):
        return create_sweep(spec, text=text, name=name, runs=runs, console=console).folder
    home = unsettled(joined(runs, name))
    create_sweep(spec, text=text, name=name, runs=home.folder.parent, console=console)
    with leased(home, say=console.print):
        settle(home)
    return home.folder


def check_fit(spec: Spec, cluster: RaySession | None) -> None:
    """UserError where not one trial fits on the cluster; None is this machine, whose own Ray may still be starting."""
    needs = trial_resources(spec, None)
    if cluster is not None:
        cluster.room(needs)
    else:
        here = {"CPU": available_cores(), "GPU": torch.cuda.device_count()}
        check_room([here], needs, where="this machine")


def work_on(run: Path, revision: Revision, *, screen: Screen, ray: Ahead[RaySession], quiet: bool) -> int:
    """Works on a run that exists, as it was or with changes. Returns the exit code.

    Ray ends while the model and the report are made.
    """

    def say(line: str) -> None:
        screen.errors.print(line, markup=False, highlight=False, soft_wrap=True)

    with saving(address_of(run)), driving(run), ExitStack() as held:
        home = home_of(run)
        lease = held.enter_context(leased(home, say=say)) if home else None
        if home:
            pulled(home)
        if database := Sweep.open(run).database():
            held.enter_context(database.held())
        revised = revise(run, revision)
        check_loggers(revised.spec.search.logging)
        _, spec, store = open_sweep(run, spec=revised.spec, console=screen.told(quiet=quiet))
        revised.keep()
        sweep = Sweep.open(run)
        for line in revised.lines:
            say(line)
        screen.log_to(run / "logs" / "ray.log")
        journal = None if database else run / JOURNAL
        with mirrored(lease, journal=journal, say=say) if lease else nullcontext() as mirror:
            outcome = run_sweep(sweep, spec, store, session=ray.get, console=screen.console, quiet=quiet, mirror=mirror)
            ray.leave()
            code = _conclude(sweep, spec, store, outcome, screen.console)
        if home:
            screen.console.print(f"at home {home.url}", markup=False, highlight=False, soft_wrap=True)
        return code


def _conclude(sweep: Sweep, spec: Spec, store: PixelStore, outcome: Outcome, console: Console) -> int:
    """Writes what a sweep ends with, says where it is and what to do next. Returns the exit code."""
    resume = f"tune resume {shlex.quote(sweep.address)}"
    say = console.print
    if not outcome.worked:
        say(escape(f"nothing was left to do; more trials: {resume} --trials N"), highlight=False, soft_wrap=True)
    counts = ", ".join(f"{outcome.counts.get(state, 0)} {state}" for state in ENDED)
    ended = {"trials": "finished", "hours": "stopped: its hours are used up", "errors": "stopped"}
    say(f"\n[bold]{escape(sweep.name)}[/] {ended.get(outcome.ended or '', 'interrupted')}: {counts}", highlight=False)
    with console.status("writing model and report") if console.is_terminal else nullcontext():
        # The report shows what the model predicts.
        model = None if outcome.best is None else _export(sweep, store, outcome, console)
        report = _report(sweep, console)
    if outcome.best is None:
        yet = outcome.interrupted or outcome.ended == "hours"
        say("no trial has finished yet" if yet else "not one trial finished", soft_wrap=True)
    else:
        best = f"best    {ended_line(outcome.best, metric=sweep.metric)}"
        say(escape(best), soft_wrap=not console.is_terminal, highlight=False)
        say(escape(f"report  {report}"), soft_wrap=True, highlight=False)
        say(escape(f"model   {model}"), soft_wrap=True, highlight=False)
    if outcome.ended == "errors":
        failed = counted(spec.search.max_same_errors, "trial")
        say(escape(f"{failed} in a row failed with the same error:"), style="red")
        say(escape(_last_error(sweep)), style="red", soft_wrap=True)
    for line in learnt_nothing(sweep, outcome.best):
        say(escape(line), style="yellow", soft_wrap=True, highlight=False)
    for line in _next_steps(sweep, spec, outcome, resume):
        say(escape(line), soft_wrap=True, highlight=False)
    if outcome.interrupted:
        return exit_codes.INTERRUPTED
    return 0 if outcome.best is not None else exit_codes.NO_RESULT


def _export(sweep: Sweep, store: PixelStore, outcome: Outcome, console: Console) -> str:
    """Where the best model is, or why it is not there: the sweep itself is done either way.

    Who interrupts does not want to wait until every held-out picture is predicted. On the CPU, since what the sweep's
    trials left of a GPU's memory, or of its health, must not decide whether there is a model.
    """
    try:
        export_model(
            sweep,
            sweep.folder / BEST,
            store=store,
            measured=not outcome.interrupted,
            device=torch.device("cpu"),
        )
        if sweep.home:
            sweep.home.push_made(BEST)
        return str(sweep.folder / BEST)
    except UserError as error:
        return f"not exported: {error}"
    except Exception:  # a bug of ours, or a library's failure; `tune export` can be called again
        console.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
        return f"not exported; try again: tune export {shlex.quote(sweep.address)}"


def _report(sweep: Sweep, console: Console) -> str:
    """Where the report is, or why it is not there: the sweep and its model are done either way."""
    try:
        page = write_report(sweep, sweep.folder / "report")[0]
        if sweep.home:
            sweep.home.push_made("report")
        return str(page)
    except UserError as error:
        return f"not written: {error}"
    except Exception:  # a bug of ours, shown as one; `tune report` can be called again
        console.print(traceback.format_exc(), markup=False, highlight=False, soft_wrap=True)
        return f"not written; try again: tune report {shlex.quote(sweep.address)}"


def _next_steps(sweep: Sweep, spec: Spec, outcome: Outcome, resume: str) -> list[str]:
    if outcome.interrupted:
        return [f"go on   {resume}"]
    hours = spec.search.hours if outcome.ended == "hours" else None
    if outcome.best is None and hours:
        return [f"go on   {resume} --hours N   (in all; {hours:g} are used up)"]
    if outcome.best is None:
        left = "" if outcome.ended == "errors" else " --trials N"
        return [
            f"next    tune show {shlex.quote(sweep.address)}   (each trial's error)",
            f"        {resume}{left}   when the machine was the cause and is mended",
            "        tune search --space FILE --name NEW   when the settings were",
        ]
    done = sum(outcome.counts.get(state, 0) for state in ENDED)
    further = f"--hours {2 * hours:g}" if hours else f"--trials {2 * done}"
    return [
        f"next    tune show {shlex.quote(sweep.address)}",
        f"        tune predict {shlex.quote(sweep.address if sweep.home else str(sweep.folder / BEST))} PICTURES",
        *([f"        {resume} {further}"] if spec.space else []),
    ]


def learnt_nothing(sweep: Sweep, best: TrialRecord | None) -> list[str]:
    """A line where even the best trial learnt nothing; the report says more."""
    found = collapsed_of(sweep, [best]) if best else None
    if found is None:
        return []
    return [f"no trial is clearly better than chance ({found.chance_in_words})"]


def _last_error(sweep: Sweep) -> str:
    failed = [trial for trial in sweep.ledger().trials() if trial.state == "failed"]
    return failed[-1].error or "" if failed else ""
