"""What a source of pictures contains: names, labels and splits, with no pixel read yet.

catalog = read_catalog(DataSettings(source="folder", path="pictures"), base=Path.cwd())
catalog.counts()           # {"train": {"ants": 124, "bees": 121}, "val": {…}}
catalog.content(0)         # Path("pictures/train/ants/1.jpg")
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Picture:
    """One labelled picture.

    `name` is stable and relative, with forward slashes (`train/ants/1.jpg`, `digits/17`); `label` counts from 0 in
    the catalog's `classes`.
    """

    name: str
    label: int
    split: Split


@dataclass(frozen=True)
class Catalog:
    """All pictures of a source, in the order that gives them their index.

    `root` is the folder that the names are relative to; `None` for built-in pictures, which come in `arrays`
    (uint8 [N, H, W] or [N, H, W, 3], 0–255, in the order of `pictures`). `channels` is 1 (grey) or 3 (RGB): what a
    network sees. `notes` are lines that the user should be told.
    """

    source: str
    root: Path | None
    classes: tuple[str, ...]
    channels: int
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    arrays: np.ndarray | None = field(default=None, repr=False, compare=False)

    def content(self, index: int) -> Path | np.ndarray:
        """Where picture `index` is to be had: its file, or its pixels if it is built in."""
        if self.arrays is not None:
            return self.arrays[index]
        assert self.root is not None
        return self.root / self.pictures[index].name

    def counts(self) -> dict[str, dict[str, int]]:
        """Pictures by split and class, splits without pictures left out."""
        return count_pictures(self.classes, ((picture.split, picture.label) for picture in self.pictures))


def count_pictures(classes: Sequence[str], members: Iterable[tuple[Split, int]]) -> dict[str, dict[str, int]]:
    """Counts (split, label) pairs as {split: {class: number}}, every class named in every split that has pictures."""
    table: dict[Split, list[int]] = {split: [0] * len(classes) for split in SPLITS}
    for split, label in members:
        table[split][label] += 1
    return {split: dict(zip(classes, numbers, strict=True)) for split, numbers in table.items() if any(numbers)}
