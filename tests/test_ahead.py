"""A context manager that is entered while other things go on."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tuning.ahead import Ahead


class Steps:
    """A context manager that waits to be let in, and notes what happened and in which thread."""

    def __init__(self) -> None:
        self.go_in = threading.Event()
        self.left = threading.Event()
        self.threads: list[threading.Thread] = []

    @contextmanager
    def opened(self, error: Exception | None = None, at_the_end: Exception | None = None) -> Iterator[str]:
        self.go_in.wait(timeout=10)
        self.threads.append(threading.current_thread())
        if error is not None:
            raise error
        try:
            yield "value"
        finally:
            self.threads.append(threading.current_thread())
            self.left.set()
        if at_the_end is not None:
            raise at_the_end


def test_it_is_entered_while_the_block_goes_on_and_left_by_the_same_thread() -> None:
    steps = Steps()
    with Ahead(steps.opened()) as ahead:
        assert not steps.threads
        steps.go_in.set()
        assert ahead.get() == "value"
        assert not steps.left.is_set()
    assert steps.left.is_set()
    first, last = steps.threads
    assert first is last is not threading.current_thread()


def test_it_can_be_left_while_the_block_goes_on() -> None:
    steps = Steps()
    steps.go_in.set()
    with Ahead(steps.opened()) as ahead:
        ahead.get()
        ahead.leave()
        assert steps.left.wait(timeout=10)


def test_a_block_that_never_asks_leaves_nothing_open() -> None:
    steps = Steps()
    with Ahead(steps.opened()):
        steps.go_in.set()
    assert steps.left.is_set()


def test_an_error_on_entering_is_raised_where_it_is_asked_for() -> None:
    steps = Steps()
    steps.go_in.set()
    with pytest.raises(ValueError, match="no room"), Ahead(steps.opened(error=ValueError("no room"))) as ahead:
        ahead.get()


@pytest.mark.parametrize("when", ["error", "at_the_end"])
def test_an_error_that_nobody_asked_for_is_not_lost(when: str) -> None:
    steps = Steps()
    steps.go_in.set()
    with pytest.raises(ValueError, match="too late"), Ahead(steps.opened(**{when: ValueError("too late")})):
        pass


def test_the_blocks_own_error_comes_first() -> None:
    steps = Steps()
    steps.go_in.set()
    with pytest.raises(KeyError), Ahead(steps.opened(at_the_end=ValueError("too late"))):
        raise KeyError("the block's")
