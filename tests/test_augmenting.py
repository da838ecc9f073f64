"""RandAugment and random erasing: torchvision's own operations, a function of the numbers that come in."""

from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from trainables.data.augmenting import DRAWS_OF_OPERATION, ERASING, OPERATIONS, STRONGEST, erased, randaugmented
from trainables.data.transforms import (
    FLIP,
    MIRROR,
    MIRRORED,
    MOST_OPERATIONS,
    PLAIN,
    UNIFORMS,
    VIEW_SETTINGS,
    training_view,
    training_views_are,
    uniforms,
    validation_view,
    view_keys,
)
from trainables.settings import Augment, TrialSettings
from tuning.checking import hints_of

THEIRS = v2.RandAugment()


def picture(channels: int = 3, side: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_operations_are_torchvisions_in_its_order():
    assert list(OPERATIONS) == list(THEIRS._AUGMENTATION_SPACE)
    assert [operation.signed for operation in OPERATIONS.values()] == [
        signed for _, signed in THEIRS._AUGMENTATION_SPACE.values()
    ]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("strength", [1, 9, 17, 30])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvisions(name, strength, channels):
    view, operation = picture(channels), OPERATIONS[name]
    magnitudes, signed = THEIRS._AUGMENTATION_SPACE[name]
    theirs = magnitudes(STRONGEST + 1, 24, 24)
    theirs = 0.0 if theirs is None else float(theirs[strength])
    ours = operation.magnitude(strength, 24)
    for sign in (1, -1) if signed else (1,):
        expected = THEIRS._apply_image_or_video_transform(
            view, name, sign * theirs, interpolation=THEIRS.interpolation, fill=THEIRS._fill
        )
        # One grey level: torchvision's magnitudes are fp32.
        difference = (operation.apply(view, sign * ours).int() - expected.int()).abs()
        assert difference.max() <= 1
        assert (difference > 0).float().mean() < 0.01


def test_operations_are_drawn_evenly_and_in_both_directions():
    view = torch.arange(256, dtype=torch.uint8).view(1, 16, 16)
    rows = uniforms(0, 1, range(3000), DRAWS_OF_OPERATION)
    chosen = np.bincount((rows[:, 0] * len(OPERATIONS)).astype(int), minlength=14)
    assert chosen.min() > 150
    turned = [randaugmented(view, strength=30, ops=1, uniforms=np.array([5.5 / 14, d])) for d in (0.2, 0.8)]
    assert torch.equal(turned[0], OPERATIONS["Rotate"].apply(view, -30))
    assert torch.equal(turned[1], OPERATIONS["Rotate"].apply(view, 30))


def test_operations_come_one_after_the_other():
    view = picture()
    row = np.array([10.5 / 14, 0.0, 11.5 / 14, 0.0])
    expected = OPERATIONS["Solarize"].apply(OPERATIONS["Posterize"].apply(view, 4), 0.0)
    assert torch.equal(randaugmented(view, strength=30, ops=2, uniforms=row), expected)


def test_the_most_operations_have_their_numbers():
    most = next(extra.le for extra in hints_of(TrialSettings)["randaugment_ops"].__metadata__ if hasattr(extra, "le"))
    assert most == MOST_OPERATIONS
    assert UNIFORMS == FLIP + 4 + MOST_OPERATIONS * DRAWS_OF_OPERATION + ERASING


class TestErasing:
    def test_its_share_area_and_place(self):
        views = torch.full((3, 40, 40), 200, dtype=torch.uint8)
        views[:, :20] = 100
        boxes = []
        rows = uniforms(0, 1, range(2000), ERASING)
        for row in rows:
            view = erased(views, share=0.25, uniforms=row)
            changed = (view != views).any(dim=0)
            if row[0] < 0.25:
                painted = (view == 150).all(dim=0)
                assert torch.equal(painted, changed)
                boxes.append(painted.sum().item())
                rows_, columns = painted.any(dim=1).sum().item(), painted.any(dim=0).sum().item()
                assert rows_ * columns == boxes[-1]
            else:
                assert not changed.any()
        areas = np.array(boxes) / 1600
        assert len(boxes) / 2000 == pytest.approx(0.25, abs=0.03)
        assert areas.min() < 0.03
        assert areas.max() > 0.37
        assert areas.mean() == pytest.approx(0.21, abs=0.02)

    def test_the_view_that_came_in_is_left_alone(self):
        view = picture()
        before = view.clone()
        assert not torch.equal(erased(view, share=1.0, uniforms=np.full(ERASING, 0.5)), before)
        assert torch.equal(view, before)


class TestViewKeys:
    SETTINGS = TrialSettings(image_size=24)

    @pytest.mark.parametrize(
        ("changes", "kind"),
        [
            ({"augment": "none"}, "fixed"),
            ({"augment": "flip"}, "two"),
            ({"augment": "standard"}, "fresh"),
            ({"augment": "strong"}, "fresh"),
            ({"augment": "none", "randaugment": 1}, "fresh"),
            ({"augment": "flip", "random_erasing": 0.1}, "fresh"),
        ],
    )
    def test_views_of_one_key_are_the_same(self, changes, kind):
        settings = replace(self.SETTINGS, **changes)
        assert training_views_are(settings) == kind
        image = picture(side=30)
        plain = validation_view(image, size=24, center_crop=settings.center_crop)
        seen: dict[int, torch.Tensor] = {}
        for epoch in range(1, 12):
            (key,) = view_keys(settings, data_seed=3, epoch=epoch, indices=[5]).tolist()
            view = training_view(image, settings=settings, uniforms=uniforms(3, epoch, [5], UNIFORMS)[0])
            assert torch.equal(seen.setdefault(key, view), view)
            if key in (PLAIN, MIRRORED):
                assert torch.equal(view, plain if key == PLAIN else plain.flip(-1))
        assert len(seen) == {"fixed": 1, "two": 2, "fresh": 11}[kind]

    def test_validation_is_the_plain_view(self):
        assert view_keys(self.SETTINGS, data_seed=0, epoch=None, indices=range(4)).tolist() == [PLAIN] * 4

    def test_half_of_the_flips_are_mirrored(self):
        settings = replace(self.SETTINGS, augment="flip")
        keys = view_keys(settings, data_seed=0, epoch=2, indices=torch.arange(4000))
        assert (keys == MIRRORED).mean() == pytest.approx(MIRROR, abs=0.03)

    @pytest.mark.parametrize("augment", get_args(Augment))
    def test_views_depend_on_the_settings_that_are_named(self, augment):
        """What a trial shares its views by: any other setting is not even looked at."""
        settings = replace(self.SETTINGS, augment=augment, randaugment=9, random_erasing=0.5)
        named = SimpleNamespace(**{name: getattr(settings, name) for name in VIEW_SETTINGS})
        row = uniforms(0, 1, [0], UNIFORMS)[0]
        image = picture(side=30)
        expected = training_view(image, settings=settings, uniforms=row)
        assert torch.equal(training_view(image, settings=named, uniforms=row), expected)
        keys = [view_keys(them, data_seed=0, epoch=2, indices=range(4)).tolist() for them in (settings, named)]
        assert keys[0] == keys[1]
