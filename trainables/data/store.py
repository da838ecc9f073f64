"""Decoded pictures in one memory-mapped file: how they are written, and how they are read.

    with StoreWriter(folder) as writer:
        writer.add(pixels, name="train/ants/1.jpg", target=0, split="train")
        writer.seal(task="classification", classes=("ants", "bees"), channels=3, short_side=256, fingerprint="…")
    store = PixelStore.open(folder)
    store[0]                     # uint8 [3, 256, 341]
    store.targets                # int64 [N]
    store.indices("train")       # int64 [N]

A store is a folder: `pixels.bin` (the pictures one after another, each [H, W, C]), `index.npy`, `targets.npy`,
`header.json`, and `seal.json`, written last, with the digests of the three and the length of the first.
"""

import io
import json
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainables.data.catalog import SPLITS, Split, Task, count_pictures
from trainables.data.digests import content_digest
from trainables.data.moments import Moments

# Columns of index.npy, int64 [N, 5].
OFFSET, HEIGHT, WIDTH, SPLIT, CHECKSUM = range(5)
# The files that `seal.json` has the digests of.
SEALED = ("header.json", "index.npy", "targets.npy")
SPLIT_CODES: dict[str, int] = {split: code for code, split in enumerate(SPLITS)}


class DamagedStoreError(Exception):
    """A store that is not whole: a file of it is missing, cut short or changed."""


class PixelStore:
    """Decoded pictures by index, read-only. Pickles as its path and opens in milliseconds.

    `targets` are what is to be learnt: int64 [N] in classification, float32 [N, K] of 0 and 1 in multilabel, float32
    [N, K] in regression; `classes` are the names of the classes, labels or targets. `fingerprint` says what the data
    is (task, classes, channels, and every picture's name, target, split and bytes), wherever it lies and whatever
    `short_side` it was decoded to. `mean` and `std` are the training pictures' own, one entry a channel, for values 0
    to 1, each picture weighing the same. `skipped` are (name, reason) of the pictures that could not be read; they
    have no index. `digest` is of the decoded pictures themselves, by their sizes and checksums, in their order.
    """

    def __init__(self, path: Path, header: dict, index: np.ndarray, targets: np.ndarray) -> None:
        self.path = path
        self.task: Task = header["task"]
        self.classes: tuple[str, ...] = tuple(header["classes"])
        self.channels: int = header["channels"]
        self.short_side: int = header["short_side"]
        self.fingerprint: str = header["fingerprint"]
        self.names: list[str] = header["names"]
        self.skipped: list[tuple[str, str]] = [(name, reason) for name, reason in header["skipped"]]
        self.mean: tuple[float, ...] = tuple(header["mean"])
        self.std: tuple[float, ...] = tuple(header["std"])
        self.targets: Tensor = torch.from_numpy(targets)
        self.digest = content_digest(index.tobytes())
        self._index = index
        self._pixels = np.memmap(path / "pixels.bin", dtype=np.uint8, mode="r")

    @classmethod
    def open(cls, path: Path) -> "PixelStore":
        """Opens a store; `DamagedStoreError` when it is not there or not whole (the pixels' size is checked here)."""
        try:
            seal = json.loads((path / "seal.json").read_bytes())
            parts = {name: (path / name).read_bytes() for name in SEALED}
            for name, content in parts.items():
                if seal[name] != content_digest(content):
                    raise DamagedStoreError(f"{path}: {name} is not what was written")
            if (path / "pixels.bin").stat().st_size != seal["bytes"]:
                raise DamagedStoreError(f"{path}: pixels.bin is not {seal['bytes']} bytes long")
            arrays = (np.load(io.BytesIO(parts[name]), allow_pickle=False) for name in ("index.npy", "targets.npy"))
            return cls(path, json.loads(parts["header.json"]), *arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DamagedStoreError(f"{path}: {error}") from error

    def __reduce__(self) -> tuple:
        return PixelStore.open, (self.path,)

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Tensor:
        """Picture `index`: uint8 [C, h, w], a copy, strided as [h, w, C] (torchvision resizes that layout faster)."""
        return torch.from_numpy(self._stored(index).copy()).permute(2, 0, 1)

    def indices(self, split: str) -> Tensor:
        """Indices of a split's pictures, int64 [N], ascending; empty for a split without pictures."""
        return torch.from_numpy(np.flatnonzero(self._index[:, SPLIT] == SPLIT_CODES[split]))

    def counts(self) -> dict[str, dict[str, int]]:
        """As `trainables.data.catalog.count_pictures`."""
        return count_pictures(self.task, self.classes, self._index[:, SPLIT], self.targets.numpy())

    def check(self, *, at_most: int) -> None:
        """Compares pictures, spread evenly, about `at_most` bytes, with their checksums.

        `DamagedStoreError` names the first that is not what was written.
        """
        step = max(1, -(-self._pixels.size // at_most))
        for index in range(0, len(self), step):
            if zlib.crc32(self._stored(index).data) != self._index[index, CHECKSUM]:
                raise DamagedStoreError(f"{self.path}: {self.names[index]} is not what was written")

    def _stored(self, index: int) -> np.ndarray:
        offset, height, width = self._index[index, :SPLIT]
        flat = self._pixels[offset : offset + height * width * self.channels]
        return flat.reshape(height, width, self.channels)


class StoreWriter:
    """Writes a store into an empty folder, one picture at a time; without `seal` it is no store."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pixels = (folder / "pixels.bin").open("xb")
        self._rows: list[list[int]] = []
        self._names: list[str] = []
        self._targets: list[int | tuple[float, ...]] = []
        self._moments = Moments()
        self._offset = 0

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._pixels.close()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, pixels: np.ndarray, *, name: str, target: int | tuple[float, ...], split: Split) -> None:
        """Adds a picture, uint8 [C, H, W], with its label (classification) or its values (other tasks)."""
        _, height, width = pixels.shape
        content = pixels.transpose(1, 2, 0).tobytes()
        self._pixels.write(content)
        self._rows.append([self._offset, height, width, SPLIT_CODES[split], zlib.crc32(content)])
        self._names.append(name)
        self._targets.append(target)
        if split == "train":
            self._moments.add(pixels)
        self._offset += len(content)

    def seal(
        self,
        *,
        task: Task,
        classes: tuple[str, ...],
        channels: int,
        short_side: int,
        fingerprint: str,
        skipped: Sequence[tuple[str, str]] = (),
    ) -> None:
        """Makes the store whole and durable."""
        self._pixels.flush()
        os.fsync(self._pixels.fileno())
        np.save(self._folder / "index.npy", np.array(self._rows, dtype=np.int64).reshape(-1, 5), allow_pickle=False)
        kind = np.int64 if task == "classification" else np.float32
        np.save(self._folder / "targets.npy", np.array(self._targets, dtype=kind), allow_pickle=False)
        mean, std = self._moments.mean_and_std(channels=channels)
        header = {
            "task": task,
            "classes": classes,
            "channels": channels,
            "short_side": short_side,
            "fingerprint": fingerprint,
            "mean": mean,
            "std": std,
            "names": self._names,
            "skipped": skipped,
        }
        # ASCII, for a file's name need not be valid Unicode.
        (self._folder / "header.json").write_text(json.dumps(header), encoding="ascii")
        digests = {name: content_digest((self._folder / name).read_bytes()) for name in SEALED}
        (self._folder / "seal.json").write_text(json.dumps({"bytes": self._offset, **digests}), encoding="ascii")
