"""The driver's files for a node of somebody's Ray cluster, sent once to each node and kept there.

    files = ray.remote(num_cpus=0)(Files).options(name="offer").remote()       # on the driver's node
    ray.get(files.offer.remote("3fa9…", ["pixels.bin", …]))
    store = store_here("…/pixels/3fa9…", fingerprint="…", offer="offer")       # on any node: a folder that it sees
    weights = weights_here(weights, offer="offer")

Files that a node sees at the driver's own path, with the right content, are used where they are. Others are pulled in
pieces through Ray's object store, a few at a time, by whichever process of the node comes first, and checked before
they get their name.
"""

import dataclasses
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import ray

from trainables.data.cache import cache_folder, kind_folder, locked, writing
from trainables.data.room import make_room_for_pixels
from trainables.data.store import DamagedStoreError, PixelStore
from trainables.files import file_digest
from trainables.models.weights import Weights

PIECE = 16 * 2**20  # bytes
_IN_FLIGHT = 4  # pieces asked for before the first of them has arrived
_CHECKED = 64 * 2**20  # bytes of a store compared with their checksums when it has arrived


class Files:
    """An actor on the driver's node that hands out its files in pieces, and counts what went to which node."""

    def __init__(self) -> None:
        self._offered: dict[str, dict[str, Path]] = {}
        self._sent: Counter[str] = Counter()

    def offer(self, name: str, paths: list[str]) -> None:
        """Offers files under one name; their own names tell them apart."""
        self._offered[name] = {Path(path).name: Path(path) for path in paths}

    def listing(self, name: str) -> dict[str, int]:
        """The files offered under a name, with their sizes in bytes."""
        return {file: path.stat().st_size for file, path in self._offered[name].items()}

    def piece(self, name: str, file: str, start: int, node: str) -> bytes:
        """`PIECE` bytes of a file from `start` on, or what is left, for a node."""
        with self._offered[name][file].open("rb") as opened:
            opened.seek(start)
            content = opened.read(PIECE)
        self._sent[node] += len(content)
        return content

    def sent(self) -> dict[str, int]:
        """Bytes handed out so far, by node."""
        return dict(self._sent)


def store_here(path: str, *, fingerprint: str, offer: str) -> Path:
    """The driver's store of decoded pictures, as a folder that this node sees.

    Raises:
        OSError: the driver's machine could not read it, or it did not arrive whole.
        UserError: this node's cache cannot be written.
    """

    def whole(folder: Path) -> bool:
        try:
            store = PixelStore.open(folder)
            store.check(at_most=_CHECKED)
        except DamagedStoreError:
            return False
        return store.fingerprint == fingerprint

    return _here(Path(path), kind="pixels", whole=whole, offer=offer)


def weights_here(weights: Weights, *, offer: str) -> Weights:
    """Starting weights, with a path that this node sees. Errors as `store_here`."""
    if weights.path is None or weights.digest is None:
        return weights
    name, digest = Path(weights.path).name, weights.digest

    def whole(folder: Path) -> bool:
        return (folder / name).is_file() and file_digest(folder / name) == digest

    driver_sees = Path(weights.path).parent
    folder = driver_sees if whole(driver_sees) else _here(Path(digest[:32]), kind="weights", whole=whole, offer=offer)
    if folder == driver_sees:
        return weights
    return dataclasses.replace(weights, kind="file", path=str(folder / name))


def _here(seen: Path, *, kind: str, whole: Callable[[Path], bool], offer: str) -> Path:
    """The folder `seen` where this node sees it whole, else its copy in this node's cache, fetched if need be."""
    if whole(seen):
        return seen
    copy = kind_folder(cache_folder(), kind) / seen.name
    if whole(copy):
        return copy
    with ExitStack() as held:
        with writing(cache_folder()):
            held.enter_context(locked(copy))
        if not whole(copy):
            _fetch(seen.name, copy, whole=whole, offer=offer)
    return copy


def _fetch(name: str, copy: Path, *, whole: Callable[[Path], bool], offer: str) -> None:
    files: Any = ray.get_actor(offer)
    cache = cache_folder()
    unfinished = copy.with_name(f".{copy.name}.partial")  # as `trainables.data.cache` knows unfinished work
    shutil.rmtree(unfinished, ignore_errors=True)
    listing = ray.get(files.listing.remote(name))
    make_room_for_pixels(cache, needed_bytes=sum(listing.values()))
    with writing(cache):
        unfinished.mkdir()
    try:
        for file, size in listing.items():
            _write(unfinished / Path(file).name, _pieces(files, name, file, size), cache=cache)
        if not whole(unfinished):
            raise OSError(f"{name} did not arrive whole from the driver's machine")
        with writing(cache):
            shutil.rmtree(copy, ignore_errors=True)
            unfinished.rename(copy)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write(path: Path, pieces: Iterator[bytes], *, cache: Path) -> None:
    """Writes a file as its pieces arrive; one that does not arrive is no fault of the cache's."""
    with ExitStack() as opened:
        with writing(cache):
            file = opened.enter_context(path.open("xb"))
        for piece in pieces:
            with writing(cache):
                file.write(piece)
        with writing(cache):
            file.flush()
            os.fsync(file.fileno())


def _pieces(files: Any, name: str, file: str, size: int) -> Iterator[bytes]:
    """The pieces of a file in order; no more than a few are on their way at any moment."""
    node = ray.get_runtime_context().get_node_id()
    asked = (files.piece.remote(name, file, start, node) for start in range(0, size, PIECE))
    waiting = list(islice(asked, _IN_FLIGHT))
    while waiting:
        yield ray.get(waiting.pop(0))
        waiting += islice(asked, 1)
