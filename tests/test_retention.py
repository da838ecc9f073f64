"""What a sweep keeps is enough: to export its best trials at any moment, and to go on with those at work."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simulation
from reports.ledger import JOURNAL, TrialRecord
from simulation import Simulation, small_spec
from trainables.files import checkpoint_name
from trainables.settings import TrialSettings
from tuning.conductor import Conductor, Job

formula = simulation.formula


def coarse(settings: TrialSettings, epoch: int) -> dict[str, Any]:
    """Accuracies as of ten pictures, so that many are equal; the losses are not."""
    exact = formula(settings, epoch)
    return {**exact, "val_accuracy": round(exact["val_accuracy"], 1)}


def by_worth(trial: TrialRecord) -> tuple[float, float, int]:
    assert trial.value is not None
    return -trial.value, min(e["val_loss"] for e in trial.epochs if e["val_accuracy"] == trial.value), trial.number


class Watched(Simulation):
    """Looks at the run's folder after every epoch, as a user might who exports while the sweep runs."""

    looks = 0

    def _one_epoch(self, conductor: Conductor, job: Job, epoch: int) -> bool:
        being_written = self.folder / f"trials/{job.number}/.{checkpoint_name(epoch + 1)}.tmp"
        being_written.parent.mkdir(parents=True, exist_ok=True)
        being_written.touch()
        goes_on = super()._one_epoch(conductor, job, epoch)
        assert being_written.exists() or not goes_on
        self.look()
        return goes_on

    def look(self) -> None:
        ledger = self.open()
        trials = ledger.trials()
        best = ledger.best()
        complete = [trial for trial in trials if trial.state == "complete"]
        assert (best is not None) == bool(complete)
        ranked = sorted(complete, key=by_worth)
        for trial in ranked[: self.spec.search.keep]:
            assert self.has(trial.checkpoint(trial.best_epoch)), f"trial {trial.number} cannot be exported"
        for trial in trials:
            if trial.state == "running" and trial.epochs:
                needed = {trial.checkpoint(trial.best_epoch), trial.checkpoint(trial.epochs[-1]["epoch"])}
                there = {str(path.relative_to(self.folder)) for path in self.folder.glob(f"trials/{trial.number}/e*")}
                assert there == needed, f"trial {trial.number} can be exported and go on"
        assert best is None or best.number == ranked[0].number
        self.looks += 1

    def has(self, checkpoint: str | None) -> bool:
        return checkpoint is not None and (self.folder / checkpoint).is_file()


@pytest.mark.parametrize("numbers", [formula, coarse], ids=["exact", "coarse"])
@pytest.mark.parametrize("keep", [1, 3])
@pytest.mark.parametrize("pruner", ["asha", "median", "none"])
@pytest.mark.parametrize("limit", [1, 3])
def test_the_best_trials_can_be_exported_at_any_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: int, pruner: str, limit: int, numbers: Any
) -> None:
    monkeypatch.setattr(simulation, "formula", numbers)
    spec = small_spec(trials=10, epochs=4, keep=keep, pruner=pruner, startup_trials=2)
    sweep = Watched(tmp_path, spec, limit=limit, seed=keep)
    for stop in (7, 13, 20, None):  # interrupted and gone on with
        sweep.drive(stop_after=stop)
        sweep.look()
    assert sweep.looks > 10
    kept = {Path(path).parent.name: Path(path).name for path in sweep.files()}
    complete = [trial for trial in sweep.open().trials() if trial.state == "complete"]
    ranked = sorted(complete, key=by_worth)
    assert kept == {str(t.number): checkpoint_name(t.best_epoch or 0) for t in ranked[:keep]}


def test_nothing_is_removed_before_the_record_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut takes what was written and not flushed: with it, the reason why a checkpoint was not needed."""
    flushed: dict[int, int] = {}
    monkeypatch.setattr("os.fsync", lambda handle: flushed.update({os.fstat(handle).st_ino: os.fstat(handle).st_size}))
    removals = []

    def later(remove: Callable[[], None]) -> None:
        journal = (tmp_path / JOURNAL).stat()
        assert flushed[journal.st_ino] == journal.st_size
        removals.append(remove())

    sweep = Simulation(tmp_path, small_spec(trials=8, keep=2), limit=2, later=later)
    sweep.drive()
    assert len(removals) > 8


@pytest.mark.parametrize("seed", range(3))
def test_no_pruned_trial_is_better_than_the_best_complete_one_unless_that_failed(tmp_path: Path, seed: int) -> None:
    """Why the weights of pruned trials need not be kept: who is stopped was behind somebody who went on."""
    spec = small_spec(trials=24, epochs=9, seed=seed, pruner="asha")
    sweep = Simulation(tmp_path, spec)
    sweep.drive()
    trials = sweep.open().trials()
    best = max(t.value or 0 for t in trials if t.state == "complete")
    assert [t for t in trials if t.state == "pruned"]
    rungs_of_failed = [t for t in trials if t.state == "failed" and (t.value or 0) >= best]
    assert rungs_of_failed or all((t.value or 0) <= best for t in trials if t.state == "pruned")
