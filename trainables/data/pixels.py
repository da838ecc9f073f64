"""All pictures of a catalog, decoded once and shared by every trial and every later sweep.

store = build_store(catalog, short_side=256, cache=cache_folder(), on_bad_image="error")
store[0]                     # uint8 [3, 256, 341]
store.indices("train")       # int64 [N]
"""

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from shutil import rmtree

import numpy as np

from trainables.data.cache import kind_folder, locked, writing
from trainables.data.catalog import Catalog
from trainables.data.decode import BadPictureError, decode
from trainables.data.digests import Digests, content_digest
from trainables.data.parallel import ordered_map
from trainables.data.room import make_room_for_pixels, mark_used
from trainables.data.store import DamagedStoreError, PixelStore, StoreWriter
from trainables.errors import UserError
from trainables.files import flush_folder
from trainables.wording import counted

# Goes up whenever the same files would give other pixels or another layout.
FORMAT = 3
# How much is read back when a store is found: all of a small one, an even sample of a large one.
CHECKED_BYTES = 256 * 2**20
LISTED = 10

Progress = Callable[[int, int], None]


def build_store(
    catalog: Catalog,
    *,
    short_side: int,
    cache: Path,
    on_bad_image: str,
    progress: Progress | None = None,
) -> PixelStore:
    """The store of a catalog's pictures, shorter side at most `short_side` pixels: found in `cache`, or built.

    Several processes may ask for the same one; one builds it and the others wait. `progress(done, total)` is called
    from this thread. `UserError` for pictures that cannot be read (unless `on_bad_image` is "skip"), for a class
    left without pictures, and for a cache that cannot be written.
    """
    steps = _Steps(progress)
    digests = _picture_digests(catalog, cache, steps)
    fingerprint = _fingerprint(catalog, digests)
    name = content_digest(f"{FORMAT} {fingerprint} {short_side}".encode())[:32]
    place = cache / "pixels" / name
    store = _found(place)
    if store is None:
        kind_folder(cache, "pixels")
        with writing(cache):
            lock = locked(place)
            lock.acquire()
        try:
            store = _found(place) or _built(catalog, place, digests, fingerprint, short_side, steps, cache)
        finally:
            lock.release()
    steps.finish()
    _check_pictures(store, catalog, on_bad_image)
    return store


def picture_digests(catalog: Catalog, *, cache: Path) -> list[str]:
    """SHA-256 of each picture's file, or of its pixels, in the catalog's order; remembered in `cache`."""
    return _picture_digests(catalog, cache, _Steps(None))


@dataclass
class _Steps:
    """Counts files read and pictures decoded as one progress."""

    progress: Progress | None
    done: int = 0
    total: int = 0

    def expect(self, steps: int) -> None:
        self.total += steps

    def advance(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)

    def finish(self) -> None:
        if self.progress and 0 < self.done < self.total:
            self.progress(self.total, self.total)


def _found(place: Path) -> PixelStore | None:
    """A store that is there and whole; a damaged one is as good as none."""
    try:
        store = PixelStore.open(place)
        store.check(at_most=CHECKED_BYTES)
        mark_used(place)
        return store
    except DamagedStoreError:
        return None


def _picture_digests(catalog: Catalog, cache: Path, steps: _Steps) -> list[str]:
    """The digest of every picture's bytes, in the order of the catalog."""
    if catalog.arrays is not None:
        return [content_digest(np.ascontiguousarray(pixels).tobytes()) for pixels in catalog.arrays]
    assert catalog.root is not None
    remembered = Digests(cache, catalog.root)
    known = [remembered.known(picture.name) for picture in catalog.pictures]
    missing = [picture.name for picture, digest in zip(catalog.pictures, known, strict=True) if digest is None]
    steps.expect(len(missing) + (len(known) if missing else 0))
    computed = {}
    for name, digest in zip(missing, ordered_map(remembered.compute, missing), strict=True):
        computed[name] = digest
        steps.advance()
    remembered.save()
    return [digest or computed[picture.name] for picture, digest in zip(catalog.pictures, known, strict=True)]


def _fingerprint(catalog: Catalog, digests: list[str]) -> str:
    """Of what the pictures are; for classification as it always was, so that older sweeps can be gone on with."""
    classifying = catalog.task == "classification"
    about = [catalog.channels, catalog.classes, *([] if classifying else [catalog.task])]
    total = sha256(json.dumps(about).encode())
    for picture, digest in zip(catalog.pictures, digests, strict=True):
        target = picture.label if classifying else picture.values
        total.update(json.dumps([picture.name, target, picture.split, digest]).encode())
    return total.hexdigest()


def _built(
    catalog: Catalog,
    place: Path,
    digests: list[str],
    fingerprint: str,
    short_side: int,
    steps: _Steps,
    cache: Path,
) -> PixelStore:
    """Writes a store beside its place, then renames it; the caller holds the lock."""
    make_room_for_pixels(cache, needed_bytes=len(digests) * catalog.channels * short_side**2)
    unfinished = place.with_name(f".{place.name}.partial")
    if steps.total < len(digests):
        steps.expect(len(digests))
    if place.exists():
        warnings.warn(f"decoded pictures are damaged and made again: {place}", stacklevel=3)
    try:
        with writing(cache):
            for left_over in (unfinished, place):  # of a process that was killed; found damaged
                if left_over.exists():
                    rmtree(left_over)
            unfinished.mkdir()
            with StoreWriter(unfinished) as writer:
                skipped = _decode_all(catalog, writer, digests, short_side, steps)
                writer.seal(
                    task=catalog.task,
                    classes=catalog.classes,
                    channels=catalog.channels,
                    short_side=short_side,
                    fingerprint=fingerprint,
                    skipped=skipped,
                )
            unfinished.rename(place)
            flush_folder(place.parent)
    finally:
        if unfinished.exists():
            rmtree(unfinished, ignore_errors=True)
    return PixelStore.open(place)


def _decode_all(
    catalog: Catalog, writer: StoreWriter, digests: list[str], short_side: int, steps: _Steps
) -> list[tuple[str, str]]:
    """Decodes into `writer`; returns the name and reason of each picture that cannot be read."""

    def pixels(index: int) -> np.ndarray | BadPictureError:
        content = catalog.content(index)
        try:
            read = _unchanged(content, digests[index]) if isinstance(content, Path) else content
            return decode(read, channels=catalog.channels, short_side=short_side)
        except BadPictureError as error:
            return error

    skipped = []
    with warnings.catch_warnings():
        # Pillow warns of oddities in files that it reads all the same; a hundred such lines help nobody.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        results = ordered_map(pixels, range(len(catalog.pictures)))
        for picture, result in zip(catalog.pictures, results, strict=True):
            if isinstance(result, BadPictureError):
                skipped.append((picture.name, str(result)))
            else:
                target = picture.label if catalog.task == "classification" else picture.values
                writer.add(result, name=picture.name, target=target, split=picture.split)
            steps.advance()
    if not len(writer):
        raise UserError(
            f"none of the {len(skipped)} pictures can be read ({_listed(skipped)})",
            where="data.path",
            got=str(catalog.root),
        )
    return skipped


def _unchanged(path: Path, digest: str) -> bytes:
    """A file's bytes, which must be the ones that the fingerprint was made of."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadPictureError(error.strerror or str(error)) from error
    if content_digest(content) != digest:
        raise UserError("a picture changed while it was read", where="data.path", got=str(path), hint="start again")
    return content


def _check_pictures(store: PixelStore, catalog: Catalog, on_bad_image: str) -> None:
    """`UserError` where pictures are bad and that is not allowed, or where a class has none left of those it had."""
    if store.skipped and on_bad_image != "skip":
        pictures = counted(len(store.skipped), "picture")
        raise UserError(
            f"{pictures} of {len(catalog.pictures):,} cannot be read ({_listed(store.skipped)})",
            where="data.path",
            got=str(catalog.root),
            hint="repair or remove them, or set data.on_bad_image: skip",
        )
    left = store.counts()
    for split, numbers in catalog.counts().items():
        for name, number in numbers.items():
            if number and not left.get(split, {}).get(name):
                of_class = "" if catalog.task == "regression" else f" of class {name!r}"
                raise UserError(
                    f"{split}: not one picture{of_class} can be read ({_listed(store.skipped)})",
                    where="data.path",
                    got=str(catalog.root),
                )


def _listed(skipped: list[tuple[str, str]]) -> str:
    shown = "; ".join(f"{name}: {reason}" for name, reason in skipped[:LISTED])
    return shown if len(skipped) <= LISTED else f"{shown}; and {len(skipped) - LISTED} more"
