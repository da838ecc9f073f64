"""One picture, from whatever file it is in, to uint8 pixels.

    pixels = decode(Path("ants/1.jpg"), channels=3, short_side=256)      # uint8 [3, 256, 341]

Raises `BadPictureError` with the reason for what cannot be read.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

# Pillow can open far more, some of it by running other programs (EPS); a file's extension decides nothing here.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "PPM", "TIFF")
ORIENTATION = 0x0112
# EXIF 2.3, section 4.6.4 A: what turns each stored orientation upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MODES = {1: "L", 3: "RGB"}


class BadPictureError(Exception):
    """A picture that cannot be read; `str(error)` is the reason, in a few words."""


def decode(picture: Path | bytes | np.ndarray, *, channels: int, short_side: int) -> np.ndarray:
    """Reads a picture upright, on white where it is transparent, in grey or RGB, shrunk to what is needed.

    `picture` is a file, a file's bytes, or pixels (uint8 [H, W] or [H, W, 3]). Returns uint8 [C, H, W] whose shorter
    side is `short_side`, or less where the picture is smaller: nothing is enlarged. Shrinking is bilinear with
    antialiasing. Grey is luminance (ITU-R BT.601); 16-bit grey is scaled by its full range; of several frames the
    first is taken. The array is a view of one laid out [H, W, C]. `BadPictureError` when it cannot be read.
    """
    if isinstance(picture, np.ndarray):
        frame = Frame(Image.fromarray(picture))
        return _channels_first(_shrunk(frame, _in_mode(frame.image, MODES[channels]), short_side))
    try:
        source = io.BytesIO(picture) if isinstance(picture, bytes) else io.BytesIO(picture.read_bytes())
    except OSError as error:
        raise BadPictureError(error.strerror or str(error)) from error
    if not source.getbuffer().nbytes:
        raise BadPictureError("empty file")
    frame = _loaded(source, short_side)
    shrunk = _shrunk(frame, _in_mode(frame.image, MODES[channels]), short_side)
    return _channels_first(_upright(shrunk, _orientation(frame.image)))


@dataclass(frozen=True)
class Frame:
    """A decoded picture, and where its decoder has shrunk it already: its full size and the part that shows it."""

    image: Image.Image
    full: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None


def _loaded(source: io.BytesIO, short_side: int) -> Frame:
    """The first frame, decoded; every way in which Pillow fails on a broken file becomes a `BadPictureError`."""
    try:
        image = Image.open(source, formats=FORMATS)
        # A JPEG decoder can halve a picture for little; twice the wanted size leaves the antialiasing its work.
        full, draft = image.size, image.draft(None, (2 * short_side, 2 * short_side))
        image.load()
        return Frame(image, full, draft[1]) if draft else Frame(image)
    except UnidentifiedImageError as error:
        raise BadPictureError("not a picture of a known format") from error
    except Image.DecompressionBombError as error:
        raise BadPictureError(f"more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels") from error
    except MemoryError:  # the machine's trouble, not the picture's
        raise
    except Exception as error:  # on damaged data Pillow's decoders raise nearly anything, and so do those below them
        raise BadPictureError(_reason(error)) from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if "truncated" in text.lower():
        return "truncated file"
    return text[:120] or type(error).__name__


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 (upright) where there is none or the EXIF block is garbage, as viewers do."""
    try:
        return image.getexif().get(ORIENTATION, 1)
    except Exception:  # the block is no part of the pixels, and its parser fails in too many ways to name
        return 1


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode and not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    elif image.mode == "F":
        raise BadPictureError("floating-point pixels have no agreed range; convert it to 8 or 16 bits")
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.new("RGBA", layer.size, "white")
            image.alpha_composite(layer)
        return image.convert(mode)
    except ValueError as error:
        raise BadPictureError(f"pixels of kind {image.mode} cannot be made {mode}") from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey (modes I;16, I;16B, and I where Pillow widened it) to 8 bits, 65535 to 255, on white."""
    wide = np.asarray(image)
    if wide.size and (wide.min() < 0 or wide.max() > 65535):
        raise BadPictureError("32-bit pixels have no agreed range; convert it to 8 or 16 bits")
    pixels = np.rint(wide / 257).astype(np.uint8)
    if "transparency" in image.info:  # the one grey that is clear, of a PNG
        pixels[wide == image.info["transparency"]] = 255
    return Image.fromarray(pixels)


def _shrunk(frame: Frame, image: Image.Image, short_side: int) -> Image.Image:
    """`image`, which is `frame`'s in another mode; the sides come from the full size, as if none were shrunk yet."""
    full = frame.full or image.size
    short = min(full)
    if short <= short_side:
        return image
    width, height = (max(short_side, int(short_side * side / short)) for side in full)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=frame.box)


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    turn = UPRIGHT.get(orientation)
    return image if turn is None else image.transpose(turn)


def _channels_first(image: Image.Image) -> np.ndarray:
    pixels = np.array(image)  # a copy, for Pillow's own memory is read-only and torch warns of such
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
