"""Batches that are made while a GPU is at work on those before.

for images, targets in Prefetched(batches):
    ...
for rows, targets in Prefetched(pinned(batches)):
    ...
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import Tensor

Item = TypeVar("Item")
# Made, or being made, before they are asked for.
AHEAD = 2
_END: Any = object()


@dataclass(frozen=True)
class Prefetched(Generic[Item]):
    """The same items in the same order, made in a thread.

    What goes wrong in making one is raised in its place. The thread ends with the last item, or with the iteration.
    """

    items: Iterable[Item]

    def __iter__(self) -> Iterator[Item]:
        source = iter(self.items)
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
            waiting = deque(thread.submit(next, source, _END) for _ in range(AHEAD))
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item


def pinned(batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches in memory from which a GPU copies by itself."""
    for inputs, targets in batches:
        yield inputs.pin_memory(), targets.pin_memory()
