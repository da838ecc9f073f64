"""One row of numbers for each picture of a split, computed once by whoever first needs it and kept in the cache.

    shared = Pass(cache, key={"data": "…", "split": "val", …}, rows=153, compute=rows_of)   # rows_of(range(0, 32))
    shared.fill()                              # what is not there yet, side by side with other processes
    shared.take([7, 0, 150])                   # [3, …]

A row is a view of a picture, or what the frozen part of a network makes of it. `key` says all that the rows depend on;
another key is another folder. Rows come in chunks of `CHUNK` pictures, always the same ones together, so that the
arithmetic is the same to the bit whoever computes them, and whichever of them were there already.
"""

import json
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainables.data.cache import kind_folder, writing
from trainables.data.digests import content_digest

KIND = "features"
CHUNK = 32
# Chunks that a pass keeps mapped into memory. A process may have 65,530 maps (vm.max_map_count) and several passes.
MAPPED = 4096
# Whoever is at work on a chunk may have been stopped: after so long without progress, others do it as well.
PATIENCE_S = 120.0
_LOOK_AGAIN_S = 0.02
_HEADER = "tuneyard"
_TRIES = 3
# What a file that is not what it should be raises, and memory that takes no more maps.
_UNREADABLE = (OSError, RuntimeError, SafetensorError, KeyError, ValueError, TypeError)

Compute = Callable[[range], Tensor]


class Pass:
    """The rows of one split in one view; row i is that of the split's i-th picture.

    A chunk on disk that is cut short, changed, or of another key counts as missing, and is computed again.
    """

    def __init__(self, cache: Path, *, key: Mapping[str, Any], rows: int, compute: Compute) -> None:
        """`compute(range(32, 64))` gives these rows: a tensor of any type, [32, …], on any device."""
        self._cache = cache
        self._digest = content_digest(json.dumps({**key, "chunk": CHUNK}, sort_keys=True).encode())
        self._rows = rows
        self._compute = compute
        self._sound: set[int] = set()  # chunks that were found, and read whole once
        self._mapped: dict[int, _Chunk] = {}  # as many of them as `MAPPED`
        self.folder = cache / KIND / self._digest[:32]

    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not self._missing()

    def fill(self, ahead: Sequence["Pass"] = ()) -> None:
        """Computes what is missing. Several processes share the work; none does what another has begun.

        While others are at the last chunks, those of `ahead` are begun with: passes that are wanted next.
        """
        missing = self._missing()
        if not missing:
            return
        kind_folder(self._cache, KIND)
        patient_until = time.monotonic() + PATIENCE_S
        while missing:
            if sum(self._try(number, patient=time.monotonic() < patient_until) for number in missing):
                patient_until = time.monotonic() + PATIENCE_S
            elif not any(other.begin() for other in ahead):
                time.sleep(_LOOK_AGAIN_S)
            missing = self._missing()

    def begin(self) -> bool:
        """Computes one chunk that is missing and that nobody is at. Returns whether there was one."""
        missing = self._missing()
        if missing:
            kind_folder(self._cache, KIND)
        return any(self._try(number, patient=True) for number in missing)

    def take(self, places: Sequence[int]) -> Tensor:
        """The rows at these places, [len(places), …], in the memory format they were computed in; `fill` comes first.

        What was there and is no more is computed again. KeyError for a row that nobody has computed.
        """
        found, opened = [], {}
        for place in places:
            number = place // CHUNK
            if number not in self._sound:
                raise KeyError(place)
            if number not in opened:
                opened[number] = self._find(number) or self._make(number)
            found.append(opened[number].rows[place % CHUNK])
        return opened[places[0] // CHUNK].in_format(torch.stack(found))

    def chunk(self, wanted: range) -> Tensor | None:
        """The rows of one whole chunk, if somebody has computed them."""
        number = wanted.start // CHUNK
        found = self._find(number)
        return found.in_format(found.rows) if found else None

    def _try(self, number: int, *, patient: bool) -> bool:
        """Computes a chunk unless another process is at it; whether it was computed here."""
        lock = FileLock(self.folder.with_name(f".{self.folder.name}-{number:05}.lock"))
        try:
            with lock.acquire(timeout=0):
                made = self._find(number) is None
                if made:
                    self._make(number)
        except Timeout:
            if patient:
                return False
            self._make(number)
            made = True
        # Two processes that hold one lock, as its file was taken away between them, would only do the same work.
        Path(lock.lock_file).unlink(missing_ok=True)
        return made

    def _missing(self) -> list[int]:
        numbers = range(-(-self._rows // CHUNK))
        return [number for number in numbers if number not in self._sound and self._find(number) is None]

    def _find(self, number: int) -> "_Chunk | None":
        if number in self._mapped:
            return self._mapped[number]
        rows, known = self._range(number), number in self._sound
        chunk = _read(self._path(number), digest=self._digest, rows=rows, known=known)
        return self._keep(number, chunk) if chunk else None

    def _keep(self, number: int, chunk: "_Chunk") -> "_Chunk":
        self._sound.add(number)
        if len(self._mapped) < MAPPED:
            self._mapped[number] = chunk
        return chunk

    def _make(self, number: int) -> "_Chunk":
        started = time.perf_counter()
        chunk = _Chunk.of(self._compute(self._range(number)))
        seconds = time.perf_counter() - started
        with writing(self._cache):
            _write(chunk, self._path(number), digest=self._digest, start=self._range(number).start, seconds=seconds)
        # From the file from here on, so that the memory is the system's to take back.
        return self._find(number) or self._keep(number, chunk)

    def _range(self, number: int) -> range:
        return range(number * CHUNK, min((number + 1) * CHUNK, self._rows))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05}.safetensors"


class _Chunk(NamedTuple):
    """Rows as they lie in memory: of a channels_last tensor, the channels come last here too."""

    rows: Tensor
    channels_last: bool

    @classmethod
    def of(cls, tensor: Tensor) -> "_Chunk":
        tensor = tensor.detach().cpu()
        if tensor.dim() == 4 and tensor.stride(1) == 1 and tensor.is_contiguous(memory_format=torch.channels_last):
            return cls(tensor.permute(0, 2, 3, 1), channels_last=True)
        return cls(tensor.contiguous(), channels_last=False)

    def in_format(self, rows: Tensor) -> Tensor:
        return rows.permute(0, 3, 1, 2) if self.channels_last else rows

    def checksum(self) -> int:
        return zlib.crc32(self.rows.reshape(-1).view(torch.uint8).numpy().data)


def seconds_and_bytes(folder: Path) -> tuple[float, int]:
    """What a pass cost to compute, and what it takes on disk; (0, its bytes) where a file cannot be read."""
    seconds, size = 0.0, 0
    for path in sorted(folder.glob("*.safetensors")):
        try:
            size += path.stat().st_size
            with safe_open(path, framework="pt") as file:
                seconds += float(json.loads(file.metadata()[_HEADER])["seconds"])
        except _UNREADABLE:
            continue
    return seconds, size


def _read(path: Path, *, digest: str, rows: range, known: bool) -> _Chunk | None:
    """A chunk, mapped into memory; None where there is none, or it is not what was written for this key and place.

    One that is `known` is not compared with its checksum again.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads(file.metadata()[_HEADER])
            chunk = _Chunk(file.get_tensor("rows"), channels_last=bool(header["channels_last"]))
        fits = [header["key"], header["start"], len(chunk.rows)] == [digest, rows.start, len(rows)]
        fits = fits and (known or header["checksum"] == chunk.checksum())
    except _UNREADABLE:
        return None
    return chunk if fits else None


def _write(chunk: _Chunk, path: Path, *, digest: str, start: int, seconds: float) -> None:
    """Writes a chunk beside its place and renames it. Not flushed: a torn one is found by its checksum.

    Nothing is written where somebody keeps clearing the cache meanwhile. OSError when it cannot be written.
    """
    header = {
        "key": digest,
        "start": start,
        "channels_last": chunk.channels_last,
        "checksum": chunk.checksum(),
        "seconds": round(seconds, 6),
    }
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for _ in range(_TRIES):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file({"rows": chunk.rows}, unfinished, metadata={_HEADER: json.dumps(header)})
            unfinished.replace(path)
            return
        except FileExistsError:  # the folder was there, and was cleared away in the same moment
            continue
        except (SafetensorError, OSError) as error:  # safetensors tells of files in words of its own
            if "No such file" not in str(error):  # else somebody cleared the cache meanwhile
                unfinished.unlink(missing_ok=True)
                raise OSError(getattr(error, "errno", None), str(error)) from error
