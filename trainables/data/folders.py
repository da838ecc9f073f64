"""A folder of pictures as a catalog: `train/` + `val/` [+ `test/`], or one folder of classes.

    catalog = folder_catalog(Path("hymenoptera_data"), val=0.2, test=0.1, seed=0, channels=3)

Sub-folders of a class belong to it, links are followed, hidden files and folders are passed over, and files that are
no pictures by their extension are counted in a note. No picture is opened.
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainables.data.catalog import Catalog, Picture, Split
from trainables.data.splits import stratified_split
from trainables.errors import UserError
from trainables.wording import counted, few

EXTENSIONS = frozenset(
    [".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".tif", ".tiff", ".gif"]
)
# In any case: Train/ is train/.
SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
# Left behind by archivers and file servers, never a class.
NOT_CLASSES = frozenset({"__MACOSX", "@eaDir"})
WHERE = "data.path"


@dataclass(frozen=True)
class ClassFolders:
    """The class folders in one folder: pictures by class, and what is no part of any.

    Attributes:
        pictures: by class, their names relative to the root.
        loose: how many pictures lie beside the class folders.
        others: how the names of all other files end, such as `.txt`.
    """

    pictures: dict[str, list[str]]
    loose: int
    others: list[str]


def folder_catalog(root: Path, *, val: float, test: float, seed: int, channels: int) -> Catalog:
    """Finds the pictures below `root`.

    `train/` counts as a split when it holds folders, else, beside other classes, as a class of that name. Without a
    validation folder, validation pictures are split off from `train/`; without both that and `test/`, test pictures
    too. `UserError` for all that cannot be trained on: no folder, no pictures, an empty class, fewer than two classes,
    classes that differ between the splits, too few pictures of a class to split.
    """
    try:
        check_folder(root)
        if folders := _split_folders(root):
            return _from_splits(root, folders, val=val, test=test, seed=seed, channels=channels)
        return _from_classes(root, val=val, test=test, seed=seed, channels=channels)
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror or error})", where=WHERE, got=str(error.filename or root)
        ) from error


def classes_in(root: Path) -> dict[str, list[str]]:
    """The pictures of each class in one folder of class folders, names relative to `root`.

    `UserError` where `folder_catalog` would have one, and for a folder that is split already.
    """
    try:
        check_folder(root)
        if folders := _split_folders(root):
            raise UserError(f"it is split already: {few(folders.values())}", where=WHERE, got=str(root))
        found = _scan(root, root)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=WHERE, got=str(root)) from error
    _check_classes(found, root=root)
    return found.pictures


def check_folder(root: Path) -> None:
    """`UserError` unless the folder is there."""
    if not root.exists():
        raise UserError("no such folder", where=WHERE, got=str(root), hint=_nearest_parent(root))
    if not root.is_dir():
        raise UserError("not a folder", where=WHERE, got=str(root), expected="a folder of pictures")


def _nearest_parent(path: Path) -> str:
    parent = next((parent for parent in path.parents if parent.is_dir()), None)
    return f"{parent} is there, the rest is not" if parent else "check the path"


def _split_folders(root: Path) -> dict[Split, str]:
    """The folders that hold splits, by split, or nothing when `root` holds the classes itself.

    Folders that are named like splits but cannot be taken for some are an error, for as classes they would train a
    network to tell the splits apart.
    """
    folders = _sub_folders(root)
    named: dict[Split, list[str]] = {}
    for split, accepted in SPLIT_NAMES.items():
        if found := [folder for folder in folders if folder.lower() in accepted]:
            named[split] = found
    holding = [name for names in named.values() for name in names if _sub_folders(root / name)]
    if not holding:
        if named and sum(len(names) for names in named.values()) == len(folders):
            raise UserError(
                f"no class folders in {few(f'{name}/' for name in folders)}",
                where=WHERE,
                got=str(root),
                expected="train/<class>/<picture>",
            )
        return {}
    for split, names in named.items():
        if len(names) > 1:
            raise UserError(f"more than one {split} folder: {', '.join(names)}", where=WHERE, got=str(root))
    if not set(named.get("train", ())) & set(holding):
        raise UserError(f"{holding[0]}/ has class folders, but no train/ does", where=WHERE, got=str(root))
    return {split: names[0] for split, names in named.items()}


def _from_splits(
    root: Path, folders: dict[Split, str], *, val: float, test: float, seed: int, channels: int
) -> Catalog:
    notes = []
    places = {split: _scan(root / name, root) for split, name in folders.items()}
    if "test" in places and not places["test"].pictures:
        notes.append(f"{folders['test']}/ has no class folders and is not used")
        del places["test"]
    for split, found in places.items():
        _check_classes(found, root=root, split=split)
        _check_same_classes(places["train"], found, split=split, root=root)

    pictures: tuple[Picture, ...]
    if "val" in places:
        pictures = tuple(_labelled("train", places["train"])) + tuple(_labelled("val", places["val"]))
    else:
        test_share = 0.0 if "test" in places else test
        pictures = _split_by_fraction(places["train"], val=val, test=test_share, seed=seed)
        notes.append(f"no val/ folder: {val:g} of train/ is kept for validation (data.val)")
        if test_share:
            notes.append(f"no test/ folder: {test_share:g} of train/ is kept for the final test (data.test)")
    if "test" in places:
        pictures += tuple(_labelled("test", places["test"]))
    notes += _notes(*places.values())
    if others := [name for name in _sub_folders(root) if name not in folders.values()]:
        notes.append(f"not used, beside {folders['train']}/: {few(others)}")
    return Catalog("folder", root, tuple(places["train"].pictures), channels, pictures, tuple(notes))


def _from_classes(root: Path, *, val: float, test: float, seed: int, channels: int) -> Catalog:
    found = _scan(root, root)
    _check_classes(found, root=root)
    pictures = _split_by_fraction(found, val=val, test=test, seed=seed)
    notes = _notes(found)
    inside = [set(_sub_folders(root / name)) for name in found.pictures]
    if len(inside[0]) > 1 and all(names == inside[0] for names in inside):
        notes.append(
            f"{few(found.pictures)} are taken as the classes; if {few(sorted(inside[0]))} are, name the folders"
            " train/ and val/"
        )
    return Catalog("folder", root, tuple(found.pictures), channels, pictures, tuple(notes))


def _scan(folder: Path, root: Path) -> ClassFolders:
    """The pictures of each class folder in `folder`, in sorted order; classes without pictures are kept, empty."""
    pictures: dict[str, list[str]] = {}
    others: list[str] = []
    for name in _sub_folders(folder):
        pictures[name], more = _walk(folder / name, root)
        others += more
    beside = [_ending(entry) for entry in folder.iterdir() if not hidden(entry.name) and entry.is_file()]
    others += [ending for ending in beside if ending not in EXTENSIONS]
    return ClassFolders(pictures, sum(ending in EXTENSIONS for ending in beside), others)


def _walk(folder: Path, root: Path) -> tuple[list[str], list[str]]:
    """Names of the pictures below `folder`, relative to `root`, and the endings of other files' names."""
    names: list[str] = []
    others: list[str] = []
    seen: set[tuple[int, int]] = set()  # links may lead in circles
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        facts = Path(place).stat()
        if (facts.st_dev, facts.st_ino) in seen:
            folders.clear()
            continue
        seen.add((facts.st_dev, facts.st_ino))
        folders[:] = sorted(name for name in folders if not hidden(name))
        for name in files:
            if hidden(name):
                continue
            path = Path(place, name)
            if (ending := _ending(path)) in EXTENSIONS:
                names.append(path.relative_to(root).as_posix())
            else:
                others.append(ending)
    return sorted(names), others


def _ending(path: Path) -> str:
    return path.suffix.lower()


def _raise(error: OSError) -> None:
    raise error


def _sub_folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if not hidden(entry.name) and entry.is_dir())


def hidden(name: str) -> bool:
    """Whether a file or folder of that name is no part of a set of pictures."""
    return name.startswith(".") or name in NOT_CLASSES


def _check_classes(found: ClassFolders, *, root: Path, split: str | None = None) -> None:
    place = f"{split}: " if split else ""
    got = str(root)
    if not any(found.pictures.values()):
        if not found.pictures and (found.loose or found.others):
            raise UserError(f"{place}no class folders, only files", where=WHERE, got=got, expected="one folder a class")
        raise UserError(
            f"{place}no pictures",
            where=WHERE,
            got=got,
            expected=f"files with {' '.join(sorted(EXTENSIONS))}",
            hint=f"those that are there end in {_frequent(found.others)}" if found.others else None,
        )
    if empty := [name for name, names in found.pictures.items() if not names]:
        several = "classes" if len(empty) > 1 else "class"
        raise UserError(
            f"{place}empty {several}: {few(empty)}", where=WHERE, got=got, hint="add pictures or remove the folder"
        )
    if len(found.pictures) < 2:
        raise UserError(
            f"{place}only one class: {few(found.pictures)}", where=WHERE, got=got, expected="two or more class folders"
        )


def _check_same_classes(train: ClassFolders, other: ClassFolders, *, split: Split, root: Path) -> None:
    parts = []
    for name, here, there in (("train", train, other), (split, other, train)):
        if only := sorted(set(here.pictures) - set(there.pictures)):
            parts.append(f"only in {name}: {few(only)}")
    if parts:
        raise UserError(f"classes differ between train and {split} ({'; '.join(parts)})", where=WHERE, got=str(root))


def _labelled(split: Split, found: ClassFolders) -> Iterable[Picture]:
    for label, names in enumerate(found.pictures.values()):
        for name in names:
            yield Picture(name, label, split)


def _split_by_fraction(found: ClassFolders, *, val: float, test: float, seed: int) -> tuple[Picture, ...]:
    pictures = list(_labelled("train", found))
    splits = stratified_split(
        [picture.name for picture in pictures],
        [picture.label for picture in pictures],
        classes=list(found.pictures),
        val=val,
        test=test,
        seed=seed,
    )
    return tuple(Picture(picture.name, picture.label, split) for picture, split in zip(pictures, splits, strict=True))


def _notes(*places: ClassFolders) -> list[str]:
    """What the user should know of these folders' classes and of what is passed over in them."""
    notes = list(alike(places[0].pictures))
    if loose := sum(found.loose for found in places):
        notes.append(f"{counted(loose, 'picture')} beside the class folders passed over")
    if others := [ending for found in places for ending in found.others]:
        what = counted(len(others), "file")
        notes.append(f"{what} without a picture's extension passed over ({_frequent(others)})")
    return notes


def _frequent(endings: Iterable[str]) -> str:
    """The most frequent ones in words."""
    counts = Counter(ending or "none" for ending in endings)
    return few(sorted(counts, key=lambda ending: (-counts[ending], ending)))


def alike(classes: Iterable[str]) -> Iterator[str]:
    """A line for each set of classes that are most likely one."""
    by_lower: dict[str, list[str]] = {}
    for name in classes:
        by_lower.setdefault(name.lower(), []).append(name)
    for names in by_lower.values():
        if len(names) > 1:
            yield f"classes that differ in upper and lower case only: {few(names)}"


def check_names(names: Iterable[str], *, where: str = WHERE) -> None:
    """`UserError` for a name that is not UTF-8 on the disk: no record, report or model could hold it."""
    for name in names:
        if (shown := in_utf8(name)) != name:
            raise UserError(f"the name of a file or folder is not valid UTF-8: {shown}", where=where, hint="rename it")


def in_utf8(text: str) -> str:
    """The text, with bytes that were no UTF-8 in a file's name as `\\xe9`."""
    if text.isascii():
        return text
    return "".join(f"\\x{ord(c) - 0xDC00:02x}" if "\udc80" <= c <= "\udcff" else c for c in text)
