"""When a driver that is asked to stop does so: after the epochs at work, but not for ever."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from simulation import Simulation, small_spec
from tuning.conductor import Job
from tuning.runner import PATIENCE_S, _overdue, _Tick


def tick_of(*, waited_s: float, at_once: bool, away: bool) -> tuple[_Tick, list[str]]:
    """A tick while a trial is at work and the sweep has been asked to stop."""
    done: list[str] = []
    conductor = SimpleNamespace(running={0: object()}, stopping="SIGINT", stop=lambda reason: None, storage_error=None)
    view = SimpleNamespace(refresh=lambda: None, stopping=lambda how: None)
    signals: Any = SimpleNamespace(asked="SIGINT", at_once=at_once, waited_s=lambda: waited_s)
    mirror: Any = SimpleNamespace(trouble=None, waits=lambda: away, hurry=lambda: done.append("hurry"))
    tick = _Tick(conductor, view, signals, lambda: None, places=None, mirror=mirror)  # type: ignore[arg-type]
    return tick, done


@pytest.mark.parametrize(
    ("waited_s", "at_once", "away", "ends", "hurries"),
    [
        pytest.param(6.0, False, False, False, False, id="epochs end first"),
        pytest.param(PATIENCE_S + 1, False, False, True, False, id="an epoch takes too long"),
        pytest.param(0.1, True, False, True, False, id="at once"),
        pytest.param(1.0, False, True, False, False, id="the storage is away: for a moment"),
        pytest.param(6.0, False, True, True, True, id="the storage is away"),
        pytest.param(0.1, True, True, True, True, id="the storage is away, at once"),
    ],
)
def test_a_sweep_that_is_asked_to_stop(waited_s: float, at_once: bool, away: bool, ends: bool, hurries: bool) -> None:
    """Patience with the storage is lost only while it is away: the record's last part is still to get home."""
    tick, done = tick_of(waited_s=waited_s, at_once=at_once, away=away)
    assert tick() is ends
    assert done == (["hurry"] if hurries else [])


def test_a_storage_that_fails_is_no_fault_of_the_trials(tmp_path: Path) -> None:
    """They are ended with the sweep, and go on with it."""
    conductor = Simulation(tmp_path, small_spec()).conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    view: Any = SimpleNamespace(refresh=lambda: None)
    signals: Any = SimpleNamespace(asked=None)
    mirror: Any = SimpleNamespace(trouble="no answer")
    assert _Tick(conductor, view, signals, lambda: None, places=None, mirror=mirror)()
    conductor.worker_lost(job.number, "Ray stopped it")
    assert conductor.storage_error == "no answer"
    assert not conductor.ledger.trial(job.number).attempts


@pytest.mark.parametrize(
    ("waited_s", "at_once", "away", "reason"),
    [
        (10.0, True, False, None),
        (16.0, True, False, "Ray does not stop"),
        (16.0, True, True, "the object storage does not answer"),
        (PATIENCE_S + 10, False, False, None),
        (PATIENCE_S + 16, False, False, "Ray does not stop"),
    ],
)
def test_a_driver_that_does_not_come_to_its_end(waited_s: float, at_once: bool, away: bool, reason: str | None) -> None:
    session: Any = SimpleNamespace(alive=lambda: True, joined=False)
    signals: Any = SimpleNamespace(at_once=at_once, waited_s=lambda: waited_s)
    mirror: Any = SimpleNamespace(waits=lambda: away)
    assert _overdue(session, signals, mirror) == reason
