"""Published sets of small pictures, read from the files that torchvision keeps of them.

    catalog = published_catalog("fashion_mnist", root=Path("data"), download=True, official_test="test", val=0.2, …)

`root` is what torchvision calls so: `FashionMNIST/raw/…` is below it. MNIST and its kin are read here, gzipped or not,
so that a folder that cannot be written will do; the others by torchvision, after every file has been found to be the
one that was published, which is what makes CIFAR's pickles safe to open.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from trainables.data.catalog import Catalog, Picture, Split
from trainables.data.idx import read_idx
from trainables.data.published_sets import PARTS, SETS, Listed, Part, PublishedSet
from trainables.data.splits import stratified_split
from trainables.errors import UserError

WHERE = "data.path"


def published_catalog(
    name: str,
    *,
    root: Path,
    download: bool,
    official_test: Literal["test", "val"],
    val: float,
    seed: int,
    channels: int | None,
) -> Catalog:
    """The pictures of a set of `SETS`, in its own order, those for training first.

    The set's test pictures are the final test's, and the share `val` of its training pictures is kept for validation;
    with `official_test` "val" they are validated on, and there is no final test. `channels` None: as the set is.
    `UserError` for files that are missing and cannot be fetched, or are not what was published.
    """
    facts = SETS[name]
    if not root.is_dir() and not download:
        raise UserError("no such folder", where=WHERE, got=str(root), hint="data.download: true fetches the files")
    arrays, labels = zip(*(_part(facts, part, root=root, download=download) for part in PARTS), strict=True)
    sizes = [len(rows) for rows in labels]
    names = [f"{name}/{part}/{row}" for part, size in zip(PARTS, sizes, strict=True) for row in range(size)]
    count = sizes[0]
    every = np.concatenate(labels).tolist()
    splits: list[Split] = ["train"] * count
    if official_test == "test":
        splits = stratified_split(names[:count], every[:count], classes=facts.classes, val=val, test=0, seed=seed)
    splits += [official_test] * sizes[1]
    pictures = tuple(map(Picture, names, every, splits))
    return Catalog(name, root, facts.classes, channels or facts.channels, pictures, arrays=np.concatenate(arrays))


def _part(facts: PublishedSet, part: Part, *, root: Path, download: bool) -> tuple[np.ndarray, np.ndarray]:
    """Pictures, uint8 [N, H, W] or [N, H, W, 3], and labels, int64 [N], from 0."""
    files = facts.files[part] if facts.files else listed(facts, part)
    find = _places if facts.files else _places_together
    places = find(files, root)
    if missing := [file.path for file, place in zip(files, places, strict=True) if not place.is_file()]:
        _fetch(facts, root=root, missing=missing, download=download)
        places = find(files, root)
    if facts.files:
        pictures, labels = _idx_part(places, files)
    else:
        _check_published(places, files)
        pictures, labels = _read_by_torchvision(facts, part, places[0].parent)
    labels = labels.astype(np.int64) - facts.first_label
    if len(pictures) != len(labels) or not len(labels) or not 0 <= labels.min() <= labels.max() < len(facts.classes):
        raise UserError(
            f"{len(pictures):,} pictures and {len(labels):,} labels do not fit together",
            where=str(places[0]),
            expected=f"a label from 0 to {len(facts.classes) - 1} for each picture",
        )
    return (pictures if facts.upright else pictures.swapaxes(1, 2)), labels


def _places(files: Sequence[Listed], root: Path) -> list[Path]:
    """Each file, wherever it is found below `root`; where torchvision would put it if it is nowhere."""
    return [file.place(root) or root / file.path for file in files]


def _places_together(files: Sequence[Listed], root: Path) -> list[Path]:
    """The files of a set that torchvision reads: all in the folder where it keeps them below `root`, or all in `root`.

    It looks for them in one folder only, so they are not taken from several.
    """
    usual, flat = [root / file.path for file in files], [root / Path(file.path).name for file in files]
    return next((places for places in (usual, flat) if all(place.is_file() for place in places)), usual)


def listed(facts: PublishedSet, part: Part) -> list[Listed]:
    """The files that one part of a set needs, by what torchvision's class says of itself."""
    dataset = _dataset(facts)
    if hasattr(dataset, "split_list"):
        _, name, checksum = dataset.split_list[part]
        return [Listed(name, checksum)]
    # torchvision wants all the files of these before it reads any.
    files = [*dataset.train_list, *dataset.test_list]
    if hasattr(dataset, "meta"):
        files.append((dataset.meta["filename"], dataset.meta["md5"]))
    return [Listed(f"{dataset.base_folder}/{name}", checksum) for name, checksum in files]


def _dataset(facts: PublishedSet) -> Any:
    """torchvision's class; imported late, for it brings torch along."""
    from torchvision import datasets

    return getattr(datasets, facts.dataset)


def _fetch(facts: PublishedSet, *, root: Path, missing: list[str], download: bool) -> None:
    hint = f"put torchvision's files of {facts.dataset} there, or set data.path to the folder that has them"
    if not download:
        raise UserError(f"{missing[0]} is missing", where=WHERE, got=str(root), hint=f"{hint}, or data.download: true")
    try:
        root.mkdir(parents=True, exist_ok=True)
        for part in PARTS:
            _dataset(facts)(str(root), download=True, **facts.options(part))
    except (OSError, RuntimeError) as error:  # what urllib and torchvision raise
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise UserError(
            f"{missing[0]} is missing and cannot be downloaded ({reason})", where=WHERE, got=str(root), hint=hint
        ) from error


def _idx_part(places: Sequence[Path], files: Sequence[Listed]) -> tuple[np.ndarray, np.ndarray]:
    pictures = read_idx(places[0], dimensions=3, checksum=files[0].checksum)
    if "idx2-int" in files[1].path:  # QMNIST: of eight columns the first is the class
        return pictures, read_idx(places[1], dimensions=2, kind=0x0C, checksum=files[1].checksum)[:, 0]
    return pictures, read_idx(places[1], dimensions=1, checksum=files[1].checksum)


def _check_published(places: Sequence[Path], files: Sequence[Listed]) -> None:
    for place, file in zip(places, files, strict=True):
        try:
            with place.open("rb") as content:
                got = hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror or error})", where=str(place)) from error
        if got != file.checksum:
            raise UserError(
                "not the file that was published: wrong MD5 checksum",
                where=str(place),
                got=got,
                expected=file.checksum,
                hint="remove it and fetch it again",
            )


def _read_by_torchvision(facts: PublishedSet, part: Part, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """`folder` has the files themselves: nothing is read but those that have been checked."""
    here = type(facts.dataset, (_dataset(facts),), {"base_folder": ""})
    try:
        read = here(str(folder), **facts.options(part))
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot be read ({error})", where=WHERE, got=str(folder)) from error
    pictures = np.asarray(read.data)
    if pictures.ndim == 4 and pictures.shape[1] == 3:
        pictures = pictures.transpose(0, 2, 3, 1)
    return pictures, np.asarray(read.targets if hasattr(read, "targets") else read.labels)
