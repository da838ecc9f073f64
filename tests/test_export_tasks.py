"""Export and predict where a picture has several labels, or numbers instead of a class."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from reports.export import export_model
from reports.formats import FORMATS
from reports.held_out import open_pictures, view_batches
from reports.modelfile import PREDICTIONS, PT2, read_description
from reports.predict import Predictor
from reports.predictions import read_predictions
from reports.sweep import Sweep
from trainables.data.sources import DataSettings
from trainables.settings import TrialSettings
from trained import train_run
from tuning.cli.main import main
from tuning.cli.predict import predict

LABELS = ("dark", "=tall", "wide")
TARGETS = ("brightness", "=height")
SMALL = {"model": "small_cnn", "weights": "none", "image_size": 16, "center_crop": 1.0, "augment": "none", "epochs": 2}


def paint(folder: Path, *, count: int) -> Path:
    """Grey pictures of three shapes and many shades, and a table of what they are."""
    (folder / "pictures").mkdir(parents=True)
    rows = []
    for number in range(count):
        rng = np.random.default_rng(number)
        height, width, level = (24, 16, 16)[number % 3], (16, 24, 16)[number % 3], int(rng.integers(20, 230))
        pixels = np.clip(rng.normal(level, 10, (height, width)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pictures" / f"{number}.png")
        labels = [int(level < 128), int(height > width), int(width > height)]
        split = ("train", "train", "val", "test")[number % 4]
        rows.append([f"pictures/{number}.png", split, *labels, level / 100, height / 8])
    with (folder / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "split", *LABELS, *TARGETS])
        writer.writerows(rows)
    return folder


def train(root: Path, *, task: str, metric: str, count: int = 40, **settings: object) -> Path:
    columns = LABELS if task == "multilabel" else TARGETS
    data = DataSettings(
        source="csv", path="table.csv", task=task, target_columns=list(columns), split_column="split", color="grey"
    )  # type: ignore[call-arg,arg-type]
    trial = TrialSettings(**SMALL, precision="fp32", lr=0.001, batch_size=8, **settings)  # type: ignore[arg-type]
    return train_run(paint(root, count=count), data, [trial], metric=metric)


@pytest.fixture(scope="module")
def multilabel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("multilabel"), task="multilabel", metric="val_f1")


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a loss whose outputs are logarithms of what is said."""
    return train(tmp_path_factory.mktemp("regression"), task="regression", metric="val_mae", loss="poisson_nll")


@pytest.fixture(scope="module")
def distance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a loss in standard deviations of the targets."""
    return train(tmp_path_factory.mktemp("distance"), task="regression", metric="val_mae", loss="mse")


@pytest.mark.parametrize(("name", "metric"), [("multilabel", "f1"), ("regression", "mae"), ("distance", "mae")])
def test_the_export_is_measured_and_says_what_the_trial_said(
    request: pytest.FixtureRequest, name: str, metric: str
) -> None:
    run = request.getfixturevalue(name)
    sweep = Sweep.open(run)
    folder = export_model(sweep, run / "best")
    description = read_description(folder)
    trial, store = sweep.ledger().trial(0), open_pictures(sweep)
    assert description.task == ("multilabel" if name == "multilabel" else "regression")
    assert description.facts["measured"]["val"][metric] == pytest.approx(trial.value)
    assert description.facts["measured"]["test"]["pictures"] == 10
    assert f"somewhat {'less' if sweep.mode == 'max' else 'worse'}." in (folder / "README.md").read_text()
    rows = read_predictions(folder / PREDICTIONS, classes=store.classes, task=store.task)
    assert [row.truth for row in rows] == [
        pytest.approx(store.targets[i].tolist(), rel=1e-5)
        for split in ("val", "test")
        for i in store.indices(split).tolist()
    ]
    with (folder / PREDICTIONS).open(encoding="utf-8") as file:
        header = next(csv.reader(file))
    assert header == ["split", "name", *(f"truth:{n}" for n in store.classes), *(f"p:{n}" for n in store.classes)]

    # The traced network, which our own networks always get, gives the scores themselves.
    views = torch.cat([v for _, v in view_batches(store, store.indices("val"), description)])
    said = FORMATS["pt2"].open(folder / PT2)(views)
    assert torch.allclose(said, torch.tensor([row.scores for row in rows if row.split == "val"]), rtol=1e-4, atol=1e-4)
    text = (folder / "README.md").read_text()
    assert f"small_cnn for {len(store.classes)} {'labels' if name == 'multilabel' else 'targets'}" in text

    pictures = [str(run.parent.parent / store.names[i]) for i in store.indices("val").tolist()]
    found = list(Predictor.load(run).predict(pictures))
    scores = [row.scores for row in rows if row.split == "val"]
    for prediction, expected in zip(found, scores, strict=True):
        told = dict(prediction.values or prediction.top)
        assert [told[n] for n in store.classes] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_loss_of_pairs_is_measured_as_it_was_recorded(tmp_path: Path) -> None:
    """More pictures than a batch has, as which pairs there are must not depend on batches."""
    run = train(tmp_path, task="regression", metric="val_loss", loss="margin_ranking", count=160)
    sweep = Sweep.open(run)
    measured = read_description(export_model(sweep, run / "best")).facts["measured"]["val"]
    assert measured["pictures"] == 40
    assert measured["loss"] == pytest.approx(sweep.ledger().trial(0).value, rel=1e-5)


def test_labels_are_those_likely_enough(multilabel: Path) -> None:
    export_model(Sweep.open(multilabel), multilabel / "best")
    picture = str(multilabel.parent.parent / "pictures" / "0.png")
    (all_of_them,) = Predictor.load(multilabel).predict([picture], threshold=0.0)
    (none,) = Predictor.load(multilabel).predict([picture], threshold=1.0, top=1)
    assert set(all_of_them.labels) == set(LABELS)
    assert [p for _, p in all_of_them.top] == sorted((p for _, p in all_of_them.top), reverse=True)
    assert none.labels == ()
    assert none.to_json() == {"path": picture, "labels": [], "top": [list(all_of_them.top[0])], "error": None}

    bad = str(multilabel / "sweep.json")
    words = [str(multilabel), picture, bad, "--threshold", "0"]
    lines = CliRunner().invoke(predict, words).stdout.splitlines()
    assert len(lines) == 1
    assert all(name in lines[0] for name in LABELS)
    assert CliRunner().invoke(predict, [*words[:2], "--threshold", "1"]).stdout.startswith("no label")
    rows = list(csv.reader(io.StringIO(CliRunner().invoke(predict, [*words, "--csv"]).stdout)))
    assert rows[0] == ["path", "labels", "error"]
    assert set(rows[1][1].removeprefix("'").split("; ")) == set(LABELS)
    assert rows[2][1] == ""
    assert rows[2][2]


def test_values_by_target(regression: Path) -> None:
    export_model(Sweep.open(regression), regression / "best")
    picture = str(regression.parent.parent / "pictures" / "0.png")
    (found,) = Predictor.load(regression).predict([picture])
    assert (found.label, found.top) == (None, ())
    assert found.to_json() == {"path": picture, "values": dict(found.values), "error": None}
    assert all(value > 0 for _, value in found.values)
    words = [str(regression), picture]
    assert json.loads(CliRunner().invoke(predict, [*words, "--json"]).stdout) == [found.to_json()]
    rows = list(csv.reader(io.StringIO(CliRunner().invoke(predict, [*words, "--csv"]).stdout)))
    assert rows[0] == ["path", "brightness", "'=height", "error"]
    assert [float(cell) for cell in rows[1][1:3]] == pytest.approx([value for _, value in found.values])
    assert "brightness " in CliRunner().invoke(predict, words).stdout
    for options, told in (
        (["--top", "2"], "--top: a model of regression tells what it tells"),
        (["--threshold", "0.9"], "--threshold: a model of regression tells no labels by their probability: got 0.9"),
        (["--json", "--csv"], "--json, --csv: one of them at a time"),
    ):
        refused = CliRunner().invoke(main, ["predict", *words, *options])
        assert refused.exit_code == 2
        assert refused.stderr.startswith(f"tune: {told}")
