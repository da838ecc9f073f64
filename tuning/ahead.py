"""A context manager entered in a thread of its own, so that what is slow to open opens while other things go on.

    with Ahead(ray_session()) as ray:      # begins to start Ray, and returns at once
        import torch                       # takes seconds as well
        session = ray.get()                # waits, if need be
        ray.leave()                        # begins to end Ray, and returns at once
        write_report(…)
                                           # waits until it has ended

One thread enters and leaves, and lives in between: some of what Ray starts ends with the thread that started it.
"""

import threading
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """Enters `manager` at once, and leaves it when told to, or at the end of the block."""

    def __init__(self, manager: AbstractContextManager[T]) -> None:
        self._manager = manager
        self._entered, self._over = threading.Event(), threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="ahead", daemon=True)

    def __enter__(self) -> "Ahead[T]":
        self._thread.start()
        return self

    def get(self) -> T:
        """What the manager gave. Raises what entering it raised."""
        self._entered.wait()
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def leave(self) -> None:
        """Has the manager left, without waiting for that."""
        self._over.set()

    def __exit__(self, *exception: object) -> None:
        """Waits until the manager has been left. Raises what leaving it raised, unless something else is on its way."""
        self._over.set()
        self._thread.join()
        if self._error is not None and exception[0] is None:
            raise self._error

    def _live(self) -> None:
        try:
            with self._manager as self._value:
                self._entered.set()
                self._over.wait()
        except BaseException as error:
            self._error = error
        finally:
            self._entered.set()
