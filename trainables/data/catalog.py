"""What a source of pictures contains: names, targets and splits, with no pixel read yet.

catalog = read_catalog(DataSettings(source="folder", path="pictures"), base=Path.cwd())
catalog.counts()           # {"train": {"ants": 124, "bees": 121}, "val": {…}}
catalog.content(0)         # Path("pictures/train/ants/1.jpg")
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
Task = Literal["classification", "multilabel", "regression"]


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what is to be learnt from it.

    `name` is stable and relative, with forward slashes (`train/ants/1.jpg`, `digits/17`). In classification `label`
    counts from 0 in the catalog's `classes`; in the other tasks it is 0 and `values` has one number for each of the
    classes: 0 or 1 in multilabel, the target in its own unit in regression.
    """

    name: str
    label: int
    split: Split
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Catalog:
    """All pictures of a source, in the order that gives them their index.

    `root` is the folder that the names are relative to; `None` for built-in pictures, which come in `arrays`
    (uint8 [N, H, W] or [N, H, W, 3], 0–255, in the order of `pictures`). `channels` is 1 (grey) or 3 (RGB): what a
    network sees. `classes` are the names of what a network puts out: classes, labels, or target columns. `notes` are
    lines that the user should be told.
    """

    source: str
    root: Path | None
    classes: tuple[str, ...]
    channels: int
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...] = ()
    arrays: np.ndarray | None = field(default=None, repr=False, compare=False)
    task: Task = "classification"

    def content(self, index: int) -> Path | np.ndarray:
        """Where picture `index` is to be had: its file, or its pixels if it is built in."""
        if self.arrays is not None:
            return self.arrays[index]
        assert self.root is not None
        return self.root / self.pictures[index].name

    def counts(self) -> dict[str, dict[str, int]]:
        """As `count_pictures`."""
        targets = self.targets()
        codes = np.array([SPLITS.index(picture.split) for picture in self.pictures])
        return count_pictures(self.task, self.classes, codes, targets)

    def targets(self) -> np.ndarray:
        """int64 [N] of labels; float32 [N, K] in multilabel and regression."""
        if self.task == "classification":
            return np.array([picture.label for picture in self.pictures], dtype=np.int64)
        rows = [picture.values for picture in self.pictures]
        return np.array(rows, dtype=np.float32).reshape(-1, len(self.classes))


def count_pictures(
    task: Task, classes: Sequence[str], splits: np.ndarray, targets: np.ndarray
) -> dict[str, dict[str, int]]:
    """{split: {class: number}}, every class named in every split that has pictures.

    `splits`: int [N], places in `SPLITS`. In multilabel a picture counts for each label it has, maybe none; in
    regression there is one line, `pictures`.
    """
    table: dict[str, dict[str, int]] = {}
    for code, split in enumerate(SPLITS):
        mine = targets[splits == code]
        if not len(mine):
            continue
        if task == "regression":
            table[split] = {"pictures": len(mine)}
            continue
        numbers = np.bincount(mine, minlength=len(classes)) if task == "classification" else mine.sum(axis=0)
        table[split] = {name: int(number) for name, number in zip(classes, numbers, strict=True)}
    return table
