"""model.pt2, model.onnx and the card's Python: in processes without this package they are the trained network."""

import csv
import json
import os
import subprocess
import sys
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conftest import PROJECT
from reports import export as export_module
from reports import formats
from reports.export import export_model
from reports.formats import FORMATS, Portable, available_formats, check_formats, write_format
from reports.held_out import open_pictures, view_batches
from reports.measure import Measured
from reports.modelfile import FILES, ONNX, PREDICTIONS, PT2, Description, read_description
from reports.predict import Predictor, as_scores
from reports.predictions import HeldOut, read_predictions, written
from reports.recipe import plain_recipe, traced_recipe
from reports.sweep import Sweep
from trainables.data.sources import DataSettings
from trainables.errors import UserError
from trainables.settings import TrialSettings
from trainables.tasks import scores_for
from trainables.training.losses import FROM_OUTPUTS, predicted
from trained import train_run

SMALL = {"weights": "none", "image_size": 16, "center_crop": 1.0, "augment": "none", "precision": "fp32"}

# What somebody without this package writes: the labels of all views, by torch alone, or by onnxruntime alone.
BY_TORCH = """
import sys, json, numpy, torch
network = torch.export.load("model.pt2").module()
scores = network(torch.from_numpy(numpy.load(sys.argv[1]))).numpy()
"""
BY_ONNX = """
import sys, json, numpy, onnxruntime
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
(scores,) = session.run(None, {"pictures": numpy.load(sys.argv[1])})
assert "torch" not in sys.modules
"""
TELL = """
print(json.dumps(scores.argmax(axis=1).tolist()))
assert not {"trainables", "reports", "tuning"} & set(sys.modules)
"""


def outside(code: str, *arguments: str, folder: Path) -> str:
    """Runs Python in a process of its own, isolated, in the exported folder; what it printed."""
    command = [sys.executable, "-I", "-c", code, *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A net of our own and one of torchvision's on the digits, trained in fp32: trials 0 and 1."""
    trials = [
        TrialSettings(model="small_cnn", activation="tanh", dropout=0.2, epochs=2, lr=0.05, batch_size=64, **SMALL),
        TrialSettings(model="resnet18", epochs=1, lr=0.05, batch_size=64, freeze="layer2", normalize="data", **SMALL),
    ]
    return train_run(tmp_path_factory.mktemp("formats"), DataSettings(source="digits", seed=3, limit=400), trials)


@pytest.fixture(scope="module")
def exported(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "model"
    return export_model(Sweep.open(run), folder, number=1, formats=available_formats())


@pytest.fixture(scope="module")
def views(run: Path, exported: Path) -> tuple[np.ndarray, np.ndarray]:
    """All validation pictures as a user resizes and crops them, uint8 [N, 1, 16, 16], and their labels."""
    store = open_pictures(Sweep.open(run))
    batches = list(view_batches(store, store.indices("val"), read_description(exported)))
    return torch.cat([v for _, v in batches]).numpy(), store.targets[store.indices("val")].numpy()


@pytest.mark.parametrize(("file", "code"), [(PT2, BY_TORCH), (ONNX, BY_ONNX)], ids=["pt2", "onnx"])
def test_a_process_without_this_package_gives_the_sweep_s_accuracy_to_the_picture(
    run: Path, exported: Path, views: tuple[np.ndarray, np.ndarray], tmp_path: Path, file: str, code: str
) -> None:
    if not (exported / file).exists():
        pytest.skip(f"{file} needs the extra `onnx`")
    pictures, labels = views
    np.save(tmp_path / "views.npy", pictures)
    said = json.loads(outside(code + TELL, str(tmp_path / "views.npy"), folder=exported))
    trial = Sweep.open(run).ledger().trial(1)
    assert trial.value is not None
    assert int((np.array(said) == labels).sum()) == round(trial.value * len(labels))
    assert 0 < trial.value < 1


def test_what_was_measured_checked_and_written(run: Path, exported: Path) -> None:
    sweep = Sweep.open(run)
    store, trial = open_pictures(sweep), sweep.ledger().trial(1)
    assert {path.name for path in exported.iterdir()} <= FILES
    facts = read_description(exported).facts
    assert facts["metrics"]["precision"] == facts["measured"]["precision"] == "fp32"
    assert facts["measured"]["val"]["accuracy"] == trial.value
    assert facts["measured"]["val"]["pictures"] == len(store.indices("val"))
    assert facts["checked"]["files"] == ["model.safetensors", *(FORMATS[name].files[0] for name in available_formats())]
    assert facts["checked"]["pictures"] == min(
        export_module.CHECKED, len(store.indices("val")) + len(store.indices("test"))
    )
    assert facts["checked"]["largest_difference"] < 1e-4

    rows = read_predictions(exported / PREDICTIONS, classes=store.classes, task=store.task)
    for split in ("val", "test"):
        mine = [row for row in rows if row.split == split]
        assert [row.name for row in mine] == [store.names[i] for i in store.indices(split)]
        assert [row.truth for row in mine] == store.targets[store.indices(split)].tolist()
        right = sum(row.truth == row.predicted for row in mine)
        assert right / len(mine) == facts["measured"][split]["accuracy"]
    with (exported / PREDICTIONS).open(encoding="utf-8") as file:
        first = next(csv.DictReader(file))
    assert list(first) == ["split", "name", "truth", "predicted", "probability", *(f"p:{i}" for i in range(10))]
    assert float(first["probability"]) == max(float(first[f"p:{i}"]) for i in range(10))


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_the_card_s_python_runs_without_this_package(run: Path, exported: Path, tmp_path: Path, number: int) -> None:
    """Both ways for torchvision's network; for our own the traced one, which is written even if nobody asked."""
    folder = exported if number else export_model(Sweep.open(run), tmp_path / "model", number=0)
    text = (folder / "README.md").read_text()
    codes = [part.split("```")[0] for part in text.split("```python\n")[1:]]
    description = read_description(folder)
    recipes = [traced_recipe(description), plain_recipe(description)]
    assert [code.rstrip("\n") for code in codes] == [recipe for recipe in recipes if recipe is not None]
    assert len(codes) == (2 if number else 1)
    assert len(codes[0].splitlines()) <= 10
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    (ours,) = Predictor.load(folder).predict([tmp_path / "picture.png"])
    for code in codes:
        guarded = code.replace('"picture.jpg"', repr(str(tmp_path / "picture.png")))
        guarded += "\nimport sys; assert 'reports' not in sys.modules"
        label, probability = outside(guarded, folder=folder).split()
        assert (label, float(probability)) == (ours.label, pytest.approx(ours.probability, abs=0.02))


def test_nothing_of_this_machine_is_in_the_files(exported: Path) -> None:
    for path in exported.iterdir():
        content = path.read_bytes()
        assert str(PROJECT).encode() not in content
        assert str(Path(torch.__file__).parent).encode() not in content


def test_there_is_no_pickle_in_the_traced_network(exported: Path) -> None:
    with zipfile.ZipFile(exported / PT2) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    (weights,) = (json.loads(content) for name, content in contents.items() if name.endswith("weights_config.json"))
    assert weights["config"]
    assert not any(entry["use_pickle"] for entry in weights["config"].values())
    assert not [name for name, content in contents.items() if content[:2] == b"PK" or content[:1] == b"\x80"]


def test_without_the_sweep_s_pictures_it_is_compared_on_others_and_says_so(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(sweep: Sweep) -> None:
        raise UserError("the pictures <are> gone", where="data.path")

    monkeypatch.setattr(export_module, "open_pictures", gone)
    folder = export_model(Sweep.open(run), tmp_path / "model", number=1)
    facts = read_description(folder).facts
    assert facts["measured"] == {"precision": "fp32", "missing": "the pictures <are> gone"}
    assert facts["checked"]["on"] == "random pictures"
    assert not (folder / PREDICTIONS).exists()
    assert "was not measured when it was exported (the pictures &lt;are&gt; gone)" in (folder / "README.md").read_text()


def test_who_does_not_want_to_wait_gets_the_model_unmeasured(run: Path, tmp_path: Path) -> None:
    """As a sweep that is interrupted ends."""
    folder = export_model(Sweep.open(run), tmp_path / "model", number=1, measured=False)
    facts = read_description(folder).facts
    assert facts["measured"] == {"precision": "fp32", "missing": "not asked for"}
    assert facts["checked"]["on"] == "held-out pictures"
    assert not (folder / PREDICTIONS).exists()


def test_a_model_that_is_not_the_trial_s_is_not_exported(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that are others than those the accuracy was recorded with."""
    rebuilt = export_module.rebuilt

    def spoilt(*arguments: object) -> object:
        model = rebuilt(*arguments)  # type: ignore[arg-type]
        with torch.no_grad():
            model.network.get_submodule("fc").weight.mul_(-1)
        return model

    monkeypatch.setattr(export_module, "rebuilt", spoilt)
    with pytest.raises(RuntimeError, match=r"is not the trial's: of \d+ pictures, \d+ are labelled"):
        export_model(Sweep.open(run), tmp_path / "model", number=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("noise", "others"), [(1e-4, 1), (1e-2, 0)])
def test_pictures_within_a_network_s_own_noise_may_be_labelled_otherwise(
    exported: Path, noise: float, others: int
) -> None:
    """Two pictures are, one of which is too close to call in any network."""
    description = read_description(exported)
    description.facts["metrics"]["val_accuracy"] = 1.0
    found = {"val": Measured(4, {"accuracy": 0.5}, margins=(5e-5, 5e-3, 0.5, 0.5))}
    context = pytest.raises(RuntimeError, match=f"of 4 pictures, {others} are") if others else nullcontext()
    with context:
        export_module._check_reproduced(description, found, SimpleNamespace(noise=noise))


def test_a_format_that_disagrees_leaves_the_former_export(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = export_model(Sweep.open(run), tmp_path / "model", number=0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    wrong = formats.Format((PT2,), FORMATS["pt2"].write, lambda path: lambda pictures: torch.zeros(len(pictures), 10))
    monkeypatch.setitem(FORMATS, "pt2", wrong)
    with pytest.raises(RuntimeError, match=r"model\.pt2 does not agree with the original"):
        export_model(Sweep.open(run), folder, number=1, formats=("pt2",))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


class _Untraceable(nn.Module):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1).mean(dim=1, keepdim=True) if float(pictures.sum()) > 0 else pictures.flatten(1)


def test_a_network_that_cannot_be_traced_is_told_in_one_line(tmp_path: Path) -> None:
    description = Description("resnet18", ("a",), 1, 8, 1.0, 8, (0.5,), (0.5,), "")
    with pytest.raises(UserError, match=r"model\.pt2 cannot be made of this network .*--formats") as raised:
        write_format("pt2", Portable(_Untraceable(), description), tmp_path, size=(1, 8, 8))
    assert "\n" not in str(raised.value)


def test_a_format_whose_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else object())
    assert available_formats() == ("pt2",)
    with pytest.raises(UserError, match=r"onnx needs onnxscript: got 'not installed'; pip install 'tuneyard\[onnx"):
        check_formats(("onnx",))


@pytest.mark.parametrize(
    ("task", "loss"),
    [
        ("classification", "cross_entropy"),
        ("multilabel", "bce"),
        ("regression", "mse"),
        ("regression", "poisson_nll"),
    ],
)
def test_scores_are_what_the_trial_measured_with(task: str, loss: str) -> None:
    outputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    scores = scores_for(loss, task=task)  # type: ignore[arg-type]
    description = Description("resnet18", ("a", "b", "c"), 3, 8, 1.0, 8, (0.5,), (0.5,), "", scores=scores)
    assert torch.equal(as_scores(outputs, description), predicted(outputs, task=task, loss=loss))  # type: ignore[arg-type]
    assert scores in FROM_OUTPUTS


HOSTILE = ("=cmd('calc')", "'quoted'", 'a "b", c', "two\nlines", "one\rreturn", "\u202eright to left", "-1")


def test_predictions_read_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / PREDICTIONS
    scores = [round(0.1 + i / 100, 6) for i in range(len(HOSTILE))]
    with written(path, task="classification", classes=HOSTILE) as add:
        for truth, name in enumerate(HOSTILE):
            add("val", name, truth, scores)
    rows = read_predictions(path, classes=HOSTILE, task="classification")
    best = len(HOSTILE) - 1
    assert rows == [HeldOut("val", name, truth, tuple(scores), best) for truth, name in enumerate(HOSTILE)]
    with path.open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@")]

    with written(path, task="regression", classes=("age", "=height")) as add:
        add("test", "1.jpg", [31.5, -2.0], [30.25, 100001.25])
        add("test", "2.jpg", [1.7e8 + 3, 0.0], [1.7e9, 1.5])
    rows = read_predictions(path, classes=("age", "=height"), task="regression")
    assert rows == [
        HeldOut("test", "1.jpg", (31.5, -2.0), (30.25, 100001.25)),
        HeldOut("test", "2.jpg", (1.7e8 + 3, 0.0), (1.7e9, 1.5)),
    ]


@pytest.mark.parametrize("content", ["", "a,b\n", "split,name,truth,predicted,probability,p:a,p:b\nval,x,a,b\n"])
def test_predictions_that_are_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / PREDICTIONS
    with pytest.raises(UserError, match="no predictions here"):
        read_predictions(path, classes=("a", "b"), task="classification")
    path.write_text(content)
    with pytest.raises(UserError, match=r"of other classes|cannot be read"):
        read_predictions(path, classes=("a", "b"), task="classification")
