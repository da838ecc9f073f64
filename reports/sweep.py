"""A sweep's folder on disk, and the sweep as one document.

sweep = Sweep.open(find_run("resnet18", runs=Path("runs")))
describe(sweep)["best"]

runs/<name>/
  sweep.yaml  sweep.json  journal.log        the file as given; resolved, with versions and fingerprints; the ledger
  trials/<number>/epoch-00003.safetensors    checkpoints
  logs/  report/  best/                      what Ray and the commands wrote
"""

import json
import math
import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from reports.ledger import Ledger, TrialRecord, best_of
from reports.record import METRICS, SCHEMA, read_record
from trainables.data.catalog import Task
from trainables.errors import UserError

if TYPE_CHECKING:
    from reports.database import Database

RECORD = "sweep.json"


@dataclass(frozen=True)
class Sweep:
    """One run's folder and its record (`sweep.json`)."""

    folder: Path
    record: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "Sweep":
        """Opens a run's folder to read.

        Raises:
            UserError: the folder holds no sweep, one of another version, or a damaged record.
        """
        return cls(folder=folder, record=read_record(folder / RECORD))

    @property
    def name(self) -> str:
        """The folder's own name: a run may be renamed, and then goes by its new name."""
        return self.folder.resolve().name

    @property
    def metric(self) -> str:
        return self.record["spec"]["search"]["metric"]

    @property
    def mode(self) -> str:
        return metric_mode(self.metric)

    @property
    def task(self) -> Task:
        return self.record["task"]

    @property
    def measured_normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the training pictures, by channel; empty in runs from before these were kept,
        none of which has a trial that wants them."""
        measured = self.record["data"].get("normalization", {"mean": (), "std": ()})
        return tuple(measured["mean"]), tuple(measured["std"])

    def ledger(self, *, writable: bool = False) -> Ledger:
        return Ledger.open(self.folder, metric=self.metric, mode=self.mode, writable=writable, database=self.database())

    def database(self) -> "Database | None":
        """Where the ledger is when it is not in the folder."""
        url = self.record["spec"]["search"].get("storage")
        return database_of(url, self.record["study"]) if url else None

    def starting_weights(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial's `weights` came to when the sweep started: `{kind, path, digest, note}`.

        `path` is the file's on the machine of that time; `reports.starting_weights` finds it on this one.
        """
        try:
            return self.record["weights"][settings["weights"]][settings["model"]]
        except KeyError:
            raise UserError(
                f"damaged: it lacks the starting weights {settings['weights']!r} of {settings['model']}",
                where=str(self.folder / RECORD),
                hint="restore the file from a copy",
            ) from None


def database_of(url: str, study: str) -> "Database":
    """Loads SQLAlchemy, which few sweeps need."""
    from reports.database import Database

    return Database(url, study=study)


def metric_mode(metric: str) -> Literal["max", "min"]:
    """Whether more (`max`) or less (`min`) of a metric is better."""
    return METRICS[metric]


def find_run(run: str, *, runs: Path) -> Path:
    """A run's folder, given as a path or as a name under `runs`.

    Raises:
        UserError: there is no such run; the message names those that are there.
    """
    for folder in (Path(run), runs / run):
        if (folder / RECORD).is_file():
            return folder
    there = ", ".join(sweep.name for sweep in list_runs(runs)[:8])
    raise UserError(
        "no such sweep",
        where=run,
        hint=f"under {runs} there is: {there}" if there else f"there is none under {runs}",
    )


def check_name(name: str) -> None:
    """UserError where a run cannot be called so."""
    if not name or name.startswith(".") or "/" in name:
        raise UserError("not a name for a folder", where="--name", got=name)


def list_runs(runs: Path) -> list[Sweep]:
    """The sweeps directly under a folder, by name; what is no sweep is passed over."""
    sweeps = []
    for folder in run_folders(runs):
        try:
            sweeps.append(Sweep.open(folder))
        except UserError:  # a damaged one must not hide the others; `tune list` and `tune show` say what is wrong
            continue
    return sweeps


def run_folders(runs: Path) -> list[Path]:
    """The folders directly under `runs` that hold a sweep's record, whole or damaged, by name."""
    if not runs.is_dir():
        return []
    return [f for f in sorted(runs.iterdir()) if (f / RECORD).is_file() and not f.name.startswith(".")]


# who is at work on a run

LOCK = ".driver.lock"
DRIVER = "driver.json"
_READERS_LOOK_S = 0.1  # another reader that looks holds the lock for an instant


def driver_of(folder: Path) -> dict[str, Any] | None:
    """Who else drives the run at this moment, as `{pid, host, since}`; empty when that is not known.

    None when nobody does, and when this very process does: a report that the driver writes last tells how the sweep
    stands once the driver has gone. The lock is the operating system's own on an open file, so it ends with its
    holder, however that ends.
    """
    path = folder / LOCK
    if not path.exists():
        return None
    lock = FileLock(path)
    try:
        with lock.acquire(timeout=_READERS_LOOK_S, poll_interval=_READERS_LOOK_S / 5):
            return None
    except Timeout:
        pass
    except OSError:  # a folder that cannot be written has no driver of ours
        return None
    try:
        holder = json.loads((folder / DRIVER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(holder, dict) or not {"pid", "host", "since"} <= holder.keys():
        return {}
    return None if (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname()) else holder


# the sweep as one document: `tune show --json`


def describe(sweep: Sweep) -> dict[str, Any]:
    """The sweep as plain data. The keys and their meaning are stable within one `schema`."""
    ledger = sweep.ledger()
    trials = ledger.trials()
    return {**standing(sweep, ledger, trials), "trials": [_trial(trial) for trial in trials]}


def standing(sweep: Sweep, ledger: Ledger, trials: Sequence[TrialRecord]) -> dict[str, Any]:
    """How the sweep stands: `describe` without its trials, for a ledger that has been read already.

    `state` is `running` while a driver other than this process works on it; `finished` when it ended and left no trial
    half done; else `interrupted`. `outcome` says what ended it: `trials` (all of them), `hours` (used up, so it may
    have left trials running and be `interrupted`), `errors` (the same again and again), or None.
    """
    spec = sweep.record["spec"]
    counts = Counter(trial.state for trial in trials)
    best = best_of(trials, mode=sweep.mode)
    return {
        "schema": SCHEMA,
        "name": sweep.name,
        "state": _state(sweep, ledger, counts),
        "outcome": ledger.outcome(),
        "metric": sweep.metric,
        "mode": sweep.mode,
        "budget": {
            "trials": spec["search"]["trials"],
            "epochs": epochs_planned(spec),
            "hours": spec["search"]["hours"],
        },
        "counts": {state: counts[state] for state in ("complete", "pruned", "failed", "running")},
        "best": best and {"number": best.number, "value": best.value, "epoch": best.best_epoch, "params": best.params},
    }


def epochs_planned(spec: dict[str, Any]) -> int | None:
    """Epochs of a trial that runs to its end; None where the number is itself explored."""
    if "epochs" in spec["space"]:
        return None
    return {**spec["defaults"], **spec["trial"]}["epochs"]


def _trial(trial: TrialRecord) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state,
        "params": trial.params,
        "value": trial.value,
        "best_epoch": trial.best_epoch,
        "error": trial.error,
        "epochs": [
            {key: _finite(value) for key, value in epoch.items() if key not in ("checkpoint", "elapsed")}
            for epoch in trial.epochs
        ],
    }


def _finite(value: Any) -> Any:
    """A number that JSON has no word for (NaN, Inf) becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _state(sweep: Sweep, ledger: Ledger, counts: Mapping[str, int]) -> str:
    if ledger.outcome():  # even while the driver still writes what a sweep ends with
        return "interrupted" if counts["running"] else "finished"
    return "interrupted" if driver_of(sweep.folder) is None else "running"
