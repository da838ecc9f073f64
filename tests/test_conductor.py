"""The sweep's decisions, without Ray: exact after a crash at any write, and right with several workers."""

import os
from pathlib import Path

import optuna
import pytest

from reports.database import Database
from simulation import SPACE, Crash, CrashingJournal, Simulation, formula, small_spec
from tuning.conductor import CROWDED, NODE_LOST, Job, NoJob
from tuning.sampling import build_sampler, suggest
from tuning.space import Choice, Float, Int, distribution, is_active
from tuning.spec import SearchSettings, Spec

GRID = {
    "freeze": Choice(("none", "layer2", 3)),
    "nesterov": Choice((False, True), when={"freeze": ("none",)}),
    "batch_size": Int(8, 24, step=8),
    "momentum": Float(0.1, 0.9, step=0.4),
}


def grid_spec(*, trials: int) -> Spec:
    """36 combinations, some of which fail."""
    search = SearchSettings(trials=trials, sampler="grid", max_same_errors=1000)
    return Spec(trial={"epochs": 3, "lr": 0.004}, space=GRID, search=search)


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated crash is of the process, not of the machine; thousands of flushes only cost time."""
    monkeypatch.setattr("os.fsync", lambda handle: None)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> CrashingJournal:
    return CrashingJournal(monkeypatch)


def uninterrupted(tmp_path: Path, **search: object) -> Simulation:
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = Simulation(folder, small_spec(**search))
    whole.drive()
    return whole


def test_a_sweep_runs_its_trials_and_prunes(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec())
    conductor, told = sweep.conductor(), []
    conductor.watch = lambda trial: told.append((trial.number, trial.state))
    sweep.work(conductor)
    states = [row["state"] for row in sweep.table()]
    assert len(states) == 12
    assert {"complete", "pruned", "failed"} <= set(states)
    assert told == list(enumerate(states)), "each of them once, when it has ended"


@pytest.mark.parametrize("pruner", ["asha", "median"])
def test_every_trial_gets_its_grace(tmp_path: Path, pruner: str) -> None:
    search = {"pruner": pruner, "grace_epochs": 3, "reduction_factor": 2, "startup_trials": 2}
    sweep = Simulation(tmp_path, small_spec(trials=16, sampler="random", seed=2, **search))
    sweep.drive()
    pruned = {len(row["epochs"]) for row in sweep.table() if row["state"] == "pruned"}
    assert min(pruned) == 3
    assert pruner == "median" or pruned == {3, 6}, "and twice as many before the next decision"


def test_the_median_waits_for_so_many_trials(tmp_path: Path) -> None:
    search = {"pruner": "median", "sampler": "random", "seed": 2, "startup_trials": 8}
    sweep = Simulation(tmp_path, small_spec(trials=30, **search))
    sweep.drive()
    states = [row["state"] for row in sweep.table()]
    assert states[: states.index("pruned")].count("complete") >= 8


@pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_suggestion_is_what_the_space_asks_for(sampler: str) -> None:
    """Its limits, steps and scales, by random draws and learnt ones."""
    space = SPACE | {
        "weight_decay": Float(0.0, 0.3, step=0.1),
        "batch_size": Int(8, 64, step=8),
        "step_size": Int(1, 7, log=True),
        "image_size": Int(30, 33),
    }
    study = optuna.create_study(sampler=build_sampler(SearchSettings(sampler=sampler, startup_trials=4)))
    for number in range(12):
        params = suggest(trial := study.ask(), space)
        assert params.keys() == {name for name, dimension in space.items() if is_active(dimension, params)}
        assert study.trials[number].params == params
        assert study.trials[number].distributions == {name: distribution(space[name]) for name in params}
        study.tell(trial, params["lr"])


@pytest.mark.parametrize("spec", [small_spec(trials=8), grid_spec(trials=8)], ids=["tpe", "grid"])
@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_crash_at_any_write_changes_nothing(tmp_path: Path, journal: CrashingJournal, how: str, spec: Spec) -> None:
    whole = Simulation(tmp_path, spec)
    whole.drive()
    expected, files, writes = whole.table(), whole.files(), journal.writes
    for write in range(3, writes + 1):  # the first ones make the study, before the run has its name
        folder = tmp_path / f"{how}-{write}"
        folder.mkdir()
        crashed = Simulation(folder, spec)
        journal.at(write - 2, how)
        with pytest.raises(Crash):
            crashed.drive()
        journal.never()
        crashed.drive()
        assert crashed.table() == expected, f"crash {how} write {write}"
        assert crashed.files() == files, f"crash {how} write {write}"
        again = len(crashed.epochs_run) - len(set(crashed.epochs_run))
        assert again <= 1, f"crash {how} write {write}: {again} epochs were done again"


@pytest.mark.parametrize(("workers", "database"), [(1, False), (3, False), (2, True)])
def test_a_grid_takes_each_combination_once(tmp_path: Path, workers: int, database: bool) -> None:
    """Whatever fails, is pruned or interrupted on the way; what is left to do in it is random."""
    place = Database(f"sqlite:///{tmp_path / 'sweeps.db'}", study="one") if database else None
    sweep = Simulation(tmp_path, grid_spec(trials=40), limit=workers, database=place)
    sweep.drive(stop_after=20)
    sweep.drive()
    rows = sweep.table()
    assert {row["state"] for row in rows} == {"complete", "pruned", "failed"}
    taken = [tuple(row["params"].items()) for row in rows]
    assert len(set(taken[:36])) == 36
    assert set(taken[36:]) <= set(taken[:36]), "there were no more"


@pytest.mark.parametrize("how", ["before", "torn", "after"])
def test_a_crash_among_the_first_trials_changes_nothing(tmp_path: Path, journal: CrashingJournal, how: str) -> None:
    """What a point of `search.first` leaves out is suggested as it would have been."""

    def begun(name: str) -> Simulation:
        folder = tmp_path / name
        folder.mkdir()
        sweep = Simulation(folder, small_spec(trials=4, epochs=2))
        study = sweep.open(writable=True).study
        study.enqueue_trial({"lr": 0.004})
        study.enqueue_trial({"freeze": "layer2", "momentum": 0.5})
        return sweep

    whole = begun("whole")
    before = journal.writes
    whole.drive()
    expected = whole.table()
    assert [expected[0]["params"]["lr"], expected[1]["params"]["momentum"]] == [0.004, 0.5]
    for write in range(1, journal.writes - before + 1):
        crashed = begun(f"{how}-{write}")
        journal.at(write, how)
        with pytest.raises(Crash):
            crashed.drive()
        journal.never()
        crashed.drive()
        assert crashed.table() == expected, f"crash {how} write {write}"


def test_crash_after_crash_changes_nothing(tmp_path: Path, journal: CrashingJournal) -> None:
    whole = uninterrupted(tmp_path)
    folder = tmp_path / "often"
    folder.mkdir()
    crashed = Simulation(folder, small_spec(), seed=5)
    crashes = 0
    while True:
        journal.at(crashed.random.randint(1, 9), crashed.random.choice(["before", "torn", "after"]))
        try:
            crashed.drive()
            break
        except Crash:
            crashes += 1
    assert crashes >= 20
    assert crashed.table() == whole.table()


@pytest.mark.parametrize("seed", range(4))
def test_with_two_workers_nothing_is_lost_doubled_or_run_again(
    tmp_path: Path, journal: CrashingJournal, seed: int
) -> None:
    sweep = Simulation(tmp_path, small_spec(), limit=2, seed=seed)
    crashes = 0
    while True:
        journal.at(sweep.random.randint(1, 25), sweep.random.choice(["before", "torn", "after"]))
        before = {(row["number"], epoch["epoch"]) for row in sweep.table() for epoch in row["epochs"]}
        done_before = len(sweep.epochs_run)
        try:
            sweep.drive()
            crashed = False
        except Crash:
            crashed = True
            crashes += 1
        fresh = sweep.epochs_run[done_before:]
        assert not before & set(fresh), f"seed {seed}: recorded epochs were run again"
        if not crashed:
            break
    rows = sweep.table()
    assert crashes >= 3
    assert [row["number"] for row in rows] == list(range(12))
    assert all(row["state"] in ("complete", "pruned", "failed") for row in rows)
    for row in rows:
        assert [epoch["epoch"] for epoch in row["epochs"]] == list(range(1, len(row["epochs"]) + 1))


def test_a_stop_at_any_epoch_changes_nothing(tmp_path: Path) -> None:
    whole = uninterrupted(tmp_path)
    left_running = 0
    for epochs in range(1, len(whole.epochs_run)):
        folder = tmp_path / f"stopped-{epochs}"
        folder.mkdir()
        stopped = Simulation(folder, small_spec())
        stopped.drive(stop_after=epochs)
        left_running += [row["state"] for row in stopped.table()].count("running")
        stopped.drive()
        assert stopped.table() == whole.table()
        assert stopped.epochs_run == whole.epochs_run, "a stop costs no epoch"
    assert left_running >= 10


def test_a_stop_between_two_trials_is_no_end(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=2, epochs=1, hours=1.0))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    assert not sweep._one_epoch(conductor, job, 1)
    conductor.stop("SIGINT")
    sweep.now += 4000.0  # it takes so long to stop
    assert conductor.next_job() is NoJob.DONE
    assert (conductor.stopping, conductor.outcome()) == ("SIGINT", None)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_finished_sweep_is_extended_with_its_history(tmp_path: Path, sampler: str) -> None:
    whole = uninterrupted(tmp_path, trials=20, sampler=sampler)
    folder = tmp_path / "extended"
    folder.mkdir()
    sweep = Simulation(folder, small_spec(trials=8, sampler=sampler))
    assert sweep.drive().outcome() == "trials"
    sweep.spec = small_spec(trials=20, sampler=sampler)
    sweep.drive()
    assert sweep.table() == whole.table()
    suggestions = [tuple(row["params"].items()) for row in sweep.table()]
    assert len(set(suggestions)) == 20


def test_a_lost_worker_is_replaced_so_many_times(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=1, retries=2))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    sweep._one_epoch(conductor, job, 1)
    for _ in range(2):
        conductor.worker_lost(0, "killed")
        job = conductor.next_job()
        assert isinstance(job, Job)
        assert job.checkpoint == "trials/0/epoch-00001.safetensors"
    conductor.worker_lost(0, "killed again")
    assert conductor.next_job() is NoJob.DONE
    trial = sweep.open().trials()[0]
    assert (trial.state, trial.error) == ("failed", "its worker died 3 times; the last time: killed again")


def test_a_lost_node_or_a_crowded_gpu_is_no_fault_of_the_trials(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=1, retries=0))
    conductor = sweep.conductor()
    for reason in (NODE_LOST, CROWDED, NODE_LOST):
        assert isinstance(conductor.next_job(), Job)
        conductor.worker_lost(0, reason)
    assert isinstance(conductor.next_job(), Job)
    conductor.worker_lost(0, "killed")
    assert sweep.open().trials()[0].error == "its worker died 1 time; the last time: killed"


def test_what_is_heard_of_a_trial_after_its_end_changes_nothing(tmp_path: Path) -> None:
    """A process may die, or report, when its trial is over already."""
    sweep = Simulation(tmp_path, small_spec(trials=2, epochs=1, retries=0))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    assert not sweep._one_epoch(conductor, job, 1)
    before = sweep.table()
    conductor.worker_lost(0, "killed")
    conductor.trial_failed(0, "too late")
    conductor.out_of_gpu_memory(0, "too late")
    assert not conductor.epoch_done(0, {**formula(job.settings, 2), "checkpoint": "x"})
    assert sweep.table() == before
    sweep.drive()
    assert len(sweep.table()) == 2


def test_a_disk_that_fails_stops_the_sweep_and_no_trial(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=3), limit=2)
    conductor = sweep.conductor()
    first, second = conductor.next_job(), conductor.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    conductor.storage_failed("disk full")
    conductor.storage_failed("disk still full")
    assert conductor.storage_error == "disk full"
    assert not sweep._one_epoch(conductor, first, 1)
    conductor.worker_lost(1, "ended with the others")
    assert conductor.next_job() is NoJob.DONE
    assert conductor.outcome() is None
    sweep.drive()
    assert [row["attempts"] for row in sweep.table()] == [()] * 3


def test_lost_workers_count_over_a_crash(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=1, retries=1))
    conductor = sweep.conductor()
    conductor.next_job()
    conductor.worker_lost(0, "first")
    conductor = sweep.conductor()
    conductor.next_job()
    conductor.worker_lost(0, "second")
    assert sweep.open().trials()[0].state == "failed"


def test_the_same_error_five_times_in_a_row_stops_the_sweep(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=50))
    conductor = sweep.conductor()
    for number in range(5):
        job = conductor.next_job()
        assert isinstance(job, Job)
        conductor.trial_failed(number, "no such file")
    assert conductor.next_job() is NoJob.DONE
    assert conductor.outcome() == "errors"
    # and it does not stop again at once when it is resumed
    ledger = sweep.open(writable=True)
    ledger.forgive_errors()
    conductor = sweep.conductor()
    assert isinstance(conductor.next_job(), Job)
    conductor.trial_failed(5, "no such file")
    assert isinstance(conductor.next_job(), Job)


def test_different_errors_do_not_stop_it(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=50))
    conductor = sweep.conductor()
    for number in range(20):
        assert isinstance(conductor.next_job(), Job)
        conductor.trial_failed(number, f"error {number % 2}")


def test_hours_spent_count_after_a_resume(tmp_path: Path) -> None:
    hours = 30 / 3600  # thirty epochs of the simulation, one second each
    sweep = Simulation(tmp_path, small_spec(trials=50, hours=hours))
    sweep.drive(stop_after=10)
    sweep.now += 1e6  # time between two runs does not count
    conductor = sweep.drive()
    assert conductor.outcome() == "hours"
    assert 20 <= len(sweep.epochs_run) <= 31
    assert sweep.conductor().next_job() is NoJob.DONE


def test_what_is_enqueued_by_hand_is_run(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=2))
    point = {"lr": 0.004, "momentum": 0.5, "freeze": "layer2"}
    sweep.open(writable=True).study.enqueue_trial(point)
    sweep.drive()
    assert sweep.table()[0]["params"] == point


def test_best_epoch_is_the_score_and_its_checkpoint_is_kept(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=6, pruner="none", keep=2))
    sweep.drive()
    trials = [trial for trial in sweep.open().trials() if trial.state == "complete"]
    for trial in trials:
        values = [formula(_settings(sweep, trial), epoch)["val_accuracy"] for epoch in range(1, 10)]
        assert trial.value == max(values)
        assert trial.best_epoch == values.index(max(values)) + 1
    best = sorted(trials, key=lambda t: (-t.value, t.number))[:2]
    assert sweep.files() == sorted(t.checkpoint(t.best_epoch) for t in best)


def _settings(sweep: Simulation, trial):
    return sweep.spec.settings_for(trial.params)


def test_a_failed_write_leaves_the_ledger_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk in the middle of a line; what else is written by the same process must not join that line."""
    sweep = Simulation(tmp_path, small_spec(trials=4), limit=2)
    conductor = sweep.conductor()
    first, second = conductor.next_job(), conductor.next_job()
    assert isinstance(first, Job)
    assert isinstance(second, Job)
    assert sweep._one_epoch(conductor, first, 1)
    before = sweep.table()

    original, journal = os.fsync, tmp_path / "journal.log"

    def full(handle: int) -> None:
        with journal.open("rb+") as file:
            file.truncate(journal.stat().st_size - 10)  # half of what was written got there
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        sweep._one_epoch(conductor, first, 2)
    monkeypatch.setattr("os.fsync", original)
    with pytest.raises(OSError, match="an earlier write to the ledger failed"):
        sweep._one_epoch(conductor, second, 1)
    assert sweep.table() == before
    sweep.drive()
    assert all(row["state"] in ("complete", "pruned", "failed") for row in sweep.table())


def test_a_vanished_folder_is_an_error_of_the_disk(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    sweep = Simulation(run, small_spec(trials=2))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    run.rename(tmp_path / "unplugged")
    with pytest.raises(OSError, match="journal"):
        conductor.epoch_done(0, {**formula(job.settings, 1), "checkpoint": "x"})
    assert not run.exists(), "no second, empty ledger is begun"
    (tmp_path / "unplugged").rename(run)
    sweep.drive()
    assert all(row["state"] in ("complete", "pruned", "failed") for row in sweep.table())


def test_workers_that_die_with_the_sweep_do_not_count_as_lost(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=1, retries=0))
    conductor = sweep.conductor()
    conductor.next_job()
    conductor.stop("SIGTERM")
    conductor.worker_lost(0, "killed with its group")
    assert conductor.next_job() is NoJob.DONE
    (trial,) = sweep.open().trials()
    assert (trial.state, trial.attempts) == ("running", ())


def test_hours_count_even_when_no_epoch_ends(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=50, hours=1.0))
    conductor = sweep.conductor()
    assert isinstance(conductor.next_job(), Job)
    for _ in range(30):  # half an hour of one long epoch, then the driver is killed
        sweep.now += 60.0
        assert conductor.next_job() is NoJob.WAIT
    conductor = sweep.conductor()
    assert 1790 <= conductor.elapsed_s() <= 1810


def test_hours_that_end_with_the_last_trial_leave_a_finished_sweep(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=1, epochs=2, hours=1.0))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    assert sweep._one_epoch(conductor, job, 1)
    sweep.now += 4000.0
    sweep._one_epoch(conductor, job, 2)
    assert conductor.next_job() is NoJob.DONE
    assert conductor.outcome() == "trials"


def test_hours_end_a_sweep_at_the_end_of_an_epoch(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=50, hours=1.0))
    conductor = sweep.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    sweep.now += 4000.0
    assert not sweep._one_epoch(conductor, job, 1)
    assert conductor.next_job() is NoJob.DONE
    assert conductor.outcome() == "hours"
    assert sweep.table()[0]["state"] == "running"


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    """A run may come from a stranger."""
    precious = tmp_path / "precious"
    (precious / "7").mkdir(parents=True)
    (precious / "7" / "thesis.txt").write_text("five years")
    run = tmp_path / "run"
    run.mkdir()
    sweep = Simulation(run, small_spec(trials=2))
    (run / "trials").symlink_to(precious)
    sweep.conductor()
    (run / "trials").unlink()
    (run / "trials").mkdir()
    (run / "trials" / "7").symlink_to(precious / "7")
    (run / "trials" / "notes").mkdir()
    sweep.drive()
    assert (precious / "7" / "thesis.txt").exists()
    assert (run / "trials" / "notes").exists()
