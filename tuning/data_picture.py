"""A picture of training pictures, as the network sees them.

    write_picture(found, Path("pictures.png"), pictures=32, epoch=1)      # found: `tuning.data_show.Look`

They are the first ones of an epoch, in its order and its random views, with what is to be learnt under each.
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from reports.tables import printable, shown
from trainables.data.loaders import Views, training_order
from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.files import replaced
from tuning.data_show import Look

SIDES = (96, 224)  # least and greatest side of a view in the picture, in pixels
GAP, CAPTION = 8, 20
INK, PAPER = (40, 40, 40), (255, 255, 255)


def write_picture(found: Look, target: Path, *, pictures: int, epoch: int) -> int:
    """Writes a PNG of at most `pictures` views and returns how many there are.

    Raises:
        UserError: the file cannot be written, or is no PNG by its name.
    """
    if target.suffix.lower() != ".png":
        raise UserError("not a PNG file", where="-o", got=str(target), expected="a name that ends in .png")
    store, settings = found.store, found.settings
    order = training_order(store.indices("train"), seed=settings.seed, epoch=epoch)[:pictures].tolist()
    views, _ = Views(store, settings, found.spec.data.seed, epoch).__getitems__(order)
    sheet = grid(views.permute(0, 2, 3, 1).numpy(), [caption(store, index) for index in order])
    try:
        with replaced(target) as unfinished:
            sheet.save(unfinished, "PNG")
    except OSError as error:
        raise UserError(f"cannot be written ({error.strerror or error})", where="-o", got=str(target)) from error
    return len(order)


def grid(views: np.ndarray, captions: list[str]) -> Image.Image:
    """Views (uint8 [N, S, S, C]) side by side, about as wide as high, each over its caption.

    Small views are enlarged by a whole factor, so that their pixels can be seen; large ones are shrunk.
    """
    size = views.shape[1]
    side = size * -(-SIDES[0] // size) if size < SIDES[0] else min(size, SIDES[1])
    across = math.ceil(math.sqrt(len(views)))
    down = math.ceil(len(views) / across)
    cell = (side + GAP, side + CAPTION + GAP)
    sheet = Image.new("RGB", (across * cell[0] + GAP, down * cell[1] + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=13)
    how = Image.Resampling.NEAREST if side > size else Image.Resampling.LANCZOS
    for place, (view, text) in enumerate(zip(views, captions, strict=True)):
        x, y = GAP + place % across * cell[0], GAP + place // across * cell[1]
        picture = Image.fromarray(view[:, :, 0] if view.shape[2] == 1 else view).convert("RGB")
        sheet.paste(picture.resize((side, side), how), (x, y))
        draw.text((x, y + side + 2), _fitted(text, font, side), fill=INK, font=font)
    return sheet


def caption(store: PixelStore, index: int) -> str:
    """What is to be learnt from a picture: its class, its labels, or its numbers."""
    target = store.targets[index]
    if store.task == "classification":
        return printable(store.classes[int(target)])
    if store.task == "multilabel":
        return printable(", ".join(name for name, has in zip(store.classes, target, strict=True) if has)) or "–"
    named = zip(store.classes, target.tolist(), strict=True)
    return printable(", ".join(shown(value) if len(target) == 1 else f"{name} {shown(value)}" for name, value in named))


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of the text as there is room for."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
