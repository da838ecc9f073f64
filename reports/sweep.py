"""A sweep's folder on disk, and the sweep as one document.

sweep = Sweep.open(Path("runs/resnet18"))              # `reports.runs` finds it by name or URL
describe(sweep)["best"]

runs/<name>/
  sweep.yaml  sweep.json  journal.log        the file as given; resolved, with versions and fingerprints; the ledger
  trials/<number>/epoch-00003.safetensors    checkpoints
  logs/  report/  best/                      what Ray and the commands wrote
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from reports.drivers import driver_of
from reports.home import Home, home_of
from reports.ledger import Ledger, TrialRecord, best_of
from reports.record import METRICS, RECORD, SCHEMA, read_record
from reports.storages import check_storage
from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.places import Folder, Place

if TYPE_CHECKING:
    from reports.database import Database


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

    @cached_property
    def home(self) -> Home | None:
        """Where the run is at home, when that is not its folder."""
        return home_of(self.folder)

    @property
    def address(self) -> str:
        """What the user calls the run by: its folder, or its home's URL."""
        return self.home.url if self.home else str(self.folder)

    @property
    def seen_at(self) -> str:
        """Where workers, in folders and on nodes of their own, look for the run: `address`, from the root."""
        return self.home.url if self.home else str(self.folder.resolve())

    @property
    def place(self) -> Place:
        """Where its checkpoints are."""
        return self.home.bucket if self.home else Folder(self.folder)

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
        """Where the ledger is when it is not in the folder.

        Raises:
            UserError: that is no database of ours, or one that the user has not named on this machine.
        """
        url = self.record["spec"]["search"].get("storage")
        if url is None:
            return None
        check_storage(url, where=str(self.folder / RECORD))
        return database_of(url, self.record["study"])

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
            {key: value for key, value in epoch.items() if key not in ("checkpoint", "elapsed")}
            for epoch in trial.epochs
        ],
    }


def _state(sweep: Sweep, ledger: Ledger, counts: Mapping[str, int]) -> str:
    if ledger.outcome():  # even while the driver still writes what a sweep ends with
        return "interrupted" if counts["running"] else "finished"
    return "interrupted" if _driver(sweep) is None else "running"


def _driver(sweep: Sweep) -> dict[str, Any] | None:
    """Who else drives the sweep: in its folder or, where it is at home on object storage, anywhere."""
    here = driver_of(sweep.folder)
    return sweep.home.driver() if here is None and sweep.home else here
