"""One folder of pictures whose class is in their names, as a catalog.

    catalog = flat_catalog(Path("dogsandcats"), pattern="<label>.*", val=0.2, test=0.1, seed=0, channels=3)

A pattern is a file's name with `<label>` where the class stands, `<number>` for digits and `*` for anything:
`<label>.*` takes `cat.17.jpg`, `<label>_<number>.jpg` takes `great_dane_12.jpg`, `*-<label>.png` takes `a-7-cat.png`.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from trainables.data.catalog import Catalog, Picture
from trainables.data.folders import EXTENSIONS, alike, check_folder, hidden
from trainables.data.splits import stratified_split
from trainables.errors import UserError
from trainables.wording import few

PLACES = {"<label>": "(?P<label>.+?)", "<number>": "[0-9]+", "*": ".*"}
_PLACE = re.compile(r"(<[^<>]*>|\*)")
WHERE = "data.path"


def flat_catalog(root: Path, *, pattern: str, val: float, test: float, seed: int, channels: int) -> Catalog:
    """The pictures directly in `root`, split by class.

    `UserError` for no folder, no pictures, names that the pattern does not take, fewer than two classes, or too few
    pictures of a class to split.
    """
    try:
        check_folder(root)
        names, others = labelled_names(root, pattern)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=WHERE, got=str(root)) from error
    classes = tuple(sorted(set(names.values())))
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers[label] for label in names.values()]
    instead = f"say with data.pattern where the class stands in a name (now {pattern})"
    splits = stratified_split(list(names), labels, classes=classes, val=val, test=test, seed=seed, instead=instead)
    pictures = tuple(Picture(*facts) for facts in zip(names, labels, splits, strict=True))
    return Catalog("flat", root, classes, channels, pictures, tuple(_notes(classes, others)))


def labelled_names(root: Path, pattern: str) -> tuple[dict[str, str], list[str]]:
    """The class of each picture in `root` by its file's name, sorted; and what else is there. Errors as above."""
    expression = compiled(pattern)
    files: list[str] = []
    others: list[str] = []
    for entry in sorted(root.iterdir()):
        if hidden(entry.name):
            continue
        (files if entry.suffix.lower() in EXTENSIONS and entry.is_file() else others).append(entry.name)
    if not files:
        folders = [name for name in others if (root / name).is_dir()]
        hint = f"it has folders ({few(folders)}): set data.source: folder" if folders else None
        raise UserError("no pictures in this folder", where=WHERE, got=str(root), hint=hint)
    found = {name: expression.fullmatch(name) for name in files}
    misfits = [name for name, match in found.items() if match is None]
    if misfits:
        raise UserError(
            f"{len(misfits)} of {len(files)} pictures do not fit the pattern ({few(misfits)})",
            where="data.pattern",
            got=pattern,
            hint="change the pattern, or move them elsewhere",
        )
    labels = {name: match["label"] for name, match in found.items() if match}
    if len(set(labels.values())) < 2:
        raise UserError(
            f"only one class, {labels[files[0]]!r}, in the names of {len(files)} pictures ({few(files, limit=3)})",
            where="data.pattern",
            got=pattern,
            expected="two or more different labels",
        )
    return labels, others


def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as a regular expression over a whole file name; the label is as short as it can be.

    `UserError` for one without `<label>`, with two of them, or with a place of another name.
    """
    parts = _PLACE.split(pattern)
    unknown = [part for part in parts if part.startswith("<") and part not in PLACES]
    if unknown or parts.count("<label>") != 1:
        raise UserError(
            f"no place called {unknown[0]}" if unknown else "it must have <label> once",
            where="data.pattern",
            got=pattern,
            expected="a name with <label>, and <number> or * for the rest, such as <label>.*",
        )
    return re.compile("".join(PLACES.get(part) or re.escape(part) for part in parts), re.DOTALL)


def _notes(classes: Iterable[str], others: list[str]) -> Iterator[str]:
    if others:
        yield f"not used, in the folder beside the pictures: {few(others)}"
    yield from alike(classes)
