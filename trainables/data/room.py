"""Room on the disk: what of the cache is given up first.

make_room(cache, limit_bytes=20 * 10**9, needed_bytes=10**8, keep=frozenset([folder]))
"""

import os
import shutil
import stat
import time
from contextlib import suppress
from pathlib import Path

from trainables.data.cache import size_of
from trainables.data.passes import KIND, seconds_and_bytes

# Features: a share of what is free on the disk, and a limit.
SHARE = 0.1
MOST_BYTES = 20 * 10**9
# Compiled code: what nobody has used for so long goes.
COMPILED_STAYS_S = 30 * 24 * 3600.0
# Decoded pictures: a share of the disk that is free or theirs already. Those used within the last days always stay.
PIXELS_SHARE = 0.5
PIXELS_STAY_S = 3 * 24 * 3600.0


def make_room(cache: Path, *, limit_bytes: int, needed_bytes: int, keep: frozenset[Path] = frozenset()) -> int:
    """Removes passes until `needed_bytes` more stay within the limit; returns the bytes freed.

    First goes what saves the least: seconds of computing a byte, by how long ago it was used last (hyperbolic caching:
    Blankstein, Sen and Freedman 2017, "Hyperbolic Caching: Flexible Caching for Web Applications"). Whoever reads a
    pass that goes keeps what he has open, and computes the rest again.
    """
    sizes = _sizes(cache / KIND)
    excess = sum(sizes.values()) + needed_bytes - limit_bytes
    if excess <= 0:
        return 0
    freed = 0
    for path in sorted(sizes.keys() - keep, key=_worth):
        shutil.rmtree(path, ignore_errors=True)
        freed += sizes[path]
        if freed >= excess:
            break
    return freed


def make_room_for_pixels(cache: Path, *, needed_bytes: int) -> int:
    """Removes decoded pictures that nobody has used for days, the longest unused first; returns the bytes freed.

    Only where, with `needed_bytes` more, they would take more than `PIXELS_SHARE` of the disk that is free or theirs. A
    sweep that has been stopped for longer decodes its pictures again.
    """
    sizes = _sizes(cache / "pixels")
    total = sum(sizes.values())
    excess = total + needed_bytes - int(PIXELS_SHARE * (_free(cache) + total))
    freed = 0
    for path in sorted(sizes, key=_last_use):
        if freed >= excess or time.time() - _last_use(path) < PIXELS_STAY_S:
            break
        shutil.rmtree(path, ignore_errors=True)
        freed += sizes[path]
    return freed


def forget_compiled(folder: Path) -> int:
    """Removes compiled code (`trainables.training.compiling`) that was not used for a month; returns the bytes freed.

    A compiler that misses a file makes it again.
    """
    freed = 0
    for where, _, names in (found for version in folder.glob("torch-*") for found in os.walk(version)):
        for path in (Path(where, name) for name in names):
            with suppress(OSError):  # somebody else's, or removed meanwhile
                found = path.lstat()
                if stat.S_ISREG(found.st_mode) and time.time() - max(found.st_atime, found.st_mtime) > COMPILED_STAYS_S:
                    path.unlink()
                    freed += found.st_size
    return freed


def room_for_sharing(cache: Path) -> int:
    """The bytes that trials may share by default: `SHARE` of what is free on the cache's disk, `MOST_BYTES` at most."""
    return min(MOST_BYTES, int(SHARE * _free(cache)))


def mark_used(folder: Path) -> None:
    """Notes that a pass, or a store of pictures, has just been used."""
    try:
        os.utime(folder)
    except OSError:  # given up by somebody else meanwhile
        return


def _sizes(folder: Path) -> dict[Path, int]:
    """Each entry's bytes, by its folder."""
    return {path: size_of(path) for path in folder.glob("[!.]*") if path.is_dir()}


def _worth(folder: Path) -> float:
    """Seconds saved, for each byte and second since the last use."""
    seconds, size = seconds_and_bytes(folder)
    return seconds / max(size, 1) / max(time.time() - _last_use(folder), 1.0)


def _last_use(folder: Path) -> float:
    try:
        return folder.stat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0


def _free(cache: Path) -> int:
    there = next(path for path in (cache, *cache.parents) if path.exists())
    return shutil.disk_usage(there).free
