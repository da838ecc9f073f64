"""Batches: every picture once, in the right order, the same whatever makes them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trainables.data.catalog import Catalog
from trainables.data.loaders import evaluation_batches, training_batches, training_order
from trainables.data.pixels import build_store
from trainables.data.prefetching import Prefetched
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.data.transforms import UNIFORMS, training_view, uniforms, validation_view
from trainables.errors import TrialError
from trainables.settings import TrialSettings

SETTINGS = TrialSettings(image_size=16, batch_size=5, augment="standard", seed=3)


@pytest.fixture(scope="module")
def store(own_cache) -> PixelStore:
    """23 training, 8 validation and no test digits, of three classes."""
    whole = read_catalog(DataSettings(color="rgb"), base=Path())
    assert whole.arrays is not None
    chosen = [index for index, picture in enumerate(whole.pictures) if picture.label < 3]
    splits = {"train": 23, "val": 8, "test": 0}
    kept = []
    for split, count in splits.items():
        kept += [index for index in chosen if whole.pictures[index].split == split][:count]
    pictures = tuple(replace(whole.pictures[index], name=f"some/{index}") for index in sorted(kept))
    some = Catalog("digits", None, ("0", "1", "2"), 3, pictures, arrays=whole.arrays[sorted(kept)])
    return build_store(some, short_side=18, cache=own_cache, on_bad_image="error")


def batches(store: PixelStore, *, epoch: int = 1, data_seed: int = 0, **changes):
    return list(training_batches(store, settings=replace(SETTINGS, **changes), data_seed=data_seed, epoch=epoch))


def same(first, second) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


class TestTraining:
    def test_shapes_and_types(self, store):
        found = batches(store)
        assert [len(labels) for _, labels in found] == [5, 5, 5, 5, 3]
        images, labels = found[0]
        assert (images.dtype, tuple(images.shape)) == (torch.uint8, (5, 3, 16, 16))
        assert (labels.dtype, tuple(labels.shape)) == (torch.int64, (5,))

    def test_each_is_the_view_of_its_picture(self, store):
        order = training_order(store.indices("train"), seed=3, epoch=2).tolist()
        images = torch.cat([images for images, _ in batches(store, epoch=2, data_seed=9)])
        labels = torch.cat([labels for _, labels in batches(store, epoch=2, data_seed=9)])
        assert sorted(order) == store.indices("train").tolist()
        assert torch.equal(labels, store.targets[order])
        for place, index in enumerate(order):
            row = uniforms(9, 2, [index], UNIFORMS)[0]
            expected = training_view(store[index], settings=SETTINGS, uniforms=row)
            assert torch.equal(images[place], expected)

    def test_drop_last(self, store):
        assert [len(labels) for _, labels in batches(store, drop_last=True)] == [5, 5, 5, 5]
        assert [len(labels) for _, labels in batches(store, drop_last=True, batch_size=23)] == [23]
        assert [len(labels) for _, labels in batches(store, batch_size=100)] == [23]

    def test_drop_last_of_all_there_is(self, store):
        with pytest.raises(TrialError, match="batch_size is 24, training pictures are 23"):
            batches(store, drop_last=True, batch_size=24)

    def test_the_order_is_of_seed_and_epoch_alone(self, store):
        indices = store.indices("train")
        order = training_order(indices, seed=0, epoch=1).tolist()
        assert order != indices.tolist()
        assert order == training_order(indices, seed=0, epoch=1).tolist()
        assert order != training_order(indices, seed=0, epoch=2).tolist()
        assert order != training_order(indices, seed=1, epoch=1).tolist()
        labels = [torch.cat([labels for _, labels in batches(store, data_seed=seed)]) for seed in (0, 1)]
        assert torch.equal(*labels)

    @pytest.mark.parametrize("augment", ["standard", "strong"])
    def test_views_do_not_depend_on_batch_size_or_trial_seed(self, store, augment):
        def by_picture(**changes):
            settings = replace(SETTINGS, augment=augment, **changes)
            order = training_order(store.indices("train"), seed=settings.seed, epoch=4)
            found = training_batches(store, settings=settings, data_seed=1, epoch=4)
            return torch.cat([images for images, _ in found])[order.argsort()]

        assert torch.equal(by_picture(batch_size=3, seed=0), by_picture(batch_size=7, seed=5))

    def test_an_epoch_can_be_gone_through_again(self, store):
        pass_ = training_batches(store, settings=SETTINGS, data_seed=0, epoch=1)
        assert same(list(pass_), list(pass_))

    def test_epochs_and_data_seeds_differ(self, store):
        assert not same(batches(store, epoch=1), batches(store, epoch=2))
        assert not same(batches(store, data_seed=0), batches(store, data_seed=1))

    def test_the_global_random_state_is_left_alone(self, store):
        before = torch.get_rng_state()
        batches(store)
        assert torch.equal(torch.get_rng_state(), before)


class TestEvaluation:
    def test_all_of_a_split_in_order(self, store):
        found = list(evaluation_batches(store, "val", settings=SETTINGS, batch_size=3))
        assert [len(labels) for _, labels in found] == [3, 3, 2]
        indices = store.indices("val").tolist()
        assert torch.equal(torch.cat([labels for _, labels in found]), store.targets[indices])
        for image, index in zip(torch.cat([images for images, _ in found]), indices, strict=True):
            assert torch.equal(image, validation_view(store[index], size=16, center_crop=0.875))

    def test_drop_last_is_for_training(self, store):
        settings = replace(SETTINGS, drop_last=True)
        found = evaluation_batches(store, "val", settings=settings, batch_size=5)
        assert sum(len(labels) for _, labels in found) == 8

    def test_a_split_without_pictures_has_no_batches(self, store):
        assert list(evaluation_batches(store, "test", settings=SETTINGS, batch_size=3)) == []


def test_batches_are_the_same_with_worker_processes(store):
    assert same(batches(store), batches(store, workers=2))
    with_workers = evaluation_batches(store, "val", settings=replace(SETTINGS, workers=2), batch_size=3)
    assert same(list(evaluation_batches(store, "val", settings=SETTINGS, batch_size=3)), list(with_workers))


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true")
def test_batches_for_a_gpu_are_the_same_and_made_ahead(store):
    for_gpu = training_batches(store, settings=SETTINGS, data_seed=0, epoch=1, pin_memory=True)
    assert isinstance(for_gpu, Prefetched)
    assert same(batches(store), list(for_gpu))
    assert same(batches(store), list(for_gpu)), "as often as one likes"
