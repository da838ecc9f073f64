"""Small pictures for a page: looked up by name in the sweep's source, if it still is there.

    pictures = thumbnails(sweep, ["val/ants/1.jpg"])
    pictures["val/ants/1.jpg"]                      # "data:image/jpeg;base64,…"; absent for one that is gone

Imports no torch.
"""

import base64
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from reports.sweep import Sweep
from trainables.data.decode import BadPictureError, decode
from trainables.data.sources import DataSettings, read_catalog
from trainables.errors import UserError

SIDE = 96
_QUALITY = 80


def thumbnails(sweep: Sweep, names: Iterable[str]) -> dict[str, str]:
    """JPEG data URIs by picture's name; those that cannot be found or read are left out."""
    wanted = set(names)
    if not wanted:
        return {}
    known = {field.name for field in dataclasses.fields(DataSettings)}
    settings = {name: value for name, value in sweep.record["spec"]["data"].items() if name in known}
    settings["download"] = False  # a report fetches nothing
    try:
        catalog = read_catalog(DataSettings(**settings), base=Path(sweep.record["base"]))
    except (UserError, OSError):  # the pictures have been moved or deleted since: their names have to do
        return {}
    found = {}
    for index, picture in enumerate(catalog.pictures):
        if picture.name in wanted:
            uri = _data_uri(catalog.content(index))
            if uri is not None:
                found[picture.name] = uri
    return found


def _data_uri(content: Path | np.ndarray) -> str | None:
    """The picture's middle square, upright, at `SIDE` pixels (small ones are enlarged without smoothing)."""
    if isinstance(content, Path) and not content.is_file():  # a pipe would be waited for
        return None
    try:
        pixels = decode(content, channels=3, short_side=SIDE)
    except BadPictureError:
        return None
    picture = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    square = ImageOps.fit(picture, (SIDE, SIDE), Image.Resampling.NEAREST)
    out = io.BytesIO()
    square.save(out, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode("ascii")
