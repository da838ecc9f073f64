"""What may be put upon a training view: RandAugment's operations, and a rectangle painted over.

    view = randaugmented(view, strength=9, ops=2, uniforms=row[:2 * 2])          # uint8 [C, S, S]
    view = erased(view, share=0.25, uniforms=row[-ERASING:])

All chance comes in as uniform numbers, so a view is a function of them. Importing this module imports torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

STRONGEST = 30  # of `strength`
# How many uniform numbers one operation and an erasing take.
DRAWS_OF_OPERATION, ERASING = 2, 5
# Random erasing of Zhong et al. 2020 (arXiv:1708.04896), section 4: share of the area, ratio of the sides.
ERASED_AREA = (0.02, 0.4)
ERASED_RATIO = (0.3, 1 / 0.3)


@dataclass(frozen=True)
class Operation:
    """One of RandAugment's: `apply(view, magnitude)`, its magnitude at full strength (`of_side`: for a side of one
    pixel), at none, and whether it has two directions."""

    apply: Callable[[Tensor, float], Tensor]
    most: float = 0.0
    least: float = 0.0
    signed: bool = False
    of_side: bool = False

    def magnitude(self, strength: int, side: int) -> float:
        scale = side if self.of_side else 1
        return scale * (self.least + (self.most - self.least) * strength / STRONGEST)


def _moved(view: Tensor, *, x: float = 0.0, y: float = 0.0, shear_x: float = 0.0, shear_y: float = 0.0) -> Tensor:
    """Shifted by whole pixels, or sheared about the upper left corner by these tangents."""
    return functional.affine(
        view,
        angle=0.0,
        translate=[int(x), int(y)],
        scale=1.0,
        shear=[math.degrees(math.atan(shear_x)), math.degrees(math.atan(shear_y))],
        center=[0, 0] if shear_x or shear_y else None,
    )


def _changed(change: Callable[[Tensor, float], Tensor], view: Tensor, magnitude: float) -> Tensor:
    """Blended with its opposite: a factor above or below one."""
    return change(view, 1 + magnitude)


def _sharpened(view: Tensor, factor: float) -> Tensor:
    """torchvision's `adjust_sharpness`, to the bit, without its convolution, which takes twenty times as long."""
    side = view.shape[-1]
    if side <= 2:
        return view
    wide = view.to(torch.int32)
    rows = wide[:, :-2] + wide[:, 1:-1] + wide[:, 2:]
    inner = view[:, 1:-1, 1:-1].float()
    # A 3 × 3 mean whose middle weighs five times; 13 being odd, no mean lies halfway between two whole numbers.
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * wide[:, 1:-1, 1:-1]
    blurred = (total / 13).round_()
    sharp = view.clone()
    sharp[:, 1:-1, 1:-1] = inner.add_(blurred.sub_(inner), alpha=1 - factor).clamp_(0, 255).to(torch.uint8)
    return sharp


# RandAugment of Cubuk et al. 2020 (arXiv:1909.13719) with the operations and magnitudes of torchvision's
# `v2.RandAugment`, in its order; the tests compare the two.
OPERATIONS: dict[str, Operation] = {
    "Identity": Operation(lambda view, _: view),
    "ShearX": Operation(lambda view, by: _moved(view, shear_x=by), most=0.3, signed=True),
    "ShearY": Operation(lambda view, by: _moved(view, shear_y=by), most=0.3, signed=True),
    "TranslateX": Operation(lambda view, by: _moved(view, x=by), most=150 / 331, signed=True, of_side=True),
    "TranslateY": Operation(lambda view, by: _moved(view, y=by), most=150 / 331, signed=True, of_side=True),
    "Rotate": Operation(functional.rotate, most=30.0, signed=True),
    "Brightness": Operation(partial(_changed, functional.adjust_brightness), most=0.9, signed=True),
    "Color": Operation(partial(_changed, functional.adjust_saturation), most=0.9, signed=True),
    "Contrast": Operation(partial(_changed, functional.adjust_contrast), most=0.9, signed=True),
    "Sharpness": Operation(partial(_changed, _sharpened), most=0.9, signed=True),
    "Posterize": Operation(lambda view, bits: functional.posterize(view, round(bits)), least=8, most=4),
    "Solarize": Operation(lambda view, share: functional.solarize(view, 255 * share), least=1.0, most=0.0),
    "AutoContrast": Operation(lambda view, _: functional.autocontrast(view)),
    "Equalize": Operation(lambda view, _: functional.equalize(view)),
}
_IN_ORDER = tuple(OPERATIONS.values())


def randaugmented(view: Tensor, *, strength: int, ops: int, uniforms: np.ndarray) -> Tensor:
    """`ops` operations one after the other, each drawn from all, with its direction.

    `view`: uint8 [C, S, S]; `strength`: 1 to 30; `uniforms`: float64, two numbers for each operation.
    """
    view = view.contiguous()  # some of torchvision's kernels take ten times as long over the other layout
    for choice, direction in uniforms[: DRAWS_OF_OPERATION * ops].reshape(ops, DRAWS_OF_OPERATION):
        operation = _IN_ORDER[int(choice * len(_IN_ORDER))]
        magnitude = operation.magnitude(strength, view.shape[-1])
        view = operation.apply(view, -magnitude if operation.signed and direction < 0.5 else magnitude)
    return view


def erased(view: Tensor, *, share: float, uniforms: np.ndarray) -> Tensor:
    """In `share` of the views a rectangle painted over with the view's mean colour; the others as they are.

    `view`: uint8 [C, S, S]; `uniforms`: float64 [ERASING]. The area is uniform in `ERASED_AREA`, the ratio of the
    sides log-uniform in `ERASED_RATIO`, both cut off at the view's sides; the place is uniform.
    """
    gate, area, ratio, top, left = uniforms.tolist()
    if gate >= share:
        return view
    side = view.shape[-1]
    pixels = side**2 * (ERASED_AREA[0] + area * (ERASED_AREA[1] - ERASED_AREA[0]))
    low, high = (math.log(limit) for limit in ERASED_RATIO)
    aspect = math.exp(low + ratio * (high - low))
    height, width = (min(side, max(1, round(math.sqrt(part)))) for part in (pixels * aspect, pixels / aspect))
    y, x = int(top * (side - height + 1)), int(left * (side - width + 1))
    view = view.clone()
    view[:, y : y + height, x : x + width] = view.float().mean(dim=(1, 2)).round().to(view.dtype)[:, None, None]
    return view
