"""Mean and deviation: each choice, and what is measured of the training pictures."""

import json
from typing import get_args

import numpy as np
import pytest

from reports.sweep import Sweep
from runs import make_run
from trainables.data.moments import LEAST_STD, Moments
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.errors import UserError
from trainables.models import zoo
from trainables.normalizing import normalization
from trainables.settings import Normalize

MEASURED = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)


@pytest.mark.parametrize(
    ("choice", "model", "channels", "expected"),
    [
        ("auto", "resnet18", 3, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("auto", "efficientnet_v2_l", 3, ((0.5,) * 3, (0.5,) * 3)),
        ("auto", "googlenet", 1, ((0.5,), (0.5,))),
        ("imagenet", "efficientnet_v2_l", 3, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))),
        ("imagenet", "resnet18", 1, ((0.449,), (0.226,))),
        ("half", "resnet18", 3, ((0.5,) * 3, (0.5,) * 3)),
        ("data", "resnet18", 3, MEASURED),
        ("none", "resnet18", 1, ((0.0,), (1.0,))),
    ],
)
def test_each_choice(choice, model, channels, expected):
    assert normalization(choice, facts=zoo.facts(model), channels=channels, measured=MEASURED) == expected


def test_imagenets_average_for_grey_is_the_zoos():
    assert all(
        normalization("imagenet", facts=zoo.facts("resnet18"), channels=channels, measured=MEASURED)
        == zoo.normalization(zoo.facts("resnet18"), channels=channels)
        for channels in (1, 3)
    )


@pytest.mark.parametrize("choice", get_args(Normalize))
def test_every_choice_gives_a_number_a_channel(choice):
    mean, std = normalization(choice, facts=zoo.facts("resnet18"), channels=3, measured=MEASURED)
    assert len(mean) == len(std) == 3
    assert min(std) > 0


class TestMoments:
    def test_each_picture_weighs_the_same(self):
        small, large = np.zeros((3, 2, 2), dtype=np.uint8), np.full((3, 9, 5), 255, dtype=np.uint8)
        moments = Moments()
        moments.add(small)
        moments.add(large)
        assert moments.mean_and_std(channels=3) == ((0.5,) * 3, (0.5,) * 3)

    def test_it_is_numpys(self):
        pictures = np.random.default_rng(0).integers(0, 256, (50, 3, 20, 30), dtype=np.uint8)
        moments = Moments()
        for picture in pictures.transpose(0, 2, 3, 1):  # as decoders lay them out
            moments.add(picture.transpose(2, 0, 1))
        mean, std = moments.mean_and_std(channels=3)
        assert mean == pytest.approx((pictures / 255).mean(axis=(0, 2, 3)), abs=1e-6)
        assert std == pytest.approx((pictures / 255).std(axis=(0, 2, 3)), abs=1e-6)

    def test_one_grey_level_can_be_divided_by(self):
        moments = Moments()
        moments.add(np.full((1, 4, 4), 7, dtype=np.uint8))
        assert moments.mean_and_std(channels=1)[1][0] == pytest.approx(LEAST_STD, abs=1e-6)

    def test_none(self):
        assert Moments().mean_and_std(channels=1) == ((0.5,), (0.5,))


def test_a_store_measures_its_training_pictures(picture_folder, tmp_path):
    root = picture_folder({"train/a": 3, "train/b": 2, "val/a": 4, "val/b": 4})
    catalog = read_catalog(DataSettings(source="folder", path=str(root)), base=tmp_path)
    store = build_store(catalog, short_side=16, cache=tmp_path / "cache", on_bad_image="error")
    training = [store[int(index)].double() / 255 for index in store.indices("train")]
    expected = sum(picture.mean(dim=(1, 2)) for picture in training) / 5
    assert store.mean == pytest.approx(expected.tolist(), abs=1e-5)
    again = build_store(catalog, short_side=16, cache=tmp_path / "cache", on_bad_image="error")
    assert (again.mean, again.std) == (store.mean, store.std)


def test_a_run_from_before_there_were_tasks_is_a_classification(tmp_path):
    run = make_run(tmp_path)
    sweep = Sweep.open(run)
    assert (sweep.task, sweep.measured_normalization) == ("classification", ((), ()))
    record = json.loads((run / "sweep.json").read_text())
    record["task"] = "regression"
    record["data"]["normalization"] = {"mean": [0.1], "std": [0.2]}
    (run / "sweep.json").write_text(json.dumps(record))
    sweep = Sweep.open(run)
    assert (sweep.task, sweep.measured_normalization) == ("regression", ((0.1,), (0.2,)))
    record["task"] = "detection"
    (run / "sweep.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="damaged: task cannot be right"):
        Sweep.open(run)
