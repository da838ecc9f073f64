"""Batches that are made while a GPU is at work on those before.

for images, targets in Prefetched(batches):
    ...
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
