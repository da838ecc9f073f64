"""The `data:` section of a sweep file, and the catalog of pictures that it names.

    settings = DataSettings(source="folder", path="hymenoptera_data")
    catalog = read_catalog(settings, base=sweep_file.parent)

Importing this module imports no torch; reading a catalog opens no picture.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Lt
from typing_extensions import Doc

from trainables.data.builtin import digits_catalog
from trainables.data.catalog import Catalog, Picture
from trainables.data.folders import folder_catalog
from trainables.errors import UserError

__all__ = ["Catalog", "DataSettings", "Picture", "read_catalog"]


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Where the pictures are and how they are split. One for the whole sweep, the same in every trial."""

    source: Annotated[
        Literal["digits", "folder"],
        Doc("`digits` (1,797 handwritten digits that come with scikit-learn) or `folder` (your own pictures)."),
    ] = "digits"
    path: Annotated[
        str | None,
        Doc(
            "The folder of `folder`, relative to the sweep file: `train/` and `val/` (or `valid/`, `validation/`), and"
            " `test/` if there is one, each with a folder for each class; or one folder of class folders, which is"
            " split."
        ),
    ] = None
    val: Annotated[
        float,
        Gt(0),
        Lt(1),
        Doc("Share of the pictures kept for validation, where no `val/` folder says so; each class gives its share."),
    ] = 0.2
    test: Annotated[
        float,
        Ge(0),
        Lt(1),
        Doc(
            "Share of the pictures kept for the final test, where no folders say so; 0 for none. A `train/` and a"
            " `val/` folder without `test/` mean none."
        ),
    ] = 0.1
    seed: Annotated[int, Ge(0), Lt(2**31), Doc("Seed of the split and of the random training views.")] = 0
    color: Annotated[
        Literal["auto", "rgb", "grey"],
        Doc("What the network sees: `rgb`, `grey` (one channel), or `auto` (digits grey, folders rgb)."),
    ] = "auto"
    on_bad_image: Annotated[
        Literal["error", "skip"],
        Doc("Pictures that cannot be read: `error` lists them before the first trial, `skip` leaves them out."),
    ] = "error"


def read_catalog(settings: DataSettings, *, base: Path) -> Catalog:
    """Finds the pictures and their labels and splits.

    `base` is the folder that a relative `data.path` starts from. `UserError` for a folder that is not there or
    holds no usable set of classes.
    """
    if settings.source == "digits":
        if settings.path is not None:
            raise UserError(
                "digits are built in and take no path",
                where="data.path",
                got=settings.path,
                hint="for pictures of your own set data.source: folder",
            )
        return digits_catalog(
            val=settings.val,
            test=settings.test,
            seed=settings.seed,
            channels=3 if settings.color == "rgb" else 1,
        )
    if not settings.path:
        raise UserError("missing", where="data.path", expected="a folder of pictures", hint="data.source is folder")
    try:
        path = Path(settings.path).expanduser()
    except RuntimeError as error:  # ~name, and nobody of that name
        raise UserError("no such home folder", where="data.path", got=settings.path) from error
    return folder_catalog(
        base / path,
        val=settings.val,
        test=settings.test,
        seed=settings.seed,
        channels=1 if settings.color == "grey" else 3,
    )
