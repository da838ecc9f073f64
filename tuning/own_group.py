"""Programs that another library starts, each in a process group of its own.

    with children_in_own_groups():
        ray.init(…)

A terminal that closes, systemd or a batch system signals a whole process group. Our driver hears that and stops after
the epochs at work, for which it needs Ray's processes alive; so these must not be in its group. Ray starts them by
`subprocess` with a `preexec_fn`, and Python's hooks for a fork run in such a child before that.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_here = threading.local()


@contextmanager
def children_in_own_groups() -> Iterator[None]:
    """Of this thread alone, and of `subprocess` with a `preexec_fn` alone."""
    _here.apart = True
    try:
        yield
    finally:
        _here.apart = False


def _leave_the_group() -> None:
    if getattr(_here, "apart", False):
        os.setpgid(0, 0)


os.register_at_fork(after_in_child=_leave_the_group)
