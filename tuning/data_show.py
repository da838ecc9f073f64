"""What a sweep would learn from, in lines: how many pictures of what, their sizes, and what may be wrong with them.

spec, name = spec_of("my.yaml", sets=("augment=strong",))
found = look(spec, console=console)
print(*found.lines(), sep="\\n")
"""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median_low

from PIL import Image, UnidentifiedImageError
from rich.console import Console

from reports.tables import printable, shown
from trainables.data.cache import cache_folder
from trainables.data.catalog import Catalog
from trainables.data.duplicates import duplicates
from trainables.data.folders import EXTENSIONS
from trainables.data.parallel import ordered_map
from trainables.data.pixels import picture_digests
from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.files import expanded
from trainables.settings import TrialSettings
from trainables.wording import counted, few
from tuning.overrides import apply_sets
from tuning.ready import find_space
from tuning.setup import left_out, open_pictures, short_side
from tuning.spec import Spec
from tuning.spec_file import load_spec, read_spec
from tuning.yaml_file import YamlFile

ARGUMENT = "FILE"  # what a place is called where it is no sweep file's
LISTED = 40  # classes with a line of their own
FEW = 10  # training pictures; fewer are hardly enough of a class
UNEVEN = 3  # times as many of one class as of another
Size = tuple[int, int]  # width, height in pixels


def spec_of(file: str, *, sets: Sequence[str]) -> tuple[Spec, str]:
    """The sweep file's spec, and its name; of a folder or a CSV file a spec with nothing to explore.

    Raises:
        UserError: there is no such file, or it or a `--set` is wrong.
    """
    path = expanded(file)
    if _is_sweep_file(path):
        found = find_space(file, expected="a folder of pictures, a CSV file, or a sweep file")
        return load_spec(found, sets=tuple(sets)), found.stem
    plain = {"data": {"source": _source(path), "path": str(path)}, "search": {"trials": 1}}
    read = YamlFile(path, plain, {}, {("data",): file, ("data", "path"): file})
    return read_spec(apply_sets(read, list(sets), base=Path()), base=Path()), path.resolve().stem


def _is_sweep_file(path: Path) -> bool:
    return not path.is_dir() and path.suffix.lower() not in (".csv", ".tsv")


def _source(path: Path) -> str:
    if not path.is_dir():
        return "csv"
    try:
        entries = list(path.iterdir())
        loose = any(entry.suffix.lower() in EXTENSIONS for entry in entries if entry.is_file())
        folders = any(entry.is_dir() and not entry.name.startswith(".") for entry in entries)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})", where=ARGUMENT, got=str(path)) from error
    return "flat" if loose and not folders else "folder"


@contextmanager
def told_of(file: str) -> Iterator[None]:
    """Errors of the pictures' place in the words of `tune data show`; in a sweep file it is `data.path`."""
    try:
        yield
    except UserError as error:
        if error.where != "data.path" or _is_sweep_file(expanded(file)):
            raise
        raise UserError(error.what, where=ARGUMENT, got=error.got, expected=error.expected, hint=error.hint) from error


@dataclass(frozen=True)
class Look:
    """The pictures of a sweep as its trials would get them, with what the user should know of them."""

    spec: Spec
    settings: TrialSettings
    catalog: Catalog
    store: PixelStore
    sizes: list[Size]
    warnings: list[str]

    def lines(self) -> list[str]:
        """The whole of it, a line at a time; names as a terminal may show them."""
        data, store = self.spec.data, self.store
        source = printable(f"{data.source} {data.path or ''}")
        kind = {"classification": ("class", "classes"), "multilabel": ("label",), "regression": ("target",)}[store.task]
        kinds = counted(len(store.classes), *kind)
        colour = "grey" if store.channels == 1 else "RGB"
        first = f"{source}: {counted(len(store), 'picture')}, {store.task}, {kinds}, seen in {colour}"
        notes = [f"note: {printable(note)}" for note in self.catalog.notes]
        return [
            first,
            "",
            *_count_lines(store),
            *_target_lines(store),
            "",
            *_size_lines(self.sizes),
            *notes,
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def look(spec: Spec, *, console: Console) -> Look:
    """Reads and decodes the pictures; those that cannot be read are warned of. Errors as `open_pictures`."""
    settings = spec.settings_for({})
    data = dataclasses.replace(spec.data, on_bad_image="skip")
    catalog, store = open_pictures(data, spec.base, short_side=short_side(spec), console=console)
    sizes = picture_sizes(catalog)
    digests = picture_digests(catalog, cache=cache_folder())
    warnings = [
        *left_out(store),
        *(_classes(store) if store.task == "classification" else _targets(store)),
        *_small(sizes, settings.image_size),
        *(printable(line) for line in duplicates(catalog, digests, skipped=store.skipped)),
    ]
    return Look(spec, settings, catalog, store, sizes, warnings)


def picture_sizes(catalog: Catalog) -> list[Size]:
    """Width and height of each picture as it is stored; those whose header cannot be read are left out."""
    if catalog.arrays is not None:
        return [(catalog.arrays.shape[2], catalog.arrays.shape[1])] * len(catalog.arrays)

    def size(index: int) -> Size | None:
        try:
            with Image.open(catalog.content(index)) as picture:  # type: ignore[arg-type]
                return picture.size
        except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombError):
            return None

    return [found for found in ordered_map(size, range(len(catalog.pictures))) if found]


# lines


def _count_lines(store: PixelStore) -> Iterator[str]:
    """A table: each class or label, how many pictures of it there are in each split."""
    counts = store.counts()
    names = list(next(iter(counts.values())))
    rows = [(printable(name), [counts[split][name] for split in counts]) for name in names[:LISTED]]
    totals = ("pictures", [len(store.indices(split)) for split in counts])
    if store.task != "regression":
        rows.append(totals)
    width = max(len(name) for name, _ in rows)
    yield f"{'':{width}}" + "".join(f"{split:>9}" for split in counts)
    for name, numbers in rows:
        if (name, numbers) == totals and len(names) > LISTED:
            yield f"… and {len(names) - LISTED} more"
        yield f"{name:{width}}" + "".join(f"{number:9,}" for number in numbers)


def _target_lines(store: PixelStore) -> Iterator[str]:
    """Regression: what values the training pictures' targets have."""
    if store.task == "regression":
        targets = store.targets[store.indices("train")].double()
        for name, column in zip(store.classes, targets.T, strict=True):
            low, mean, high = column.min().item(), column.mean().item(), column.max().item()
            yield f"{printable(name)}: {shown(low)} to {shown(high)}, mean {shown(mean)} (training pictures)"


def _size_lines(sizes: list[Size]) -> Iterator[str]:
    if not sizes:
        return
    by_area = sorted(sizes, key=lambda size: size[0] * size[1])
    if by_area[0] == by_area[-1]:
        yield f"size: {_times(by_area[0])} pixels"
    else:
        middle = by_area[(len(by_area) - 1) // 2]
        yield f"sizes: {_times(by_area[0])} to {_times(by_area[-1])} pixels, {_times(middle)} in the middle"


def _times(size: Size) -> str:
    return f"{size[0]} × {size[1]}"


# warnings


def _classes(store: PixelStore) -> Iterator[str]:
    counts = store.counts()
    training = counts["train"]
    most, least = max(training, key=lambda n: training[n]), min(training, key=lambda n: training[n])
    if training[most] >= UNEVEN * training[least]:
        yield printable(
            f"imbalance: {training[most]:,} training pictures of {most!r}, {training[least]:,} of {least!r};"
            " accuracy alone would favour the first"
        )
    if small := [f"{name!r} {number}" for name, number in training.items() if number < FEW]:
        yield printable(f"fewer than {FEW} training pictures: {few(small)}")
    for split in counts:
        if absent := [repr(name) for name, number in counts[split].items() if not number]:
            yield printable(f"no {split} picture of {few(absent)}")


def _targets(store: PixelStore) -> Iterator[str]:
    """Labels and numbers that are the same in all training pictures teach nothing."""
    targets = store.targets[store.indices("train")]
    same = [repr(name) for name, column in zip(store.classes, targets.T, strict=True) if len(column.unique()) == 1]
    if same:
        yield printable(f"the same in every training picture: {few(same)}")
    if store.task == "multilabel":
        rare = [(name, int(n)) for name, n in zip(store.classes, targets.sum(dim=0), strict=True) if 0 < n < FEW]
        if rare:
            yield printable(f"fewer than {FEW} training pictures: {few(f'{name!r} {n}' for name, n in rare)}")


def _small(sizes: list[Size], image_size: int) -> Iterator[str]:
    small = [size for size in sizes if min(size) < image_size]
    if small:
        side = median_low(min(size) for size in small)
        yield (
            f"{len(small):,} of {len(sizes):,} pictures are smaller than image_size {image_size} and are enlarged"
            f" (half of them have at most {side} pixels)"
        )
