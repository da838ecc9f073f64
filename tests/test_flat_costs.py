"""A step of a sweep costs the same after many trials as after few: counted, not timed."""

import dataclasses
import os
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from reports.ledger import best_of
from simulation import Simulation, small_spec
from tuning import window
from tuning.conductor import Job, NoJob
from tuning.progress import render
from tuning.runner import _facts
from tuning.sampling import SuccessiveHalving, build_sampler
from tuning.signals import Signals
from tuning.spec import SearchSettings
from tuning.window import Window


class Work:
    """What the storage hands out, what is read of folders, and what is flushed, since the last `taken`."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._done: Counter[str] = Counter()
        one, all_of_them, entries = JournalStorage.get_trial, JournalStorage.get_all_trials, Path.iterdir

        def get_trial(storage: JournalStorage, trial_id: int) -> FrozenTrial:
            self._done["trials"] += 1
            return one(storage, trial_id)

        def get_all_trials(storage: JournalStorage, *args: Any, **named: Any) -> list[FrozenTrial]:
            # Whatever is asked for, each trial there is has been gone through.
            self._done["trials"] += len(storage._replay_result._trials)
            return all_of_them(storage, *args, **named)

        def iterdir(folder: Path):
            for path in entries(folder):
                self._done["files"] += 1
                yield path

        patch.setattr(JournalStorage, "get_trial", get_trial)
        patch.setattr(JournalStorage, "get_all_trials", get_all_trials)
        patch.setattr(Path, "iterdir", iterdir)
        patch.setattr(os, "fsync", lambda _handle: self._done.update(["flushes"]))

    def taken(self) -> Counter[str]:
        done, self._done = self._done, Counter()
        return done


@pytest.mark.parametrize(("sampler", "pruner"), [("random", "none"), ("random", "asha"), ("tpe", "asha")])
def test_a_trial_costs_the_same_after_many_as_after_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str, pruner: str
) -> None:
    monkeypatch.setattr(window, "LATEST", 20)  # else TPE alone takes a minute
    monkeypatch.setattr(window, "BEST", 5)
    spec = small_spec(trials=160, epochs=3, sampler=sampler, pruner=pruner, max_same_errors=1000)
    sweep = Simulation(tmp_path, spec, limit=2)
    work = Work(monkeypatch)
    conductor = sweep.conductor()
    view = SimpleNamespace(name="sweep", metric="val_accuracy", mode="max")
    console = Console(file=(tmp_path / "view.txt").open("w"))
    at_work: list[list[Any]] = []
    costs: list[Counter[str]] = []
    while True:
        while isinstance(job := conductor.next_job(), Job):
            at_work.append([job, 0])
        if job is NoJob.DONE:
            break
        for running in list(at_work):
            running[1] += 1
            if not sweep._one_epoch(conductor, running[0], running[1]):
                at_work.remove(running)
                costs.append(work.taken())
        console.print(render(_facts(view, conductor, Signals())))
    early, late = costs[20:70], costs[-50:]
    for what in ("trials", "files", "flushes"):
        of_early, of_late = (sum(cost[what] for cost in some) / len(some) for some in (early, late))
        assert of_late <= 1.2 * of_early + 1, f"{what} a trial: {of_early:.1f} at first, {of_late:.1f} at the end"
    assert sum(cost["flushes"] for cost in late) / len(late) <= 4, "one for the settings, one for each epoch"


def test_what_is_kept_up_to_date_is_what_the_ledger_says(tmp_path: Path) -> None:
    sweep = Simulation(tmp_path, small_spec(trials=60, max_same_errors=1000), limit=3)
    sweep.drive(stop_after=150)
    conductor = sweep.conductor()
    kept, anew = conductor.ledger, sweep.open()
    while isinstance(job := conductor.next_job(), Job):
        conductor.trial_failed(job.number, "broken") if job.number % 2 else sweep._one_epoch(conductor, job, 1)
        trials = sweep.open().trials()
        assert kept.trials() == anew.trials() == trials
        assert kept.best() == anew.best() == best_of(trials, mode="max")
        assert kept.counts() == anew.counts() == Counter(trial.state for trial in trials)
        in_order = sorted((t for t in trials if t.order is not None), key=lambda t: t.order)
        assert [t.number for t in kept.latest(5)] == [t.number for t in anew.latest(5)]
        assert kept.latest(5) == in_order[-5:]
        if len(conductor.running) == 3:
            break


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_halving_decides_as_from_all_trials_at_once(direction: str) -> None:
    """Whether it followed the study from its first trial or came to it late."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction)
    followed = SuccessiveHalving(grace=1, factor=3)
    sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
    draw = random.Random(3)
    decisions = []
    for number in range(60):
        trial = study.ask()
        for step in range(1, 10):
            trial.report(round(draw.random(), 1), step)
            frozen = study.get_trials(deepcopy=False)[number]
            others = [t.intermediate_values for t in study.get_trials(deepcopy=False) if step in t.intermediate_values]
            better = sum(sign * other[step] > sign * frozen.intermediate_values[step] for other in others)
            expected = step in (1, 3, 9) and better >= max(1, len(others) // 3)
            late = SuccessiveHalving(grace=1, factor=3)
            assert followed.prune(study, frozen) == late.prune(study, frozen) == expected
            decisions.append(expected)
            if expected:
                break
        if number % 4:  # some stay open
            study.tell(trial, state=TrialState.PRUNED) if decisions[-1] else study.tell(trial, number)
    assert 10 < sum(decisions) < 60


def learning_study(trials: int, *, direction: str = "maximize", some_fail: bool = True) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=1))
    for number in range(trials):
        trial = study.ask()
        x = trial.suggest_float("x", 0, 1)
        trial.report(x, 1)
        if number % 5 == 4:
            study.tell(trial, state=TrialState.PRUNED)
        elif some_fail and number % 7 == 6:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 11 != 10:  # which stay open
            study.tell(trial, 1 - abs(x - 0.3))
    return study


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_sampler_sees_the_best_and_the_latest(monkeypatch: pytest.MonkeyPatch, direction: str) -> None:
    monkeypatch.setattr(window, "BEST", 4)
    monkeypatch.setattr(window, "LATEST", 10)
    study = learning_study(100, direction=direction)
    seen = Window(study).get_trials(deepcopy=False)
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    ended = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    failed = study.get_trials(states=(TrialState.FAIL,))
    going_on = study.get_trials(states=(TrialState.RUNNING,))
    sign = -1 if direction == "maximize" else 1
    best = sorted(complete, key=lambda t: (sign * t.value, t.number))[:4]
    assert [t.number for t in seen] == sorted({t.number for t in (*best, *ended[-10:], *failed[-10:], *going_on)})
    assert {t.state for t in Window(study).get_trials(states=(TrialState.PRUNED,))} == {TrialState.PRUNED}


def test_a_sampler_that_came_late_sees_what_one_that_followed_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a resume, though trials ended in another order than they began."""
    monkeypatch.setattr(window, "BEST", 3)
    monkeypatch.setattr(window, "LATEST", 7)
    study = learning_study(0)
    followed = Window(study)
    draw = random.Random(1)
    going_on: list[optuna.Trial] = []
    for _ in range(40):
        going_on += [study.ask() for _ in range(5 - len(going_on))]
        study.tell(going_on.pop(draw.randrange(5)), draw.random())
        numbers = [trial.number for trial in followed.get_trials()]
        assert numbers == [trial.number for trial in Window(study).get_trials()]
    assert len(numbers) < 20


@pytest.mark.parametrize(("startup", "learns"), [(30, True), (200, False)])
def test_a_sampler_that_waits_for_many_trials_sees_as_many(
    monkeypatch: pytest.MonkeyPatch, startup: int, learns: bool
) -> None:
    monkeypatch.setattr(window, "BEST", 2)
    monkeypatch.setattr(window, "LATEST", 10)
    study = learning_study(100)
    study.sampler = build_sampler(SearchSettings(startup_trials=startup))
    near = [abs(study.ask().suggest_float("x", 0, 1) - 0.3) for _ in range(10)]
    assert (sum(near) / 10 < 0.15) == learns


def test_a_short_study_is_sampled_as_optuna_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as all of it is in sight; and what is out of sight is not looked at."""
    study = learning_study(60, some_fail=False)
    search = SearchSettings(sampler="tpe", seed=5)

    def suggestion() -> float:
        study.sampler = build_sampler(dataclasses.replace(search))
        trial = study.ask()
        value = trial.suggest_float("x", 0, 1)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.PRUNED)
        return value

    with monkeypatch.context() as patch:
        patch.setattr("tuning.sampling.Window", lambda study: SimpleNamespace(study=study))
        patch.setattr("tuning.sampling.SeededSampler._seen", lambda _self, study: study)
        whole = [suggestion() for _ in range(3)]
    again = learning_study(60, some_fail=False)
    study = again
    assert [suggestion() for _ in range(3)] == whole


def half_of_them_fail(study: optuna.Study, *, trials: int) -> list[float]:
    """Suggests so many values, the best of which is close to those that fail."""
    values = []
    for number in range(trials):
        study.sampler = build_sampler(SearchSettings(seed=3))
        trial = study.ask()
        values.append(value := trial.suggest_float("x", 0, 1))
        trial.report(value, 1)
        study.tell(trial, value) if value < 0.5 else study.tell(trial, state=TrialState.FAIL)
        assert study.trials[number].state.is_finished()
    return values


def test_what_made_trials_fail_is_not_tried_on_and_on() -> None:
    """Optuna's TPE passes over them; by itself it would draw ever more of such values (all of the last 30 here)."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    values = half_of_them_fail(optuna.create_study(direction="maximize"), trials=60)
    assert sum(value >= 0.5 for value in values[30:]) < 15
    assert max(value for value in values if value < 0.5) > 0.48


@pytest.mark.parametrize("good", [0, 1, 2])
def test_a_trial_that_failed_is_never_among_the_good_ones(good: int) -> None:
    study = optuna.create_study(direction="maximize")
    for number in range(40):
        trial = study.ask()
        trial.suggest_float("x", 0, 1)
        trial.report(1.0, 1)
        if number < good:
            study.tell(trial, 0.1)
        else:
            study.tell(trial, state=TrialState.FAIL)
    seen = Window(study).get_trials()
    failed = [t for t in seen if t.state == TrialState.PRUNED]
    assert len(failed) == min(40 - good, 9 * good), "none where there is nothing to compare them with"
    assert [t.number for t in failed] == list(range(40 - len(failed), 40)), "the latest"
    assert not any(t.intermediate_values for t in failed)
    assert {t.state for t in study.trials} <= {TrialState.COMPLETE, TrialState.FAIL}, "the record is as it was"
