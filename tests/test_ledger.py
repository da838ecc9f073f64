"""The ledger keeps what was recorded, whatever happens between two writes, and a reader changes nothing."""

import dataclasses
import gc
import json
import math
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from reports.ledger import JOURNAL, Ledger, TrialRecord, best_of
from reports.ranking import gap_to_second, ranked
from runs import HOSTILE, SPACE, Planned, add_trial, make_epoch, make_run
from trainables.errors import UserError
from trainables.settings import TrialSettings
from tuning.space import distribution


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path, metric="val_accuracy", mode="max")


def begin(ledger: Ledger) -> int:
    return add_trial(ledger, Planned("running"), settings=TrialSettings())


def reopened(ledger: Ledger, folder: Path, *, writable: bool = False) -> Ledger:
    return Ledger.open(folder, metric=ledger.metric, mode=ledger.mode, writable=writable)


def epoch(number: int, value: float, *, trial: int = 0) -> dict:
    return make_epoch(trial, number, val_accuracy=value)


def test_a_trial_reads_back_as_it_was_written(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    first, second = epoch(1, 0.25), epoch(2, 0.5)
    ledger.record_epoch(number, first)
    ledger.record_epoch(number, second)
    ledger.finish(number, "complete")
    trial = reopened(ledger, tmp_path).trial(number)
    assert trial.state == "complete"
    assert trial.epochs == (first, second)
    assert (trial.value, trial.best_epoch, trial.seconds) == (0.5, 2, 3.0)
    assert trial.settings == dataclasses.asdict(TrialSettings())
    assert trial.params == {"lr": 0.01, "freeze": "none", "nesterov": False}
    assert trial.distributions == {name: distribution(SPACE[name]) for name in trial.params}
    assert trial.checkpoint(2) == second["checkpoint"]
    assert trial.checkpoint(3) is None
    assert trial.started is not None
    assert trial.ended is not None
    assert trial.started <= trial.ended


@pytest.mark.parametrize(("mode", "metric", "best"), [("max", "val_accuracy", 2), ("min", "val_loss", 3)])
def test_value_is_the_best_epoch_s(tmp_path: Path, mode: str, metric: str, best: int) -> None:
    ledger = Ledger.create(tmp_path, metric=metric, mode=mode)
    number = begin(ledger)
    for step, value in enumerate([0.5, 0.9, 0.2, 0.9, 0.2], start=1):
        ledger.record_epoch(number, make_epoch(0, step, **{metric: value}))
    trial = ledger.trial(number)
    assert (trial.value, trial.best_epoch) == ((0.9, 2) if mode == "max" else (0.2, 3))
    assert trial.best_epoch == best
    ledger.finish(number, "complete")
    assert ledger.study.best_value == trial.value
    expected = "MAXIMIZE" if mode == "max" else "MINIMIZE"
    assert ledger.study.direction.name == expected


@pytest.mark.parametrize(
    ("losses", "best"), [((0.4, 0.5, 0.3, 0.3), 3), ((math.nan, 0.1, 0.6, 0.5), 4), ((0.5,) * 4, 1)]
)
def test_of_equal_epochs_the_best_has_the_lowest_loss(ledger: Ledger, losses: tuple[float, ...], best: int) -> None:
    number = begin(ledger)
    for step, (value, loss) in enumerate(zip((0.9, 0.5, 0.9, 0.9), losses, strict=True), start=1):
        ledger.record_epoch(number, make_epoch(number, step, val_accuracy=value, val_loss=loss))
    trial = ledger.trial(number)
    assert (trial.value, trial.best_epoch) == (0.9, best)
    assert ledger.study.trials[number].intermediate_values == dict.fromkeys((1, 2, 3, 4), 0.9), "the pruner sees values"


@pytest.mark.parametrize(("mode", "told"), [("max", (0.5, 0.9, 0.9, 0.9, 1.0)), ("min", (0.5, 0.5, 0.5, 0.2, 0.2))])
def test_the_study_is_told_the_best_value_so_far(tmp_path: Path, mode: str, told: tuple[float, ...]) -> None:
    """Which is what the pruner goes by. An epoch without a number loses nothing of what was reached before."""
    ledger = Ledger.create(tmp_path, metric="val_f1", mode=mode)
    number = begin(ledger)
    for step, value in enumerate([0.5, 0.9, math.nan, 0.2, 1.0], start=1):
        ledger.record_epoch(number, make_epoch(number, step, val_f1=value))
    assert ledger.study.trials[number].intermediate_values == dict(enumerate(told, start=1))


def test_an_epoch_seen_twice_keeps_its_first_value(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    assert ledger.record_epoch(number, epoch(1, 0.5))
    assert not ledger.record_epoch(number, epoch(1, 0.75))
    trial = reopened(ledger, tmp_path).trial(number)
    assert [e["val_accuracy"] for e in trial.epochs] == [0.5]
    assert ledger.study.trials[number].intermediate_values == {1: 0.5}


def test_a_crash_between_the_epoch_and_its_report_is_repaired(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    ledger.record_epoch(number, epoch(1, 0.5))
    ledger.handle(number).set_user_attr("epoch:00002", epoch(2, 0.75))  # and the driver dies here
    after = reopened(ledger, tmp_path, writable=True)
    assert after.trial(number).value == 0.75
    assert after.study.trials[number].intermediate_values == {1: 0.5}
    assert after.record_epoch(number, epoch(3, 0.6))
    assert after.study.trials[number].intermediate_values == {1: 0.5, 2: 0.75, 3: 0.75}

    after.handle(number).set_user_attr("epoch:00004", epoch(4, 0.8))
    again = reopened(ledger, tmp_path, writable=True)
    assert not again.record_epoch(number, epoch(4, 0.8))  # the resumed trial reports the epoch anew
    assert again.study.trials[number].intermediate_values[4] == 0.8


def test_a_crash_between_the_error_and_the_end_lets_the_trial_go_on(ledger: Ledger) -> None:
    number = begin(ledger)
    ledger.handle(number).set_user_attr("error", "disk full")
    assert ledger.trial(number).state == "running"
    assert ledger.trial(number).error is None
    ledger.record_epoch(number, epoch(1, 0.5))
    ledger.finish(number, "complete")
    assert ledger.trial(number).error is None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_never_best(ledger: Ledger, tmp_path: Path, bad: float) -> None:
    number = begin(ledger)
    ledger.record_epoch(number, epoch(1, bad))
    assert ledger.trial(number).value is None
    ledger.record_epoch(number, epoch(2, 0.5))
    ledger.record_epoch(number, epoch(3, bad))
    trial = reopened(ledger, tmp_path).trial(number)
    assert (trial.value, trial.best_epoch) == (0.5, 2)
    ledger.finish(number, "complete")
    assert ledger.trial(number).state == "complete"


def test_a_trial_with_nothing_but_nan_ends_as_failed(ledger: Ledger) -> None:
    number = begin(ledger)
    ledger.record_epoch(number, epoch(1, math.nan))
    ledger.finish(number, "failed", error="diverged")
    assert (ledger.trial(number).state, ledger.trial(number).error) == ("failed", "diverged")
    assert ledger.best() is None


def test_ending_twice_changes_nothing(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    ledger.record_epoch(number, epoch(1, 0.5))
    ledger.finish(number, "pruned")
    before = (tmp_path / JOURNAL).read_bytes()
    ledger.finish(number, "failed", error="too late")
    ledger.finish(number, "complete")
    assert (tmp_path / JOURNAL).read_bytes() == before
    assert ledger.trial(number).state == "pruned"
    assert ledger.study.trials[number].state == TrialState.PRUNED


def test_attempts_add_up(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    assert ledger.record_attempt(number, "killed") == ["killed"]
    assert ledger.record_attempt(number, "out of memory") == ["killed", "out of memory"]
    assert reopened(ledger, tmp_path).trial(number).attempts == ("killed", "out of memory")


def test_what_is_unfinished_and_counted(ledger: Ledger) -> None:
    done, open_ = begin(ledger), begin(ledger)
    ledger.record_epoch(done, epoch(1, 0.5))
    ledger.finish(done, "complete")
    ledger.study.enqueue_trial({"lr": 0.1})
    assert ledger.unfinished() == [open_]
    assert ledger.count() == 2
    begun = ledger.study.ask().number  # takes the enqueued one, and the driver dies before its settings are recorded
    assert ledger.unfinished() == [open_, begun]
    assert [trial.number for trial in ledger.trials()] == [done, open_]


def test_outcome_and_time(ledger: Ledger, tmp_path: Path) -> None:
    assert ledger.outcome() is None
    assert ledger.elapsed_s() == 0
    ledger.record_outcome("trials")
    assert reopened(ledger, tmp_path).outcome() == "trials"
    ledger.record_outcome(None)
    assert reopened(ledger, tmp_path).outcome() is None
    for number in (begin(ledger), begin(ledger)):
        ledger.record_epoch(number, epoch(1, 0.5, trial=number))
    assert ledger.elapsed_s() == 11.0


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_come_back_as_they_were(ledger: Ledger, tmp_path: Path, text: str) -> None:
    number = begin(ledger)
    ledger.finish(number, "failed", error=text)
    assert reopened(ledger, tmp_path).trial(number).error == text


@pytest.mark.parametrize("torn", ['{"op_code": 5, "wor', '{"op_code": 5}', "\x00\x00\x00", "é"])
def test_a_torn_last_line_is_passed_over_and_then_cut_off(ledger: Ledger, tmp_path: Path, torn: str) -> None:
    number = begin(ledger)
    ledger.record_epoch(number, epoch(1, 0.5))
    journal = tmp_path / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + torn.encode()[: -1 or None])
    damaged = journal.read_bytes()

    reader = reopened(ledger, tmp_path)
    assert reader.trial(number).value == 0.5
    assert journal.read_bytes() == damaged

    writer = reopened(ledger, tmp_path, writable=True)
    assert journal.read_bytes() == whole
    writer.record_epoch(number, epoch(2, 0.75))
    assert reopened(ledger, tmp_path).trial(number).value == 0.75


def test_every_place_where_a_crash_can_tear_the_journal(tmp_path: Path) -> None:
    """Cut anywhere, the ledger holds a prefix of what was recorded, and can be written on."""
    origin = tmp_path / "origin"
    origin.mkdir()
    ledger = Ledger.create(origin, metric="val_accuracy", mode="max")
    number = begin(ledger)
    started = len((origin / JOURNAL).read_bytes())
    for step in (1, 2):
        ledger.record_epoch(number, epoch(step, step / 4))
    ledger.finish(number, "complete")
    whole = (origin / JOURNAL).read_bytes()
    epochs = ledger.trial(number).epochs
    for cut in range(started, len(whole), 29):
        run = tmp_path / str(cut)
        run.mkdir()
        (run / JOURNAL).write_bytes(whole[:cut])
        after = reopened(ledger, run, writable=True)
        trial = after.trial(number)
        assert trial.epochs == epochs[: len(trial.epochs)]
        for step in (1, 2):
            after.record_epoch(number, epoch(step, step / 4))
        after.finish(number, "complete")
        assert after.trial(number).epochs == epochs
        assert after.study.trials[number].intermediate_values == {1: 0.25, 2: 0.5}


def test_a_reader_changes_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()}
    reader = Ledger.open(run, metric="val_accuracy", mode="max")
    reader.trials()
    reader.best()
    with pytest.raises(RuntimeError, match="opened to read"):
        reader.record_outcome("trials")
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.iterdir()} == before


def test_a_reader_sees_what_is_written_meanwhile(ledger: Ledger, tmp_path: Path) -> None:
    number = begin(ledger)
    reader = reopened(ledger, tmp_path)
    assert reader.trial(number).epochs == ()
    ledger.record_epoch(number, epoch(1, 0.5))
    assert reader.trial(number).value == 0.5


def test_no_ledger_or_a_broken_one_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ledger"):
        Ledger.open(tmp_path, metric="val_accuracy", mode="max")
    assert not list(tmp_path.iterdir())
    (tmp_path / JOURNAL).write_text("")
    with pytest.raises(UserError, match="cannot be read"):
        Ledger.open(tmp_path, metric="val_accuracy", mode="max")
    lines = (make_run(tmp_path) / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join([*lines[:3], "not json\n", *lines[3:]]))
    with pytest.raises(UserError, match="cannot be read"):
        Ledger.open(tmp_path, metric="val_accuracy", mode="max")
    assert gc.isenabled()


def test_the_study_is_plain_optuna(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(run / JOURNAL)))
    study = optuna.load_study(study_name=None, storage=storage)
    assert study.best_value == 0.95
    assert len(study.trials) == 10
    frame = study.trials_dataframe()
    assert frame.value.max() == 0.95
    assert all(json.loads(line) for line in (run / JOURNAL).read_text().splitlines())


# the order of trials


def record(number: int, state: str, value: float | None, loss: float | None = None) -> TrialRecord:
    return TrialRecord(
        number=number,
        state=state,
        params={},
        settings={},
        epochs=(make_epoch(number, 1, val_loss=loss),) if loss is not None else (),
        value=value,
        best_epoch=None if loss is None else 1,
        error=None,
        attempts=(),
        started=None,
        ended=None,
    )


def test_ranking_by_state_then_value_then_number() -> None:
    trials = [
        record(0, "running", 1.0),
        record(1, "failed", None),
        record(2, "pruned", 0.2),
        record(3, "complete", 0.5),
        record(4, "complete", 0.7),
        record(5, "complete", 0.5),
        record(6, "pruned", 0.9),
        record(7, "pruned", None),
    ]
    assert [t.number for t in ranked(trials, mode="max")] == [4, 3, 5, 6, 2, 7, 1, 0]
    assert [t.number for t in ranked(trials, mode="min")] == [3, 5, 4, 2, 6, 7, 1, 0]
    assert gap_to_second(trials, mode="max") == pytest.approx(0.2)
    assert gap_to_second(trials, mode="min") == 0
    assert gap_to_second(trials[:4], mode="max") is None


def test_of_equal_trials_the_first_has_the_lowest_loss() -> None:
    drawn = [(0.9, 0.5), (0.9, 0.3), (0.9, None), (0.9, 0.3), (0.8, 0.1), (0.9, math.nan)]
    trials = [record(number, "complete", value, loss) for number, (value, loss) in enumerate(drawn)]
    assert [t.number for t in ranked(trials, mode="max")] == [1, 3, 0, 2, 5, 4]
    assert best_of(reversed(trials), mode="max") == trials[1]
    assert gap_to_second(trials, mode="max") == 0


states = st.sampled_from(["complete", "pruned", "failed", "running"])
values = st.none() | st.floats(0, 1)


@given(st.lists(st.tuples(states, values, st.sampled_from([None, 0.1, 0.2]))), st.sampled_from(["max", "min"]))
def test_the_leader_is_the_ledger_s_best(drawn: list[tuple[str, float | None, float | None]], mode: str) -> None:
    trials = [record(number, *facts) for number, facts in enumerate(drawn)]
    order = ranked(trials, mode=mode)
    assert sorted(t.number for t in order) == list(range(len(trials)))
    best = best_of(trials, mode=mode)
    if best is not None:
        assert order[0] == best
    gap = gap_to_second(trials, mode=mode)
    assert gap is None or gap >= 0
