"""What a network sees of a stored picture: the view of validation, random views for training, and normalising.

    draws = uniforms(seed, epoch, indices, UNIFORMS)                         # float64 [N, UNIFORMS]
    view = training_view(store[i], settings=settings, uniforms=draws[0])     # uint8 [3, 224, 224]
    view = validation_view(store[i], size=224, center_crop=0.875)            # uint8 [3, 224, 224]
    inputs = normalize(batch, mean=facts.mean, std=facts.std)                # float32 [N, 3, 224, 224]

All randomness is a function of (data seed, epoch, picture): a picture's view is the same in every trial, at any batch
size, in any order, in any process.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from trainables.data.augmenting import DRAWS_OF_OPERATION, ERASING, erased, randaugmented
from trainables.settings import TrialSettings

# Random resized crop of Szegedy et al. 2015 (arXiv:1409.4842), section 6, with torchvision's number of attempts.
SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
ATTEMPTS = 10
MIRROR = 0.5
# Brightness, contrast and saturation are multiplied by 1 ± this under `strong`.
JITTER = 0.4
# The most operations that `randaugment_ops` allows.
MOST_OPERATIONS = 8
# Which uniform number does what: two for each attempt at a crop, then these, then those of `augmenting`. What is added
# comes last, for then the views there were stay as they were.
TOP, LEFT, FLIP, BRIGHTNESS, CONTRAST, SATURATION = range(2 * ATTEMPTS, 2 * ATTEMPTS + 6)
OPERATIONS = slice(2 * ATTEMPTS + 6, 2 * ATTEMPTS + 6 + DRAWS_OF_OPERATION * MOST_OPERATIONS)
ERASER = slice(OPERATIONS.stop, OPERATIONS.stop + ERASING)
UNIFORMS = ERASER.stop
# Keys of the views that come again, see `view_keys`.
PLAIN, MIRRORED = 0, -1
# The settings that a training view depends on, beside the data seed, the epoch and the picture.
VIEW_SETTINGS = ("image_size", "center_crop", "augment", "randaugment", "randaugment_ops", "random_erasing")
# A centre crop never looks beyond this many times the shorter side; a picture longer than that is cut first.
LONGEST = 4

GOLDEN = 0x9E3779B97F4A7C15
MASK = 2**64 - 1


def short_side_for(image_size: int, center_crop: float) -> int:
    """The shorter side, in pixels, that validation resizes a picture to before its centre crop of `image_size`."""
    return round(image_size / center_crop)


def validation_view(picture: Tensor, *, size: int, center_crop: float) -> Tensor:
    """Resizes the shorter side to `size / center_crop` (bilinear, antialiased) and crops the centre.

    `picture`: uint8 [C, h, w]. Returns uint8 [C, size, size].
    """
    short = short_side_for(size, center_crop)
    height, width = picture.shape[-2:]
    if min(height, width) != short:
        limit = LONGEST * min(height, width)
        if max(height, width) > limit:
            picture = functional.center_crop(picture, [min(height, limit), min(width, limit)])
        picture = functional.resize(picture, [short], antialias=True)
    return functional.center_crop(picture, [size, size])


def training_view(picture: Tensor, *, settings: TrialSettings, uniforms: np.ndarray) -> Tensor:
    """The random view that `uniforms` (float64 [UNIFORMS], in [0, 1)) stand for.

    `augment`: `none` is the view of validation; `flip` mirrors half of those; `standard` is a random resized crop,
    half of them mirrored; `strong` adds brightness, contrast and (RGB only) saturation. RandAugment and random erasing
    come on top of any of them. `picture`: uint8 [C, h, w]. Returns uint8 [C, S, S] with S = `image_size`.
    """
    size, augment = settings.image_size, settings.augment
    if augment in ("none", "flip"):
        view = validation_view(picture, size=size, center_crop=settings.center_crop)
    else:
        box = crop_box(picture.shape[-2], picture.shape[-1], uniforms)
        if augment == "strong" or settings.randaugment:  # which want planes of colour, as this gives them
            view = functional.resized_crop(picture, *box, [size, size], antialias=True)
        else:
            view = _resized_crop(picture, box, size)
    if augment != "none" and uniforms[FLIP] < MIRROR:
        view = functional.horizontal_flip(view)
    if augment == "strong":
        view = _jittered(view, uniforms)
    if settings.randaugment:
        draws = uniforms[OPERATIONS]
        view = randaugmented(view, strength=settings.randaugment, ops=settings.randaugment_ops, uniforms=draws)
    if settings.random_erasing:
        view = erased(view, share=settings.random_erasing, uniforms=uniforms[ERASER])
    return view


def training_views_are(settings: TrialSettings) -> Literal["fixed", "two", "fresh"]:
    """How often a picture's training view comes again: always the same, one of two, or another in every epoch."""
    if settings.randaugment or settings.random_erasing or settings.augment not in ("none", "flip"):
        return "fresh"
    return "fixed" if settings.augment == "none" else "two"


def views_are_dear(settings: TrialSettings) -> bool:
    """Whether making a training view takes longer than reading one back from a disk that remembers it.

    At 224 pixels on one core a random crop takes 0.1 ms, colour jitter and RandAugment 0.7 ms and more.
    """
    return settings.augment == "strong" or settings.randaugment > 0


def view_keys(
    settings: TrialSettings, *, data_seed: int, epoch: int | None, indices: Sequence[int] | Tensor | np.ndarray
) -> np.ndarray:
    """Which of its views each picture shows in an epoch, counted from 1; `epoch` None: in validation. int64 [N].

    `PLAIN` is the view of validation, `MIRRORED` its mirror image, any other key the epoch. Two views of a picture
    with the same key have the same pixels, under the same data seed and the same `VIEW_SETTINGS`; for `PLAIN` and
    `MIRRORED` the same `image_size` and `center_crop` are enough.
    """
    kind = training_views_are(settings)
    if epoch is None or kind == "fixed":
        return np.full(len(indices), PLAIN, dtype=np.int64)
    if kind == "fresh":
        return np.full(len(indices), epoch, dtype=np.int64)
    flips = uniforms(data_seed, epoch, indices, FLIP + 1)[:, FLIP] < MIRROR
    return np.where(flips, MIRRORED, PLAIN)


def _resized_crop(picture: Tensor, box: tuple[int, int, int, int], size: int) -> Tensor:
    """torchvision's `resized_crop`, to the bit, in half its time for pictures as a store gives them.

    A part of a picture laid out [h, w, C] is laid out so too; torch sees that only where the batch's stride fits, and
    else takes its slower kernel.
    """
    top, left, height, width = box
    part = picture[:, top : top + height, left : left + width]
    if (height, width) == (size, size):
        return part
    channel, row, column = part.stride()
    whole = part.as_strided((1, *part.shape), (max(row * height, channel), channel, row, column))
    return torch.nn.functional.interpolate(whole, [size, size], mode="bilinear", antialias=True)[0]


def crop_box(height: int, width: int, uniforms: np.ndarray) -> tuple[int, int, int, int]:
    """Top, left, height and width of the random crop in a picture of `height` × `width` pixels.

    The area is uniform in `SCALE` of the picture's, the ratio of width to height log-uniform in `RATIO`, the place
    uniform; the first attempt that fits is taken. When none fits, the largest centred box whose ratio is allowed.
    """
    low, high = (math.log(ratio) for ratio in RATIO)
    for scale, ratio in uniforms[: 2 * ATTEMPTS].reshape(ATTEMPTS, 2):
        area = height * width * (SCALE[0] + scale * (SCALE[1] - SCALE[0]))
        aspect = math.exp(low + ratio * (high - low))
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(uniforms[TOP] * (height - box_height + 1))
            left = int(uniforms[LEFT] * (width - box_width + 1))
            return top, left, box_height, box_width
    box_height = min(height, max(1, round(width / RATIO[0])))
    box_width = min(width, max(1, round(height * RATIO[1])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def _jittered(view: Tensor, uniforms: np.ndarray) -> Tensor:
    """Colour jitter in one fixed order, so that a view needs no draw for it."""
    brightness, contrast, saturation = 1 + JITTER * (2 * uniforms[BRIGHTNESS : SATURATION + 1] - 1)
    view = functional.adjust_brightness(view.contiguous(), float(brightness))
    view = functional.adjust_contrast(view, float(contrast))
    return functional.adjust_saturation(view, float(saturation)) if view.shape[0] == 3 else view


def uniforms(seed: int, epoch: int, indices: Sequence[int] | Tensor | np.ndarray, count: int) -> np.ndarray:
    """`count` numbers in [0, 1) for each picture: float64 [N, count], a function of seed, epoch and index alone.

    SplitMix64 (Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators") used as a counter: each
    picture has its own stream, whose start is hashed from the three.
    """
    key = _mixed(_mixed(seed) ^ (epoch & MASK))
    streams = _mix(np.uint64(key) ^ np.asarray(indices, dtype=np.uint64))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return (_mix(streams[:, None] + steps) >> np.uint64(11)) * 2.0**-53


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's output function, on uint64, modulo 2**64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _mixed(value: int) -> int:
    """One SplitMix64 step of a Python integer."""
    return int(_mix(np.array([(value + GOLDEN) & MASK], dtype=np.uint64))[0])


def normalize(batch: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 [N, C, S, S], 0–255, to float32 with each channel's `mean` taken off and divided by its `std`.

    `mean` and `std` are of values in 0–1, one for each channel. Works on the batch's own device and keeps its memory
    format.
    """
    scale, shift = _scale_and_shift(mean, std, batch.device)
    return batch.to(torch.float32).mul_(scale).sub_(shift)


@lru_cache(maxsize=16)
def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device, for a copy to it at every batch would make the host wait."""
    means = torch.tensor(mean, dtype=torch.float64).view(1, -1, 1, 1)
    stds = torch.tensor(std, dtype=torch.float64).view(1, -1, 1, 1)
    return (1 / (255 * stds)).float().to(device), (means / stds).float().to(device)
