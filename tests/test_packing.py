"""How many trials share a GPU: the decision, and a sweep that follows it through crashes."""

from pathlib import Path

import pytest

from reports.ledger import TrialRecord
from simulation import Crash, CrashingJournal, Simulation, formula, small_spec
from trainables.files import checkpoint_path
from trainables.places import place_at
from trainables.settings import TrialSettings
from tuning.cluster import room_on
from tuning.conductor import CROWDED, Conductor, Job, NoJob
from tuning.packing import WARMING_UP_S, WORTH_S, Packing, fitting, most_a_gpu, share_of
from tuning.retention import Retention
from tuning.rounds import packing_for, rounds, trial_resources
from tuning.spec import ResourceSettings, Spec

NODE = {"CPU": 8.0, "GPU": 1.0}


@pytest.mark.parametrize(
    ("peak", "trials"), [(0.0, 1), (0.01, 83), (0.17, 4), (0.2, 4), (0.21, 3), (0.42, 1), (0.9, 1), (1.1, 1)]
)
def test_as_many_fit_as_a_margin_leaves_room_for(peak: float, trials: int) -> None:
    assert fitting(peak) == trials


@pytest.mark.parametrize("peak", [0.013, 0.1, 0.2, 0.27, 0.41])
def test_the_share_of_what_fits_is_enough_for_it(peak: float) -> None:
    assert share_of(fitting(peak)) >= peak


@pytest.mark.parametrize("trials", range(1, 65))
def test_shares_of_a_gpu_are_no_more_than_one_and_leave_no_room_for_another(trials: int) -> None:
    assert room_on([{"GPU": 1.0}], {"GPU": share_of(trials)}) == trials
    assert round(share_of(trials) * 10_000) * trials <= 10_000


@pytest.mark.parametrize(
    ("nodes", "cpus", "workers", "most"),
    [
        ([NODE], 1.0, None, 8),
        ([NODE], 3.0, None, 2),
        ([NODE], 16.0, None, 1),
        ([NODE], 1.0, 3, 3),
        ([{"CPU": 16.0, "GPU": 4.0}], 1.0, None, 4),
        ([NODE, NODE], 1.0, 5, 3),
        ([{"CPU": 64.0}, NODE, {"CPU": 4.0, "GPU": 2.0}], 1.0, None, 8),
        ([{"CPU": 8.0}], 1.0, 2, 1),
    ],
)
def test_no_more_than_cpus_and_workers_serve(nodes: list[dict], cpus: float, workers: int | None, most: int) -> None:
    assert most_a_gpu(nodes, cpus=cpus, workers=workers) == most


def test_the_largest_peak_measured_alone_decides() -> None:
    packing = Packing(most=8)
    assert (packing.share, packing.changed) == (1.0, False)
    assert packing.measured(0.1, left_s=100)
    assert packing.changed
    assert packing.measured(0.2, left_s=100)
    assert not packing.measured(0.15, left_s=100)
    assert packing.settle() == "a trial took up to 20% of a GPU's memory: 4 at a time on each from here on"
    assert (packing.per_gpu, packing.share, packing.changed) == (4, 0.25, False)
    assert not packing.measured(0.24, left_s=100), "beside others it tells of the limit"
    assert not packing.changed


def test_who_runs_out_gets_twice_as_much_until_it_has_a_gpu_to_itself() -> None:
    packing = Packing(most=8, fits=7)
    seen = [packing.per_gpu]
    while packing.ran_out():
        assert packing.ran_out(), "two at the same time are one step"
        assert packing.changed
        assert "ran out" in packing.settle()
        seen.append(packing.per_gpu)
    assert seen == [7, 3, 1]
    assert not packing.changed


def test_a_trial_that_fills_a_gpu_changes_nothing() -> None:
    packing = Packing(most=8)
    packing.measured(0.8, left_s=100)
    assert not packing.changed
    assert not packing.ran_out()


def test_what_takes_longer_than_it_saves_is_left() -> None:
    packing = Packing(most=8)
    assert packing.measured(0.1, left_s=WORTH_S - 1), "to be kept for a resume all the same"
    assert not packing.changed
    packing.measured(0.1, left_s=WORTH_S + 1)
    assert packing.changed
    packing.settle()
    assert packing.ran_out()
    assert packing.changed, "to step back there is no choice"


def test_a_change_that_pays_is_not_taken_back() -> None:
    """Trials have been stopped for it by then."""
    packing = Packing(most=8)
    packing.measured(0.1, left_s=WORTH_S + 1)
    packing.measured(0.1, left_s=WORTH_S - 1)
    assert packing.changed


@pytest.mark.parametrize(("seconds", "changes"), [(4.0, True), (0.5, False)])
def test_several_gpus_count_together(tmp_path: Path, seconds: float, changes: bool) -> None:
    """Four GPUs, a trial on each and four to come, six epochs each: 11 rounds are left after the first."""
    sweep = Gpu(tmp_path, trials=8, epochs=6, pruner="none")
    conductor = sweep.conductor()
    conductor.limit = 4
    jobs = [conductor.next_job(cold=True) for _ in range(4)]
    goes_on = []
    for epoch in (1, 2):
        for job in jobs:
            assert isinstance(job, Job)
            took = seconds + (WARMING_UP_S if epoch == 1 else 0)
            numbers = {**formula(job.settings, epoch), "seconds": took, "gpu_share": 0.1}
            goes_on.append(conductor.epoch_done(job.number, {**numbers, "checkpoint": f"{job.number} {epoch}"}))
    assert goes_on == [not changes] * 8
    assert conductor.repacking == changes
    assert len(conductor.running) == (0 if changes else 4)


def test_what_memory_allows_is_kept_where_cpus_allow_less() -> None:
    packing = Packing(most=2, fits=6)
    assert (packing.per_gpu, packing.fits) == (2, 6)


class Session:
    """As much of a Ray session as is asked for."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self._nodes = nodes

    @property
    def has_gpu(self) -> bool:
        return any("GPU" in node for node in self._nodes)

    def nodes(self) -> tuple[dict[str, float], ...]:
        return self._nodes


@pytest.mark.parametrize(
    ("given", "node", "resources"),
    [
        ("auto", NODE, {"CPU": 1.0, "GPU": 0.25}),
        ("auto", {"CPU": 8.0}, {"CPU": 1.0}),
        (0.5, NODE, {"CPU": 1.0, "GPU": 0.5}),
        (0.0, NODE, {"CPU": 1.0}),
    ],
)
def test_what_is_known_counts_for_auto_alone(given: object, node: dict, resources: dict) -> None:
    spec = Spec(resources=ResourceSettings(gpus_per_trial=given))  # type: ignore[arg-type]
    packing = packing_for(spec, Session(node), fits=4, left=10)  # type: ignore[arg-type]
    assert trial_resources(spec, packing) == resources


class Gpu(Simulation):
    """A sweep on one GPU of eight places, whose trials need more memory the higher their learning rate."""

    def __init__(self, folder: Path, **search: object) -> None:
        super().__init__(folder, small_spec(**search))
        self.lines: list[str] = []
        self.shares: list[float] = []
        self.seconds = {"first": 20.0, "later": 20.0}  # an epoch takes: the first of a process, any other
        self.cold = True

    def need(self, settings: TrialSettings) -> float:
        return 0.05 if settings.lr < 0.006 else 0.2 if settings.lr < 0.02 else 0.8

    def conductor(self) -> Conductor:
        ledger = self.open(writable=True)
        self.packing = Packing(most=8, fits=ledger.fits_a_gpu())
        return Conductor(
            ledger,
            self.spec,
            retention=Retention(place_at(str(self.folder)), keep=self.spec.search.keep, mode="max"),
            limit=self.packing.per_gpu,
            clock=lambda: self.now,
            packing=self.packing,
        )

    def next_job(self, conductor: Conductor) -> Job | NoJob:
        return conductor.next_job(cold=self.cold)

    def drive(self, *, stop_after: int | None = None) -> Conductor:
        conductor = self.conductor()

        def run() -> None:
            self.shares.append(self.packing.share)
            self.work(conductor, stop_after=stop_after)

        rounds(conductor, run, places=lambda: self.packing.per_gpu, say=self.lines.append)
        return conductor

    def _one_epoch(self, conductor: Conductor, job: Job, epoch: int) -> bool:
        need = self.need(job.settings)
        if need > self.packing.share:
            conductor.out_of_gpu_memory(job.number, "CUDA out of memory")
            return False
        self.epochs_run.append((job.number, epoch))
        checkpoint = checkpoint_path(job.number, epoch)
        path = self.folder / checkpoint
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(epoch))
        measured = need if self.packing.per_gpu == 1 else self.packing.share
        seconds = self.seconds["first" if self.cold else "later"]
        self.cold = False
        numbers = {**formula(job.settings, epoch), "seconds": seconds, "gpu_share": measured, "checkpoint": checkpoint}
        return conductor.epoch_done(job.number, numbers)

    def trials(self) -> list[TrialRecord]:
        return self.open().trials()


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a machine that stops."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


def check(sweep: Gpu) -> None:
    """All trials have come to their end, and no epoch is missing."""
    rows = sweep.trials()
    assert [row.number for row in rows] == list(range(sweep.spec.search.trials))
    assert all(row.state in ("complete", "pruned") for row in rows), "to be crowded is no failure"
    for row in rows:
        assert [epoch["epoch"] for epoch in row.epochs] == list(range(1, len(row.epochs) + 1))


def test_a_sweep_packs_its_trials_and_steps_back(tmp_path: Path) -> None:
    sweep = Gpu(tmp_path, retries=0)
    sweep.drive()
    check(sweep)
    assert len(sweep.epochs_run) == len(set(sweep.epochs_run)), "a change of places costs no epoch"
    # Sixteen of the first trial would fit, and eight are of use.
    assert sweep.shares == [1.0, 0.125, 0.25, 0.5, 1.0]
    assert sweep.lines[0] == "a trial took up to 5% of a GPU's memory: 8 at a time on each from here on"
    assert sweep.lines[1] == "a trial ran out of GPU memory: 4 at a time on each from here on"
    crowded = [row for row in sweep.trials() if row.attempts]
    assert crowded
    assert all(set(row.attempts) == {CROWDED} and sweep.need(TrialSettings(**row.settings)) > 0.1 for row in crowded)
    again = Gpu(tmp_path, retries=0, trials=14)
    again.drive()
    check(again)
    assert again.shares == [1.0], "a resume begins with what was learnt"


@pytest.mark.parametrize(
    ("later", "shares"),
    [(WORTH_S / 60, [1.0]), (WORTH_S / 20, [1.0, 0.125])],
)
def test_places_are_not_made_anew_for_a_short_rest(tmp_path: Path, later: float, shares: list[float]) -> None:
    """Eight trials of six epochs: what the first epoch takes beside its work does not count, and the second tells."""
    sweep = Gpu(tmp_path, trials=8, epochs=6, pruner="none")
    sweep.need = lambda settings: 0.05  # type: ignore[method-assign]
    sweep.seconds = {"first": later + WARMING_UP_S * 0.9, "later": later}
    sweep.drive()
    check(sweep)
    assert sweep.shares == shares
    assert sweep.open().fits_a_gpu() == 16, "a resume begins with what was learnt"


def test_with_a_gpu_to_itself_out_of_memory_is_a_failure(tmp_path: Path) -> None:
    sweep = Gpu(tmp_path, trials=2)
    sweep.need = lambda settings: 1.2  # type: ignore[method-assign]
    sweep.drive()
    failed = ("failed", "CUDA out of memory", ())
    assert [(row.state, row.error, row.attempts) for row in sweep.trials()] == [failed] * 2


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_crash_at_any_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    journal = CrashingJournal(monkeypatch)
    whole = tmp_path / "whole"
    whole.mkdir()
    Gpu(whole, trials=6, epochs=4).drive()
    for write in range(1, journal.writes - 2, 3):
        folder = tmp_path / f"{how}-{write}"
        folder.mkdir()
        sweep = Gpu(folder, trials=6, epochs=4)
        journal.at(write, how)
        with pytest.raises(Crash):
            sweep.drive()
        journal.never()
        recorded = {(row.number, epoch["epoch"]) for row in sweep.trials() for epoch in row.epochs}
        known, before = sweep.open().fits_a_gpu(), len(sweep.epochs_run)
        sweep.drive()
        check(sweep)
        assert not recorded & set(sweep.epochs_run[before:]), f"crash {how} write {write}"
        assert known is None or sweep.open().fits_a_gpu() <= known


def test_a_stop_in_the_middle_is_gone_on_with(tmp_path: Path) -> None:
    whole = Gpu(tmp_path, trials=6)
    whole.drive()
    for after in range(1, len(whole.epochs_run) - 4, 2):
        folder = tmp_path / str(after)
        folder.mkdir()
        sweep = Gpu(folder, trials=6)
        stopped = sweep.drive(stop_after=after)
        assert stopped.outcome() is None
        sweep.drive()
        check(sweep)
        assert len(sweep.epochs_run) == len(set(sweep.epochs_run)), f"stopped after {after} epochs"
