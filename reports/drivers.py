"""Who is at work on a run's folder.

driver_of(run)          # {"pid": 4711, "host": "ants", "since": "2026-…"}, or None
"""

import json
import os
import socket
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LOCK = ".driver.lock"
DRIVER = "driver.json"
LOOK_S = 0.1  # another reader that looks holds the lock for an instant


def driver_of(folder: Path) -> dict[str, Any] | None:
    """Who else drives the run at this moment, as `{pid, host, since}`; empty when that is not known.

    None when nobody does, and when this very process does: a report that the driver writes last tells how the sweep
    stands once the driver has gone. The lock is the operating system's own on an open file, so it ends with its
    holder, however that ends.
    """
    path = folder / LOCK
    if not path.exists():
        return None
    lock = FileLock(path)
    try:
        with lock.acquire(timeout=LOOK_S, poll_interval=LOOK_S / 5):
            return None
    except Timeout:
        pass
    except OSError:  # a folder that cannot be written has no driver of ours
        return None
    try:
        holder = json.loads((folder / DRIVER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(holder, dict) or not {"pid", "host", "since"} <= holder.keys():
        return {}
    return None if (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname()) else holder
