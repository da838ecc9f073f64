"""What a driver hears of the operating system, and what it is told to leave alone."""

import os
import signal
from collections.abc import Iterator

import pytest

from tuning.session import _signals_interrupt
from tuning.signals import Signals


@pytest.fixture
def hangup(request: pytest.FixtureRequest) -> Iterator[None]:
    """SIGHUP is handled as the parameter says, however these tests were started."""
    before = signal.signal(signal.SIGHUP, request.param)
    yield
    signal.signal(signal.SIGHUP, before)


def test_signals_are_heard_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (signals.asked, signals.at_once) == ("SIGTERM", False)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.at_once
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("hangup", [signal.SIG_DFL], indirect=True)
def test_before_trials_run_they_interrupt(hangup: None) -> None:
    with pytest.raises(KeyboardInterrupt), _signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("hangup", [signal.SIG_IGN], indirect=True)
def test_nohup_holds(hangup: None) -> None:
    with _signals_interrupt(), Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.asked is None
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
