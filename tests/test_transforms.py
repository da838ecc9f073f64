"""The views: right against torchvision's own transforms, and a function of (seed, epoch, picture) alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2

from trainables.data.transforms import (
    BRIGHTNESS,
    FLIP,
    GOLDEN,
    RATIO,
    UNIFORMS,
    _mix,
    crop_box,
    normalize,
    short_side_for,
    training_view,
    uniforms,
    validation_view,
)
from trainables.settings import TrialSettings


def picture(height: int = 40, width: int = 60, channels: int = 3, seed: int = 0) -> torch.Tensor:
    """uint8 [C, h, w], smooth enough that a resize has something to keep."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (1, channels, 6, 8), generator=generator).float()
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    return fine[0].clamp(0, 255).to(torch.uint8)


def draws(**replaced: float) -> np.ndarray:
    """Uniform numbers that are all 0.5 but for those named by position."""
    values = np.full(UNIFORMS, 0.5)
    for place, value in replaced.items():
        values[int(place.removeprefix("u"))] = value
    return values


def of(augment: str, **others) -> TrialSettings:
    return TrialSettings(image_size=24, augment=augment, **others)


class TestUniforms:
    def test_splitmix64_reference(self):
        """The first outputs for seed 1234567, as the authors' C code prints them."""
        steps = np.arange(1, 6, dtype=np.uint64) * np.uint64(GOLDEN)
        assert _mix(np.uint64(1234567) + steps).tolist() == [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ]

    def test_they_do_not_change_between_versions(self):
        assert uniforms(3, 2, [0, 7], 2).tolist() == [
            [0.07976467113837982, 0.29921922288498504],
            [0.09704688043304888, 0.7712080119318165],
        ]

    @given(
        seed=st.integers(0, 2**31 - 1),
        epoch=st.integers(0, 10_000),
        indices=st.lists(st.integers(0, 2**40), min_size=1, max_size=20),
    )
    def test_a_picture_has_the_same_numbers_in_any_company(self, seed, epoch, indices):
        together = uniforms(seed, epoch, indices, 5)
        alone = np.concatenate([uniforms(seed, epoch, [index], 5) for index in indices])
        assert np.array_equal(together, alone)
        assert np.array_equal(together, uniforms(seed, epoch, torch.tensor(indices), 5))
        assert np.array_equal(together[:, :3], uniforms(seed, epoch, indices, 3))
        assert ((together >= 0) & (together < 1)).all()

    def test_seed_epoch_and_index_each_matter(self):
        rows = [uniforms(seed, epoch, range(4), 4) for seed in range(4) for epoch in range(4)]
        assert len(np.unique(np.concatenate(rows), axis=0)) == 64

    def test_they_are_uniform_and_independent(self):
        values = uniforms(0, 1, range(20_000), 4)
        assert values.mean(axis=0) == pytest.approx([0.5] * 4, abs=0.01)
        assert values.var(axis=0) == pytest.approx([1 / 12] * 4, abs=0.002)
        next_epoch = uniforms(0, 2, range(20_000), 4)
        assert np.abs(np.corrcoef(np.hstack([values, next_epoch]).T) - np.eye(8)).max() < 0.03
        assert abs(np.corrcoef(values[:-1, 0], values[1:, 0])[0, 1]) < 0.03


class TestValidationView:
    @pytest.mark.parametrize(("size", "share", "short"), [(224, 0.875, 256), (224, 1.0, 224), (32, 0.875, 37)])
    def test_short_side(self, size, share, short):
        assert short_side_for(size, share) == short

    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(("height", "width"), [(40, 60), (61, 37), (20, 20), (8, 8), (100, 333)])
    @pytest.mark.parametrize(("size", "share"), [(28, 0.875), (28, 1.0), (16, 0.5)])
    def test_it_is_torchvisions(self, channels, height, width, size, share):
        image = picture(height, width, channels)
        expected = v2.Compose([v2.Resize(short_side_for(size, share), antialias=True), v2.CenterCrop(size)])(image)
        view = validation_view(image, size=size, center_crop=share)
        assert view.dtype == torch.uint8
        assert torch.equal(view, expected)

    def test_the_layout_in_memory_plays_no_part(self):
        image = picture(50, 70)
        other = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        for view in (
            lambda p: validation_view(p, size=28, center_crop=0.875),
            lambda p: training_view(p, settings=of("strong"), uniforms=draws()),
        ):
            assert torch.equal(view(image), view(other))

    def test_a_very_long_picture_costs_little(self):
        """Resized whole, this one would take 600 MB."""
        line = torch.full((3, 1, 4000), 7, dtype=torch.uint8)
        assert validation_view(line, size=224, center_crop=0.875).unique().tolist() == [7]
        long = picture(20, 200)
        view, whole = (validation_view(p, size=28, center_crop=0.875).int() for p in (long, long[:, :, 40:160]))
        assert (view - whole).abs().float().mean() < 1


class TestCropBox:
    @settings(max_examples=300)
    @given(height=st.integers(1, 500), width=st.integers(1, 500), seed=st.integers(0, 1000))
    def test_it_lies_within_the_picture(self, height, width, seed):
        top, left, box_height, box_width = crop_box(height, width, uniforms(seed, 1, [0], UNIFORMS)[0])
        assert box_height >= 1
        assert box_width >= 1
        assert 0 <= top <= height - box_height
        assert 0 <= left <= width - box_width

    def test_areas_ratios_and_places_are_spread_as_defined(self):
        boxes = np.array([crop_box(256, 256, row) for row in uniforms(0, 1, range(5000), UNIFORMS)], dtype=float)
        area, ratio = boxes[:, 2] * boxes[:, 3] / 256**2, np.log(boxes[:, 3] / boxes[:, 2])
        assert area.min() > 0.07
        assert area.max() <= 1
        assert np.exp(ratio).min() == pytest.approx(RATIO[0], rel=0.02)
        assert np.exp(ratio).max() == pytest.approx(RATIO[1], rel=0.02)
        assert ratio.mean() == pytest.approx(0, abs=0.01)
        free = 256 - boxes[:, 2]
        assert (boxes[:, 0] / np.maximum(free, 1))[free > 20].mean() == pytest.approx(0.5, abs=0.02)

    def test_it_agrees_with_torchvision_in_distribution(self):
        image = picture(120, 180)
        torch.manual_seed(0)
        theirs = np.array(
            [v2.RandomResizedCrop.make_params(v2.RandomResizedCrop(32), [image])["height"] for _ in range(3000)]
        )
        ours = np.array([crop_box(120, 180, row)[2] for row in uniforms(0, 1, range(3000), UNIFORMS)])
        assert np.quantile(ours, [0.1, 0.5, 0.9]) == pytest.approx(np.quantile(theirs, [0.1, 0.5, 0.9]), abs=4)

    def test_what_never_fits_is_cut_to_an_allowed_ratio(self):
        assert crop_box(10, 1000, draws(**{f"u{2 * k}": 0.99 for k in range(10)})) == (0, 493, 10, 13)
        assert crop_box(1000, 10, draws(**{f"u{2 * k}": 0.99 for k in range(10)})) == (493, 0, 13, 10)

    def test_the_first_attempt_that_fits_is_taken(self):
        # The first asks for all of the area at a ratio the picture has not; the second for the least of it.
        row = draws(u0=0.9999, u1=0.9999, u2=0.0, u3=0.5)
        side = round(math.sqrt(0.08) * 100)
        assert crop_box(100, 100, row) == (int(0.5 * (101 - side)), int(0.5 * (101 - side)), side, side)


class TestTrainingView:
    @pytest.mark.parametrize("augment", ["none", "flip", "standard", "strong"])
    @pytest.mark.parametrize("channels", [1, 3])
    @pytest.mark.parametrize(("height", "width"), [(40, 60), (8, 8), (3, 90), (1, 1)])
    def test_shape_and_type(self, augment, channels, height, width):
        row = uniforms(0, 1, [5], UNIFORMS)[0]
        view = training_view(picture(height, width, channels), settings=of(augment), uniforms=row)
        assert (view.dtype, tuple(view.shape)) == (torch.uint8, (channels, 24, 24))

    def test_none_is_the_view_of_validation_and_flip_its_mirror(self):
        image = picture()
        plain = validation_view(image, size=24, center_crop=0.875)
        assert torch.equal(training_view(image, settings=of("none"), uniforms=draws(**{f"u{FLIP}": 0.1})), plain)
        assert torch.equal(training_view(image, settings=of("flip"), uniforms=draws(**{f"u{FLIP}": 0.6})), plain)
        mirrored = training_view(image, settings=of("flip"), uniforms=draws(**{f"u{FLIP}": 0.4}))
        assert torch.equal(mirrored, plain.flip(-1))

    @pytest.mark.parametrize("stored", [True, False])
    @pytest.mark.parametrize(("channels", "row"), [(3, 0), (3, 1), (1, 2), (3, 3)])
    def test_standard_is_the_crop_resized(self, stored, channels, row):
        image, row = picture(channels=channels), uniforms(0, 1, [row], UNIFORMS)[0]
        row[FLIP] = 0.9
        if stored:
            image = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        top, left, height, width = crop_box(40, 60, row)
        expected = v2.functional.resized_crop(image, top, left, height, width, [24, 24], antialias=True)
        assert torch.equal(training_view(image, settings=of("standard"), uniforms=row), expected)

    def test_strong_without_deviation_is_standard(self):
        # Within a grey level: torchvision blends and rounds even by a factor of one.
        views = [
            training_view(picture(), settings=of(augment), uniforms=draws()).int() for augment in ("standard", "strong")
        ]
        assert (views[0] - views[1]).abs().max() <= 1

    @pytest.mark.parametrize("channels", [1, 3])
    def test_strong_changes_brightness(self, channels):
        dark, bright = (
            training_view(
                picture(channels=channels), settings=of("strong"), uniforms=draws(**{f"u{BRIGHTNESS}": value})
            )
            .float()
            .mean()
            for value in (0.0, 0.99)
        )
        assert bright > 1.3 * dark

    def test_the_picture_is_left_alone(self):
        image = picture()
        before = image.clone()
        training_view(image, settings=of("strong", randaugment=9, random_erasing=1.0), uniforms=draws(u25=0.1))
        assert torch.equal(image, before)


class TestNormalize:
    def test_it_is_torchvisions(self):
        mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
        batch = torch.stack([picture(24, 24, seed=seed) for seed in range(3)])
        expected = v2.functional.normalize(v2.functional.to_dtype(batch, torch.float32, scale=True), mean, std)
        result = normalize(batch, mean=mean, std=std)
        assert result.dtype == torch.float32
        assert torch.allclose(result, expected, atol=1e-5)

    def test_one_channel(self):
        batch = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        assert normalize(batch, mean=(0.5,), std=(0.25,)).flatten().tolist() == pytest.approx([-2, 2])

    def test_it_keeps_the_memory_format_and_the_batch(self):
        batch = torch.stack([picture(24, 24)] * 2).to(memory_format=torch.channels_last)
        before = batch.clone()
        assert normalize(batch, mean=(0.5,) * 3, std=(0.5,) * 3).is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(batch, before)
