"""The `data:` section of a sweep file, and the catalog of pictures that it names.

    settings = DataSettings(source="folder", path="hymenoptera_data")
    catalog = read_catalog(settings, base=sweep_file.parent)

Importing this module imports no torch; reading a catalog opens no picture file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

from annotated_types import Ge, Gt, Lt
from typing_extensions import Doc

from trainables.data.builtin import digits_catalog
from trainables.data.cache import cache_folder, kind_folder
from trainables.data.catalog import Catalog, Picture, Task
from trainables.data.csv_table import Columns, csv_catalog
from trainables.data.flat import compiled, flat_catalog
from trainables.data.folders import check_names, folder_catalog, in_utf8
from trainables.data.published import published_catalog
from trainables.data.splits import limited
from trainables.errors import UserError

__all__ = ["Catalog", "DataSettings", "Picture", "read_catalog"]

Own = Literal["digits", "folder", "flat", "csv"]
Published = Literal[
    "mnist",
    "fashion_mnist",
    "kmnist",
    "qmnist",
    "emnist_balanced",
    "emnist_letters",
    "emnist_digits",
    "usps",
    "cifar10",
    "cifar100",
    "svhn",
    "stl10",
]
Source = Literal[Own, Published]
PUBLISHED: tuple[str, ...] = get_args(Published)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the pictures are and how they are split. One for the whole sweep, the same in every trial."""

    source: Annotated[
        Source,
        Doc(
            "`digits` (1,797 handwritten digits that come with scikit-learn), `folder` (your own pictures, a folder for"
            " each class), `flat` (one folder, the class in each file's name), `csv` (a table of pictures and targets),"
            " or a set that torchvision can fetch."
        ),
    ] = "digits"
    path: Annotated[
        str | None,
        Doc(
            "Relative to the sweep file. The folder of `folder`: `train/` and `val/` (or `valid/`, `validation/`), and"
            " `test/` if there is one, each with a folder for each class; or one folder of class folders, which is"
            " split. The folder of `flat`. The file of `csv`. For torchvision's sets the folder that it calls `root`,"
            " by default one in the cache."
        ),
    ] = None
    task: Annotated[
        Task,
        Doc(
            "What is learnt: `classification` (one class for each picture), `multilabel` (any number of labels) or"
            " `regression` (numbers, in their own units). The last two are for `source: csv`."
        ),
    ] = "classification"
    pattern: Annotated[
        str,
        Doc(
            "`flat`: the names of the files, with `<label>` for the class, `<number>` for digits and `*` for anything."
            " `<label>.*` takes `cat.17.jpg`; `<label>_<number>.*` takes `great_dane_12.jpg`."
        ),
    ] = "<label>.*"
    image_column: Annotated[str, Doc("`csv`: the column with the pictures' paths, which may lack their ending.")] = (
        "image"
    )
    target_columns: Annotated[
        str | list[str],
        Doc(
            "`csv`: the column, or a list of columns, with the targets: the class; a 0 or 1 for each label, or all"
            " labels in one cell; the numbers of a regression."
        ),
    ] = "label"
    separator: Annotated[str, Doc("`csv`: what parts the labels of one cell, `cat;dog`.")] = ";"
    split_column: Annotated[
        str | None,
        Doc("`csv`: the column that says `train`, `val` or `test`; empty to split by `val`, `test` and `seed`."),
    ] = None
    root: Annotated[
        str | None, Doc("`csv`: the folder that the pictures' paths are seen from; empty for the file's own.")
    ] = None
    val: Annotated[
        float,
        Gt(0),
        Lt(1),
        Doc("Share of the pictures kept for validation, where nothing else says so; each class gives its share."),
    ] = 0.2
    test: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc(
            "Share of the pictures kept for the final test, where nothing else says so; 0 for none. A `train/` and a"
            " `val/` folder without `test/` mean none; torchvision's sets have test pictures of their own."
        ),
    ] = 0.1
    official_test: Annotated[
        Literal["test", "val"],
        Doc(
            "What the test pictures of torchvision's sets are for: the final `test`, with `val` of the others for"
            " validation; or `val`, as tutorials do, and then there is no final test."
        ),
    ] = "test"
    limit: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc("Use only this many training pictures, of each class its share, and the same share of all other pictures."),
    ] = None
    download: Annotated[bool, Doc("Fetch torchvision's sets where their files are missing.")] = True
    seed: Annotated[
        int, Ge(0), Lt(2**31), Doc("Seed of the split, of the choice by `limit`, and of the random training views.")
    ] = 0
    color: Annotated[
        Literal["auto", "rgb", "grey"],
        Doc("What the network sees: `rgb`, `grey` (one channel), or `auto` (published sets as they are, else rgb)."),
    ] = "auto"
    on_bad_image: Annotated[
        Literal["error", "skip"],
        Doc("Pictures that cannot be read: `error` lists them before the first trial, `skip` leaves them out."),
    ] = "error"
    keep_px: Annotated[
        Annotated[int, Ge(1)] | None,
        Doc(
            "Keep the decoded pictures with a shorter side of at least so many pixels; empty for what validation needs"
            " (256 at `image_size: 224`). `standard` and `strong` cut their random crops out of what is kept, and"
            " enlarge those that are smaller than `image_size`: more keeps these sharper, and takes more disk and time."
        ),
    ] = None


# Settings that only some sources look at.
ONLY_FOR: dict[str, tuple[str, ...]] = {
    "path": ("folder", "flat", "csv", *PUBLISHED),
    "pattern": ("flat",),
    "image_column": ("csv",),
    "target_columns": ("csv",),
    "separator": ("csv",),
    "split_column": ("csv",),
    "root": ("csv",),
    "test": ("digits", "folder", "flat", "csv"),
    "official_test": PUBLISHED,
    "download": PUBLISHED,
}


def read_catalog(settings: DataSettings, *, base: Path) -> Catalog:
    """Finds the pictures and their targets and splits.

    `base` is the folder that a relative `data.path` starts from. `UserError` for what is not there or holds no usable
    set of pictures, and for names that are not UTF-8.
    """
    check_data_settings(settings)
    reader = OWN_READERS.get(settings.source, _published)
    catalog = reader(settings, base)
    check_names(picture.name for picture in catalog.pictures)
    # Files that are not used may be called what they like.
    catalog = replace(catalog, notes=tuple(map(in_utf8, catalog.notes)))
    return limited(catalog, limit=settings.limit, seed=settings.seed)


def check_data_settings(settings: DataSettings) -> None:
    """`UserError` for what is wrong whatever the files are."""
    if settings.source == "digits" and settings.path is not None:
        raise UserError(
            "digits are built in and take no path",
            where="data.path",
            got=settings.path,
            hint="for pictures of your own set data.source: folder",
        )
    if settings.source in ("folder", "flat", "csv") and not settings.path:
        expected = f"the path of {'a CSV file' if settings.source == 'csv' else 'a folder of pictures'}"
        raise UserError(f"{settings.source} needs data.path", where="data.path", expected=expected)
    if settings.task != "classification" and settings.source != "csv":
        raise UserError(
            f"a {settings.source} has classes only", where="data.task", got=settings.task, hint="set data.source: csv"
        )
    if settings.source == "flat":
        compiled(settings.pattern)
    if not settings.separator or not target_columns(settings):
        empty = "separator" if not settings.separator else "target_columns"
        raise UserError("empty", where=f"data.{empty}", expected="text")


def target_columns(settings: DataSettings) -> tuple[str, ...]:
    """The names of the target columns, one or several."""
    named = settings.target_columns
    return (named,) if isinstance(named, str) else tuple(named)


def _digits(settings: DataSettings, base: Path) -> Catalog:
    channels = 3 if settings.color == "rgb" else 1
    return digits_catalog(val=settings.val, test=settings.test, seed=settings.seed, channels=channels)


def _folder(settings: DataSettings, base: Path) -> Catalog:
    return folder_catalog(
        _place(settings.path, base, "data.path"),
        val=settings.val,
        test=settings.test,
        seed=settings.seed,
        channels=_channels(settings),
    )


def _flat(settings: DataSettings, base: Path) -> Catalog:
    return flat_catalog(
        _place(settings.path, base, "data.path"),
        pattern=settings.pattern,
        val=settings.val,
        test=settings.test,
        seed=settings.seed,
        channels=_channels(settings),
    )


def csv_columns(settings: DataSettings) -> Columns:
    """Which columns of a CSV file say what."""
    return Columns(
        image=settings.image_column,
        targets=target_columns(settings),
        split=settings.split_column,
        separator=settings.separator,
    )


def _csv(settings: DataSettings, base: Path) -> Catalog:
    return csv_catalog(
        _place(settings.path, base, "data.path"),
        csv_columns(settings),
        root=_place(settings.root, base, "data.root") if settings.root else None,
        task=settings.task,
        val=settings.val,
        test=settings.test,
        seed=settings.seed,
        channels=_channels(settings),
    )


def _published(settings: DataSettings, base: Path) -> Catalog:
    return published_catalog(
        settings.source,
        root=_place(settings.path, base, "data.path") if settings.path else kind_folder(cache_folder(), "datasets"),
        download=settings.download,
        official_test=settings.official_test,
        val=settings.val,
        seed=settings.seed,
        channels=None if settings.color == "auto" else _channels(settings),
    )


OWN_READERS: dict[str, Callable[[DataSettings, Path], Catalog]] = {
    "digits": _digits,
    "folder": _folder,
    "flat": _flat,
    "csv": _csv,
}


def _channels(settings: DataSettings) -> int:
    return 1 if settings.color == "grey" else 3


def _place(path: str | None, base: Path, where: str) -> Path:
    assert path is not None
    try:
        place = base / Path(path).expanduser()
    except RuntimeError as error:  # ~name, and nobody of that name
        raise UserError("no such home folder", where=where, got=path) from error
    check_names([str(place)], where=where)
    return place
