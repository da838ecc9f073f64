"""Items made ahead in a thread are the same items, and nothing is left of it when nobody takes them any more."""

import threading
from collections.abc import Iterator

import pytest

from trainables.data.prefetching import AHEAD, Prefetched


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("batches")]


def numbered(count: int, made: list[int]) -> Iterator[int]:
    for number in range(count):
        made.append(number)
        yield number


@pytest.mark.parametrize("count", [0, 1, AHEAD, 7])
def test_the_same_items_in_the_same_order(count: int) -> None:
    assert list(Prefetched(numbered(count, []))) == list(range(count))
    assert not threads()


def test_it_can_be_gone_through_again() -> None:
    items = Prefetched([1, 2, 3])
    assert list(items) == list(items) == [1, 2, 3]


def test_the_next_is_made_while_one_is_used() -> None:
    second = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        second.set()
        yield 2

    for item in Prefetched(items()):
        assert item == 2 or second.wait(timeout=30)


def test_no_more_are_made_than_it_may_be_ahead() -> None:
    made: list[int] = []
    items = iter(Prefetched(numbered(10, made)))
    assert [next(items), next(items)] == [0, 1]
    items.close()  # type: ignore[attr-defined]
    assert made == list(range(2 + AHEAD))
    assert not threads()


def test_an_error_comes_in_the_place_of_its_item() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError(5, "the disk is gone")

    found = iter(Prefetched(items()))
    assert next(found) == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(found)
    assert not threads()
