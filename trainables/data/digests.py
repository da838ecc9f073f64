"""What a file contains, as a SHA-256, computed once and remembered by size and times of change.

digests = Digests(cache, root)
digests.known("train/ants/1.jpg")          # None the first time
digests.compute("train/ants/1.jpg")
digests.save()
"""

import json
import time
from hashlib import sha256
from pathlib import Path

from trainables.data.cache import kind_folder, writing
from trainables.files import replaced

# A file may change again within the clock's resolution and keep its times; so recent a one is not remembered.
SETTLED_NS = 2_000_000_000
UNREADABLE = "unreadable"


def content_digest(content: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return sha256(content).hexdigest()


class Digests:
    """The digests of the files below `root`, kept in one JSON file of the cache."""

    def __init__(self, cache: Path, root: Path) -> None:
        self._cache = cache
        self._root = root.resolve()
        self._name = sha256(str(self._root).encode("utf-8", "surrogateescape")).hexdigest()[:32] + ".json"
        self._remembered = _read(cache / "digests" / self._name)
        self._changed = False

    def known(self, name: str) -> str | None:
        """The remembered digest of a file that has not changed since; `None` when it must be computed."""
        entry = self._remembered.get(name)
        try:
            return entry[-1] if entry and entry[:-1] == self._stamp(name) else None
        except OSError:
            return None

    def compute(self, name: str) -> str:
        """Reads a file and remembers its digest; `UNREADABLE` for one that cannot be read, not remembered."""
        try:
            stamp = self._stamp(name)
            digest = content_digest((self._root / name).read_bytes())
        except OSError:  # decoding it comes next and says why
            return UNREADABLE
        if time.time_ns() - max(stamp[1:]) > SETTLED_NS:
            self._remembered[name] = (*stamp, digest)
            self._changed = True
        return digest

    def save(self) -> None:
        """Writes what was computed. `UserError` when the cache cannot be written."""
        if not self._changed:
            return
        folder = kind_folder(self._cache, "digests")
        with writing(self._cache), replaced(folder / self._name) as temporary:
            document = {"root": str(self._root), "files": self._remembered}
            temporary.write_text(json.dumps(document), encoding="ascii")
        self._changed = False

    def _stamp(self, name: str) -> tuple[int, int, int]:
        """Size, time of its content's change, which anybody can set, and time of its inode's, which nobody can."""
        facts = (self._root / name).stat()
        return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _read(path: Path) -> dict[str, tuple[int, int, int, str]]:
    """What was remembered; nothing where the file is missing or damaged, for it can all be computed again."""
    try:
        files = json.loads(path.read_text(encoding="ascii"))["files"]
        return {
            str(name): (int(size), int(changed), int(touched), str(digest))
            for name, (size, changed, touched, digest) in files.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
