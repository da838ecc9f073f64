"""Runs what a sweep's ledger says is left to do, with a live view, stoppable at any moment.

with driving(sweep.folder):
    # new, or stopped or killed before
    outcome = run_sweep(sweep, spec, store, session=ray.get, console=console, quiet=False, mirror=None)
if outcome.interrupted:
    print("go on with: tune resume", sweep.folder)
"""

import dataclasses
import functools
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from reports.ledger import Ledger, TrialRecord
from reports.starting_weights import weights_here
from reports.sweep import Sweep
from trainables.data.cache import cache_folder
from trainables.data.store import PixelStore
from trainables.models.weights import Weights
from trainables.ray_trial import TrialJob
from trainables.settings import TrialSettings
from trainables.urls import is_url
from trainables.wording import counted
from tuning import exit_codes
from tuning.cluster import RaySession, clear_session
from tuning.conductor import Conductor, Job
from tuning.engine import Engine
from tuning.joining import Offer, prepared
from tuning.logs import following
from tuning.mirror import Mirror
from tuning.progress import SweepFacts, View, open_view
from tuning.retention import Retention, at_once
from tuning.rounds import packing_for, rounds, trial_resources
from tuning.signals import Signals
from tuning.spec import Spec
from tuning.watchdog import Watchdog

# After a signal, trials get this long to finish their epoch; what takes longer is done again on resume.
PATIENCE_S = 20.0
_PATIENCE_AWAY_S = 5.0  # while object storage is away
# How often the nodes of a cluster are counted.
NODES_EVERY_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """How a run of the driver ended: `ended` as in the ledger (None: interrupted), the best complete trial, and whether
    there was anything to do."""

    ended: str | None
    best: TrialRecord | None
    counts: dict[str, int]
    worked: bool = True

    @property
    def interrupted(self) -> bool:
        return self.ended is None


def run_sweep(
    sweep: Sweep,
    spec: Spec,
    store: PixelStore,
    *,
    session: Callable[[], RaySession],
    console: Console,
    quiet: bool,
    mirror: Mirror | None,
) -> Outcome:
    """Runs the sweep to its end, or until it is interrupted. The caller holds the run (`driving`).

    Args:
        session: waits for the Ray session to work in; not asked where nothing is left to do.
        quiet: show nothing while it runs.
        mirror: what keeps the sweep's home up to date, where that is not its folder.

    Raises:
        UserError: no trial fits on the machine; the run's folder can no longer be written.
    """
    ledger = sweep.ledger(writable=True)
    with following(sweep, ledger, spec.search.logging, console=console) as follow:
        left = ledger.outcome() != "trials" or ledger.count() < spec.search.trials
        if left:
            ledger.record_outcome(None)
            work = functools.partial(_run, sweep, ledger, spec, store, session=session, mirror=mirror)
            ledger.record_outcome(work(console=console, quiet=quiet, follow=follow))
    return Outcome(ended=ledger.outcome(), best=ledger.best(), counts=ledger.counts(), worked=left)


def _run(
    sweep: Sweep,
    ledger: Ledger,
    spec: Spec,
    store: PixelStore,
    *,
    session: Callable[[], RaySession],
    mirror: Mirror | None,
    console: Console,
    quiet: bool,
    follow: Callable[[], None],
) -> str | None:
    """One life of the driver. Returns how the sweep ended, None when it was interrupted."""
    ray = session()
    packing = packing_for(spec, ray, fits=ledger.fits_a_gpu(), left=_left(ledger, spec))
    ray.room(trial_resources(spec, packing))
    for line in prepared(ray, sweep.seen_at):
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)

    def places() -> int:
        return ray.limit(trial_resources(spec, packing), workers=spec.resources.workers)

    with Signals() as signals:
        if mirror:
            mirror.check()  # the conductor begins by removing what this driver's ledger does not know
        conductor = Conductor(
            ledger,
            spec,
            retention=Retention(
                sweep.place,
                keep=spec.search.keep,
                mode=spec.search.mode,
                later=mirror.afterwards if mirror else at_once,  # not before the record is where it lasts
            ),
            limit=places(),
            clock=time.monotonic,
            packing=packing,
        )
        jobs = _Jobs(sweep, spec, store, shared=not ray.joined)

        def engine() -> Engine:
            resources = trial_resources(spec, packing)
            return Engine(
                conductor,
                job_config=lambda job: jobs.describe(job, gpus=resources.get("GPU", 0.0)).to_config(),
                resources=resources,
                scratch=ray.scratch,
                logs=sweep.folder / "logs",
            )

        with open_view(console, lambda: _facts(sweep, conductor, signals), quiet=quiet) as view:
            conductor.watch = view.trial_ended
            leave = functools.partial(_leave, sweep.address, ray, console)
            with Watchdog(lambda: _overdue(ray, signals, mirror), leave=leave):
                tick = _Tick(conductor, view, signals, follow, places=places if ray.joined else None, mirror=mirror)
                rounds(conductor, lambda: engine().run(must_end=tick), places=places, say=view.said)
        if (said := jobs.sent()) and not quiet:
            console.print(said, highlight=False)
    if conductor.storage_error is not None:
        raise OSError(conductor.storage_error)
    return conductor.outcome()


def _left(ledger: Ledger, spec: Spec) -> int:
    """Trials that have not ended, or not begun; at least one."""
    ended = sum(count for state, count in ledger.counts().items() if state != "running")
    return max(1, spec.search.trials - ended)


class _Jobs:
    """Fills in what a worker needs beside the conductor's job."""

    def __init__(self, sweep: Sweep, spec: Spec, store: PixelStore, *, shared: bool) -> None:
        """`shared`: workers see this machine's files. Else pictures and weights are offered to their nodes."""
        self._sweep, self._spec, self._store = sweep, spec, store
        self._weights: dict[tuple[str, str], Weights] = {}
        self._offer = None if shared else Offer({store.path.name: store.path})

    def describe(self, job: Job, *, gpus: float) -> TrialJob:
        return TrialJob(
            number=job.number,
            settings=job.settings,
            run=self._sweep.seen_at,
            store=str(self._store.path),
            data_seed=self._spec.data.seed,
            weights=self._weights_of(job.settings),
            cpus=self._spec.resources.cpus_per_trial,
            gpus=gpus,
            checkpoint=job.checkpoint,
            cache="" if self._offer else str(cache_folder()),
            sharing_bytes=self._sharing_bytes(),
            offer=self._offer.name if self._offer else "",
            fingerprint=self._store.fingerprint,
        )

    def sent(self) -> str:
        """What went to nodes that do not see this machine's files, in a line; empty where nothing did."""
        sent = self._offer.sent() if self._offer else {}
        if not sent:
            return ""
        return f"sent {sum(sent.values()):,} bytes of pictures and weights to {counted(len(sent), 'node')}"

    def _sharing_bytes(self) -> int:
        """As the sweep file says, else as was found when the sweep began: a resumed trial must share as before."""
        gigabytes = self._spec.resources.shared_gb
        return self._sweep.record.get("sharing_bytes", 0) if gigabytes == "auto" else int(gigabytes * 10**9)

    def _weights_of(self, settings: TrialSettings) -> Weights:
        """Found once: it takes reading the whole file."""
        key = settings.weights, settings.model
        if key not in self._weights:
            weights = Weights(**weights_here(self._sweep, dataclasses.asdict(settings)))
            self._weights[key] = weights
            if self._offer and weights.path and weights.digest:
                self._offer.add_weights(Path(weights.path), digest=weights.digest)
        return self._weights[key]


class _Tick:
    """Called at each of Ray's steps: draws, logs, follows nodes that come and go, and says whether to end now."""

    def __init__(
        self,
        conductor: Conductor,
        view: View,
        signals: Signals,
        follow: Callable[[], None],
        *,
        places: Callable[[], int] | None,
        mirror: Mirror | None,
    ) -> None:
        """`places`: how many trials may run at once, asked for every few seconds; None where that does not change."""
        self._conductor, self._view, self._signals, self._follow = conductor, view, signals, follow
        self._places, self._asked_at, self._mirror = places, time.monotonic(), mirror
        self._acknowledged = ""

    def __call__(self) -> bool:
        conductor, signals = self._conductor, self._signals
        if signals.asked:
            conductor.stop(signals.asked)
            self._acknowledge("at once" if signals.at_once else "after the epochs at work; Ctrl-C again: at once")
        if self._places and time.monotonic() - self._asked_at > NODES_EVERY_S:
            conductor.limit, self._asked_at = self._places(), time.monotonic()
        self._view.refresh()
        self._follow()
        if self._mirror and self._mirror.trouble:
            conductor.storage_failed(self._mirror.trouble)
        if conductor.storage_error is not None:
            return True
        patience = 0.0 if signals.at_once else PATIENCE_S
        if self._mirror and self._mirror.waits():  # no epoch ends while its checkpoint cannot be written
            patience = min(patience, _PATIENCE_AWAY_S)
            if signals.waited_s() > patience:
                self._mirror.hurry()
        return conductor.stopping is not None and (not conductor.running or signals.waited_s() > patience)

    def _acknowledge(self, how: str) -> None:
        """Says once how the sweep stops, and once more when that changes."""
        if how != self._acknowledged:
            self._acknowledged = how
            self._view.stopping(f"stopping ({self._signals.asked}), {how}")


def _overdue(session: RaySession, signals: Signals, mirror: Mirror | None) -> str | None:
    """Why the driver must end without its main thread, if it must."""
    if not session.alive():
        return "the Ray cluster does not answer" if session.joined else "Ray has ended"
    if signals.waited_s() > PATIENCE_S + 15 or (signals.at_once and signals.waited_s() > 15):
        return "the object storage does not answer" if mirror and mirror.waits() else "Ray does not stop"
    return None


def _leave(run: str, session: RaySession, console: Console, reason: str) -> None:
    """Ends the process here and now; the ledger has all that can be gone on with."""
    here = "   (on this machine: its last epochs may not be at home)" if is_url(run) else ""
    lines = f"\ninterrupted: {reason}\ngo on   tune resume {shlex.quote(run)}{here}"
    console.show_cursor(True)  # which the live view hid
    console.print(lines, markup=False, highlight=False, soft_wrap=True)
    clear_session(session.folder)
    os._exit(exit_codes.INTERRUPTED)


def _facts(sweep: Sweep, conductor: Conductor, signals: Signals) -> SweepFacts:
    return SweepFacts(
        name=sweep.name,
        metric=sweep.metric,
        trials=conductor.spec.search.trials,
        counts=Counter(conductor.ledger.counts()),
        running=tuple(conductor.running[number] for number in sorted(conductor.running)),
        best=conductor.ledger.best(),
        elapsed_s=conductor.elapsed_s(),
        stopping=conductor.stopping,
        at_once=signals.at_once,
    )
