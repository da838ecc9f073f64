"""Export and predict: the folder gives the sweep's own accuracy without the sweep, and is checked as a stranger's."""

import copy
import dataclasses
import json
import math
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from click.testing import CliRunner
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torchvision import models

from reports import export as export_module
from reports.card import card
from reports.export import export_model
from reports.folders import replaced_folder
from reports.modelfile import DESCRIPTION, PREDICTIONS, PT2, WEIGHTS, Description, read_description
from reports.picture_files import find_pictures
from reports.predict import Predictor
from reports.recipe import plain_recipe
from reports.starting_weights import starting_words, weights_here
from reports.sweep import Sweep
from reports.tables import escaped
from runs import make_run
from trainables.data.sources import DataSettings
from trainables.errors import UserError
from trainables.files import checkpoint_path, file_digest
from trainables.models.heads import adapt_first_conv, replace_head
from trainables.models.nets import bare_network
from trainables.models.weights import imagenet_path, resolve_weights
from trainables.models.zoo import MODELS, facts
from trainables.settings import TrialSettings
from trained import train_run
from tuning.cli.export import export
from tuning.cli.predict import predict

CLASSES = ("<b>ants</b>", "bees | `wasps`")
COMMON = {"image_size": 40, "precision": "fp32", "batch_size": 4, "augment": "flip", "lr": 0.005}


def paint(folder: Path, *, per_class: int = 6, mode: str = "RGB") -> Path:
    """Photographs of two classes that differ in colour and brightness, of several sizes, some turned by EXIF."""
    for label, name in enumerate(CLASSES):
        for split in ("train", "val"):
            place = folder / split / name.replace("/", "-")
            place.mkdir(parents=True)
            for number in range(per_class):
                rng = np.random.default_rng([label, number, split == "val"])
                size = (50 + 3 * number, 60, 3)
                pixels = np.clip(rng.normal(90 + 60 * label, 60, size), 0, 255).astype(np.uint8)
                exif = Image.Exif()
                exif[0x0112] = 1 + number
                Image.fromarray(pixels).convert(mode).save(place / f"{number}.jpg", exif=exif)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/resnet18` (two trials), `pictures` and `start.pth`; tests copy what they change."""
    root = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    torch.save(models.squeezenet1_1().state_dict(), root / "start.pth")
    paint(root / "pictures")
    trials = [
        {"model": "squeezenet1_1", "weights": "start.pth", "freeze": "backbone", "epochs": 2, "seed": 1},
        {"model": "squeezenet1_1", "weights": "start.pth", "freeze": "none", "epochs": 1, "lr": 1e-6},
    ]
    data = DataSettings(source="folder", path=str(root / "pictures"))
    settings = [TrialSettings(**{**COMMON, **trial}) for trial in trials]
    train_run(root, data, settings, weights_of=lambda s: resolve_weights(s.weights, s.model, base=root))
    return root


@pytest.fixture(scope="module")
def exported(trained: Path) -> Path:
    return export_model(Sweep.open(trained / "runs/resnet18"), trained / "model")


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run to do harm to; its weights file is a copy too."""
    run = Path(shutil.copytree(trained / "runs/resnet18", tmp_path / "run"))
    shutil.copy(trained / "start.pth", tmp_path / "start.pth")
    record = json.loads((run / "sweep.json").read_text())
    record["weights"]["start.pth"]["squeezenet1_1"]["path"] = str(tmp_path / "start.pth")
    (run / "sweep.json").write_text(json.dumps(record))
    return run


@pytest.fixture
def stranger(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported folder to do harm to."""
    return Path(shutil.copytree(exported, tmp_path / "stranger"))


def accuracy(predictor: Predictor, pictures: Path) -> float:
    found = list(predictor.predict([pictures / "val"]))
    return sum(p.label == Path(p.path).parent.name for p in found) / len(found)


# export


@pytest.mark.parametrize("number", [0, 1])
def test_the_export_has_the_accuracy_that_the_sweep_recorded(trained: Path, tmp_path: Path, number: int) -> None:
    sweep = Sweep.open(trained / "runs/resnet18")
    folder = export_model(sweep, tmp_path / "model", number=number)
    trial = sweep.ledger().trial(number)
    assert accuracy(Predictor.load(folder), trained / "pictures") == pytest.approx(trial.value)
    document = json.loads((folder / DESCRIPTION).read_text())
    assert document["trial"] == number
    assert document["metrics"]["epoch"] == trial.best_epoch
    assert document["metrics"]["val_accuracy"] == trial.value


def test_the_description_says_where_the_model_comes_from(trained: Path, exported: Path) -> None:
    sweep = Sweep.open(trained / "runs/resnet18")
    best = sweep.ledger().best()
    assert best is not None
    document = json.loads((exported / DESCRIPTION).read_text())
    assert document["schema"] == 1
    assert document["architecture"] == "squeezenet1_1"
    assert document["classes"] == sweep.record["classes"]
    assert (document["channels"], document["image_size"], document["center_crop"]) == (3, 40, 0.875)
    assert tuple(document["mean"]) == facts("squeezenet1_1").mean
    assert document["sha256"] == file_digest(exported / WEIGHTS)
    assert document["metrics"]["split"] == "val"
    assert document["selected_by"] == {"metric": "val_accuracy", "mode": "max", "value": best.value, "trials": 2}
    assert document["data"]["fingerprint"] == sweep.record["data"]["fingerprint"]
    assert document["settings"]["weights"] == "start.pth"
    assert document["starting_weights"]["sha256"] == file_digest(trained / "start.pth")
    assert set(document["versions"]) == {"tuneyard", "torch", "torchvision"}
    for file in (DESCRIPTION, "README.md"):
        assert str(trained) not in (exported / file).read_text()
    assert set(load_file(exported / WEIGHTS)) == set(models.squeezenet1_1().state_dict())
    assert sorted(path.name for path in exported.iterdir()) == ["README.md", DESCRIPTION, WEIGHTS, PREDICTIONS]
    assert exported.stat().st_mode & 0o777 == 0o755


def test_the_card_is_harmless_and_its_recipe_runs_without_this_package(trained: Path, exported: Path) -> None:
    text = (exported / "README.md").read_text()
    assert "<b>" not in text
    assert "&lt;b&gt;ants&lt;-b&gt;" in text
    recipe = text.split("```python\n")[1].split("```")[0]
    picture = next((trained / "pictures/val").rglob("5.jpg"))  # which its EXIF data turns
    code = recipe.replace('"picture.jpg"', repr(str(picture)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=exported, capture_output=True, text=True, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
    label, probability = result.stdout.strip().rsplit(" ", 1)
    (ours,) = Predictor.load(exported).predict([picture])
    assert ours.probability is not None
    assert (label, float(probability)) == (ours.label, pytest.approx(ours.probability, abs=0.02))


def test_the_card_says_what_the_recipes_leave_out_whichever_there_are(exported: Path) -> None:
    description = read_description(exported)
    unchecked = {name: fact for name, fact in description.facts.items() if name != "checked"}
    for known in (description.facts, unchecked):
        text = card(dataclasses.replace(description, facts=known))
        assert "turns pictures upright by their EXIF data, lays transparent ones on white" in text


def test_the_card_takes_nothing_from_outside_for_markup(exported: Path) -> None:
    description = read_description(exported)
    facts = copy.deepcopy(description.facts)
    facts["data"] |= {"fingerprint": "`f`", "pictures": {"__val__": 3}}
    facts["metrics"]["precision"] = "*bf16*"
    text = card(dataclasses.replace(description, classes=("~~~", "1. FC"), facts=facts))
    for said in ("\n\\~\\~\\~, ", "\\`f\\`", "3 \\_\\_val\\_\\_", "\\*bf16\\*"):
        assert said in text


@pytest.mark.parametrize(("model", "freeze"), [("resnet18", "layer2"), ("googlenet", 3), ("mobilenet_v3_small", 0)])
def test_grey_pictures_random_weights_and_other_architectures(tmp_path: Path, model: str, freeze: str | int) -> None:
    """What is frozen comes from the seed alone, and grey pictures have one channel."""
    paint(tmp_path / "pictures", per_class=2, mode="L")
    trial = TrialSettings(model=model, weights="none", freeze=freeze, epochs=1, seed=5, **COMMON)
    data = DataSettings(source="folder", path=str(tmp_path / "pictures"), color="grey")
    run = train_run(tmp_path, data, [trial])
    sweep = Sweep.open(run)
    folder = export_model(sweep, tmp_path / "model")
    predictor = Predictor.load(folder)
    assert predictor.description.channels == 1
    assert accuracy(predictor, tmp_path / "pictures") == sweep.ledger().trial(0).value
    code = (folder / "README.md").read_text().split("```python\n")[1].split("```")[0]
    picture = next((tmp_path / "pictures").rglob("0.jpg"))
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(code.replace('"picture.jpg"', repr(str(picture))), names)
    (ours,) = predictor.predict([picture])
    assert float(names["scores"].max()) == pytest.approx(ours.probability, abs=0.02)


@pytest.mark.parametrize("size", [(120, 90), (50, 70)], ids=["large", "small"])
@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_the_recipe_sees_what_we_see(
    tmp_path: Path, size: tuple[int, int], orientation: int, channels: int, mode: str
) -> None:
    """Also where pictures were decoded larger than the model wants them, as another trial had a larger `image_size`."""
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).convert(mode).save(tmp_path / "picture.png", exif=exif)
    description = Description("resnet18", ("a", "b"), channels, 20, 0.875, 64, (0.5,) * 3, (0.5,) * 3, "")
    code = plain_recipe(description)
    assert code is not None
    lines = [line for line in code.splitlines() if line.startswith(("from", "import", "picture =", "view ="))][:-1]
    names: dict = {}
    exec("\n".join(lines).replace('"picture.jpg"', repr(str(tmp_path / "picture.png"))), names)
    (_, ours), *_ = map(Predictor(description, torch.nn.Identity())._view, find_pictures([tmp_path / "picture.png"]))
    assert (names["view"].int() - ours.int()).abs().max() <= 2


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["vit_b_32", "maxvit_t", "inception_v3", "googlenet", "densenet121", "swin_t"])
def test_the_recipe_builds_our_network(name: str, channels: int) -> None:
    """One model of each kind that needs options of its own, on torch's meta device: names and shapes alone."""
    size = 320 if name == "inception_v3" else 224 * 2
    description = Description(name, ("a", "b", "c"), channels, size, 0.875, 512, (0.5,) * 3, (0.5,) * 3, "")
    code = plain_recipe(description)
    assert code is not None
    code = code[code.index("network = ") : code.index("network.load_state_dict")]
    names: dict = {"torch": torch, "torchvision": torchvision}
    with torch.device("meta"):
        exec(code, names)
        ours = bare_network(facts(name), image_size=size)
        adapt_first_conv(ours, facts(name), channels=channels)
        replace_head(ours, facts(name), classes=3)
    shapes = [{key: t.shape for key, t in network.state_dict().items()} for network in (names["network"], ours)]
    assert shapes[0] == shapes[1]
    assert getattr(names["network"], "transform_input", False) == getattr(ours, "transform_input", False)


def test_an_export_replaces_an_export_and_nothing_else(trained: Path, exported: Path, tmp_path: Path) -> None:
    sweep = Sweep.open(trained / "runs/resnet18")
    folder = export_model(sweep, tmp_path / "a" / "model", number=1)
    assert json.loads((folder / DESCRIPTION).read_text())["trial"] == 1
    export_model(sweep, folder)
    assert (folder / WEIGHTS).read_bytes() == (exported / WEIGHTS).read_bytes()
    assert [path.name for path in folder.parent.iterdir()] == ["model"]

    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="also holds other files"):
        export_model(sweep, folder)
    for name, content in (("mine", "a.txt"), ("json", DESCRIPTION)):
        other = tmp_path / name
        other.mkdir()
        (other / content).write_text('{"hello": 1}')
        with pytest.raises(UserError, match="something else"):
            export_model(sweep, other)
        assert (other / content).read_text() == '{"hello": 1}'
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="a file of this name"):
        export_model(sweep, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    export_model(sweep, tmp_path / "empty", number=1)


def test_a_killed_export_s_leftovers_are_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    here, dead = socket.gethostname(), _dead_process()
    for name in (f".model.{here}.{dead}.a1", f".model.{here}.{os.getppid()}.b2", f".model.elsewhere.{dead}.c3"):
        (tmp_path / name / "new").mkdir(parents=True)
    (tmp_path / f".model.{here}.{dead}.a1" / "former").mkdir()
    (tmp_path / f".model.{here}.{dead}.a1" / "former" / "it").write_text("killed before the new one was there")
    with pytest.raises(IsADirectoryError), replaced_folder(folder) as unfinished:
        unfinished.write_text("new")
    assert (folder / "it").read_text().startswith("killed")
    with replaced_folder(folder) as unfinished:
        (unfinished / "it").write_text("new")
        assert (folder / "it").read_text().startswith("killed")
    assert (folder / "it").read_text() == "new"
    left = {f".model.{here}.{os.getppid()}.b2", f".model.elsewhere.{dead}.c3"}
    assert {path.name for path in tmp_path.iterdir()} == {"model", *left}


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_former_export_stays_when_the_new_one_cannot_be_put_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "it").write_text("former")
    rename = Path.rename

    def failing(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise PermissionError("not now")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(PermissionError), replaced_folder(folder) as unfinished:
        (unfinished / "it").write_text("new")
    assert (folder / "it").read_text() == "former"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")]
)
def test_a_model_that_cannot_be_written(
    run: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "out"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(state: dict, path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(export_module, "save_file", full)
    with pytest.raises(UserError, match=r"out: the model cannot be written \(.*No space left on device\)"):
        export_model(Sweep.open(run), folder, number=1)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(tmp_path.glob(".out*"))


def test_starting_weights_that_changed_or_are_gone(run: Path, tmp_path: Path) -> None:
    state = torch.load(tmp_path / "start.pth", weights_only=True)
    state["features.0.bias"] += 1
    torch.save(state, tmp_path / "start.pth")
    with pytest.raises(UserError, match=r"not those the sweep began with.*put start.pth as it was into"):
        export_model(Sweep.open(run), tmp_path / "out")
    (tmp_path / "start.pth").unlink()
    with pytest.raises(UserError, match=r"not to be found.*put start.pth as it was into"):
        export_model(Sweep.open(run), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _record_weights(run: Path, **fields: str) -> Sweep:
    """The run with other facts recorded of its starting weights."""
    record = json.loads((run / "sweep.json").read_text())
    record["weights"]["start.pth"]["squeezenet1_1"].update(fields)
    (run / "sweep.json").write_text(json.dumps(record))
    return Sweep.open(run)


@pytest.mark.parametrize("place", ["moved/run", "moved"])
def test_a_run_that_was_moved_with_its_starting_weights_is_exported(
    run: Path, exported: Path, tmp_path: Path, place: str
) -> None:
    shutil.copytree(run, tmp_path / "moved" / "run")
    (tmp_path / "start.pth").rename(tmp_path / place / "start.pth")
    sweep = Sweep.open(tmp_path / "moved" / "run")
    settings = {"weights": "start.pth", "model": "squeezenet1_1"}
    assert weights_here(sweep, settings)["path"] == str(tmp_path / place / "start.pth")
    folder = export_model(sweep, tmp_path / "out")
    assert (folder / WEIGHTS).read_bytes() == (exported / WEIGHTS).read_bytes()


def test_imagenet_weights_are_looked_for_where_torch_keeps_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("trainables.models.weights.download", _no_network)
    settings = {"weights": "start.pth", "model": "squeezenet1_1"}
    name = imagenet_path(facts("squeezenet1_1")).name
    recorded = str(tmp_path / "gone" / name)
    sweep = _record_weights(run, kind="imagenet", path=recorded, note=f"from {recorded}")
    with pytest.raises(UserError, match="no ImageNet weights for squeezenet1_1"):
        weights_here(sweep, settings)
    shutil.copy(tmp_path / "start.pth", run / name)
    found = weights_here(sweep, settings)
    assert (found["kind"], found["path"]) == ("file", str(run / name))
    description = read_description(export_model(sweep, tmp_path / "out"))
    start = description.facts["starting_weights"]
    assert start["kind"] == "imagenet"
    assert start["note"].startswith("ImageNet weights of torchvision (SqueezeNet1_1_Weights.IMAGENET1K_V1, SHA-256 ")
    torchs_own = imagenet_path(facts("squeezenet1_1"))
    torchs_own.parent.mkdir(parents=True)
    (run / name).rename(torchs_own)
    found = weights_here(sweep, settings)
    assert (found["kind"], found["path"]) == ("imagenet", str(torchs_own))
    torchs_own.write_bytes(b"another")
    with pytest.raises(UserError, match="not those the sweep began with"):
        weights_here(sweep, settings)


def _no_network(*arguments: object, **options: object) -> None:
    raise OSError("no network")


def test_no_path_of_this_machine_is_in_an_export(run: Path, tmp_path: Path) -> None:
    """The file of weights lies in a long, strangely named folder; its own name is strange too."""
    place = tmp_path / "<script>home</script>" / "/".join(["a long way down " * 8] * 4)
    place.mkdir(parents=True)
    name = "<b>my `weights` [x](y) | *1*.pth"
    (tmp_path / "start.pth").rename(place / name)
    sweep = _record_weights(run, path=str(place / name), note=f"squeezenet1_1 starts from {place / name}: fits")
    folder = export_model(sweep, tmp_path / "out")
    for file in (DESCRIPTION, "README.md"):
        text = (folder / file).read_text()
        assert str(tmp_path) not in text
        assert "a long way down" not in text
        assert "script" not in text
    line = next(line for line in (folder / "README.md").read_text().splitlines() if "Starting weights" in line)
    assert f"own file {escaped(name)} (SHA-256 {file_digest(place / name)}). Licence: the file's own" in line


def test_random_weights_are_told_without_why_or_where(tmp_path: Path) -> None:
    note = "RANDOM WEIGHTS: its ImageNet weights are not in /home/me/.cache/torch/hub/checkpoints and " + "so on " * 50
    known = {"kind": "none", "path": None, "digest": None, "note": note}
    assert starting_words(known, model="resnet18") == "random weights"


def test_checkpoints_that_are_gone_damaged_or_another_trial_s(run: Path, tmp_path: Path) -> None:
    sweep = Sweep.open(run)
    trial = sweep.ledger().trial(0)
    path = run / str(trial.checkpoint(trial.best_epoch))
    content = path.read_bytes()
    path.write_bytes(content[:-10])
    with pytest.raises(UserError, match="cannot be read"):
        export_model(sweep, tmp_path / "out", number=0)
    shutil.copy(run / checkpoint_path(1, 1), path)
    with pytest.raises(UserError, match="another trial"):
        export_model(sweep, tmp_path / "out", number=0)
    path.unlink()
    with pytest.raises(UserError, match="not there any more"):
        export_model(sweep, tmp_path / "out", number=0)
    assert not list(tmp_path.glob(".out*"))


def test_trials_that_cannot_be_exported(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path))
    with pytest.raises(UserError, match="no such trial"):
        export_model(sweep, tmp_path / "out", number=99)
    with pytest.raises(UserError, match="no finished epoch"):
        export_model(sweep, tmp_path / "out", number=3)
    with pytest.raises(UserError, match="not there any more"):
        export_model(sweep, tmp_path / "out")
    with pytest.raises(UserError, match="no trial is complete"):
        export_model(Sweep.open(make_run(tmp_path, name="empty", trials=[])), tmp_path / "out")


# predicting


def test_predictions_of_files_folders_and_globs(trained: Path, exported: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(exported)
    val = trained / "pictures" / "val"
    by_folder = list(predictor.predict([val], batch_size=5))
    assert [p.path for p in by_folder] == sorted(str(path) for path in val.rglob("*.jpg"))
    for prediction in by_folder:
        assert prediction.error is None
        assert prediction.top[0] == (prediction.label, prediction.probability)
        assert {name for name, _ in prediction.top} == set(predictor.classes)
        assert math.isclose(sum(value for _, value in prediction.top), 1, abs_tol=1e-5)
    by_glob = list(predictor.predict([f"{val}/*/*.jpg"], batch_size=1, top=1))
    assert [p.label for p in by_glob] == [p.label for p in by_folder]
    assert [len(p.top) for p in by_glob] == [1] * len(by_folder)
    assert [p.probability for p in by_glob] == pytest.approx([p.probability for p in by_folder], abs=1e-5)


def test_what_cannot_be_read_is_told_and_the_rest_predicted(trained: Path, exported: Path, tmp_path: Path) -> None:
    good = next((trained / "pictures").rglob("*.jpg"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "no.jpg").write_text("no picture")
    (tmp_path / "cut.jpg").write_bytes(good.read_bytes()[:200])
    asked = [tmp_path / "no.jpg", good, tmp_path / "missing.jpg", tmp_path / "empty", tmp_path / "x*.png"]
    found = list(Predictor.load(exported).predict([*asked, tmp_path / "cut.jpg"], batch_size=2))
    assert [p.label is not None for p in found] == [False, True, False, False, False, False]
    assert [p.error for p in found][2:5] == ["no such file", "no pictures in this folder", "no such file"]
    assert all((p.error is None) == (p.probability is not None) for p in found)
    assert found[0].to_json() == {
        "path": str(tmp_path / "no.jpg"), "label": None, "probability": None, "top": [], "error": found[0].error,
    }  # fmt: skip


class Computing(torch.nn.Module):
    """Gives what a function gives, whatever the pictures are."""

    def __init__(self, outputs: Callable[[], torch.Tensor]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.outputs()


def test_a_prediction_is_computed_without_tf32(exported: Path) -> None:
    """As what the export measured is: with it, the scores of the two would differ in the third digit."""

    def allowed() -> list[float]:
        return [float(backend.allow_tf32) for backend in (torch.backends.cudnn, torch.backends.cuda.matmul)]

    before = allowed()
    assert before[0], "torch's default, for training"
    predictor = Predictor(read_description(exported), Computing(lambda: torch.tensor([allowed()])))
    assert predictor.logits(torch.zeros(1, 3, 40, 40, dtype=torch.uint8)).tolist() == [[0, 0]]
    assert allowed() == before


def test_a_gpu_without_enough_memory_is_told_of(exported: Path) -> None:
    def lacking() -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")

    predictor = Predictor(read_description(exported), Computing(lacking))
    with pytest.raises(UserError, match=r"the GPU's free memory does not suffice; CUDA_VISIBLE_DEVICES="):
        predictor.logits(torch.zeros(1, 3, 40, 40, dtype=torch.uint8))


def test_find_pictures(tmp_path: Path) -> None:
    for name in ("b/2.JPG", "b/1.png", "a.jpeg", "notes.txt", ".hidden/3.jpg", "b/.4.jpg", "[x].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")

    def names(*paths: Path) -> list[str]:
        return [found.path.relative_to(tmp_path).as_posix() for found in find_pictures(paths)]

    assert names(tmp_path) == ["[x].png", "a.jpeg", "b/1.png", "b/2.JPG"]
    assert names(tmp_path / "notes.txt", tmp_path / "b" / "*.png") == ["notes.txt", "b/1.png"]
    assert names(tmp_path / "[x].png") == ["[x].png"]  # a file that is there is no glob
    assert names(tmp_path / "**" / "*.png") == ["[x].png", "b/1.png"]
    (tmp_path / "b" / "circle").symlink_to(tmp_path)
    assert names(tmp_path) == ["[x].png", "a.jpeg", "b/1.png", "b/2.JPG"]


def test_what_cannot_be_looked_at_is_told_and_the_rest_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_text("")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "missing")
    found = {str(f.path)[-20:]: f.error for f in find_pictures(["x" * 5000, "y" * 300 + "*.jpg", tmp_path, "nul\0"])}
    assert [error for error in found.values() if error is None] == [None]
    by_name = {Path(path).name: error for path, error in found.items()}
    assert by_name["a.jpg"] is None
    assert by_name["pipe.jpg"] == "not a file"
    assert by_name["nowhere.jpg"] == "No such file or directory"
    assert found["x" * 20] == "File name too long"
    assert len(found) == 6


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_folders_that_may_not_be_read_are_told(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    (tmp_path / "a").chmod(0)
    try:
        found = [(f.path.name, f.error) for f in find_pictures([tmp_path, tmp_path / "a" / "1.jpg"])]
    finally:
        (tmp_path / "a").chmod(0o755)
    assert found == [("a", "Permission denied"), ("2.jpg", None), ("1.jpg", "Permission denied")]


def test_folders_that_cannot_be_listed_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("")
    scandir = os.scandir

    def denied(path: str | Path) -> object:
        if Path(path).name == "a":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    found = [(f.path.name, f.error) for f in find_pictures([tmp_path])]
    assert found == [("a", "Permission denied"), ("2.jpg", None)]


def test_an_export_is_not_written_through_a_link_that_came_with_the_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run / "best").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link in a run's folder"):
        export_model(Sweep.open(run), run / "best")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_sweep_stands_for_its_best_model(run: Path, trained: Path, exported: Path) -> None:
    with pytest.raises(UserError, match=r"this sweep has no exported model yet; tune export"):
        Predictor.load(run)
    shutil.copytree(exported, run / "best")
    assert accuracy(Predictor.load(run), trained / "pictures") == accuracy(
        Predictor.load(exported), trained / "pictures"
    )
    words = [run.name, str(trained / "pictures" / "val"), "--runs", str(run.parent), "--csv"]
    lines = CliRunner().invoke(predict, words).stdout.splitlines()
    assert len(lines) == 1 + 12


def test_the_command_takes_formats_by_name(run: Path, tmp_path: Path) -> None:
    words = [str(run), "-o", str(tmp_path / "out"), "--formats"]
    refused = CliRunner().invoke(export, [*words, "safetensors,tflite"])
    assert isinstance(refused.exception, UserError)
    assert "--formats: no such format: got 'tflite', expected some of safetensors, pt2, onnx" in str(refused.exception)
    done = CliRunner().invoke(export, [*words, "safetensors, pt2"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == {WEIGHTS, DESCRIPTION, "README.md", PREDICTIONS, PT2}
    assert done.stdout.splitlines()[1].startswith(f"  {WEIGHTS}, {PT2}: the same scores as the trained network on 12 ")
    assert "val_accuracy" in done.stdout


# a folder from a stranger


def change(folder: Path, **fields: object) -> None:
    document = json.loads((folder / DESCRIPTION).read_text())
    (folder / DESCRIPTION).write_text(json.dumps({**document, **fields}))


@pytest.mark.parametrize(
    "fields",
    [
        {"schema": 2},
        {"architecture": "resnet19"},
        {"architecture": "os.system"},
        {"architecture": 3},
        {"classes": ["ants"] * 2},
        {"classes": []},
        {"classes": "ab"},
        {"classes": ["ants", 3]},
        {"classes": ["ants", "bees", "wasps"]},  # more than the head has
        {"channels": 2},
        {"channels": True},
        {"channels": 1},  # the weights are of three
        {"image_size": 10**9},
        {"image_size": 40.5},
        {"image_size": 4},  # too small for this network
        {"center_crop": 0},
        {"center_crop": "1"},
        {"short_side": -1},
        {"mean": [0.5]},
        {"mean": [0.5, 0.5, "x"]},
        {"std": [0.5, 0.5, 0]},
        {"std": None},
        {"sha256": "0" * 64},
        {"sha256": None},
    ],
    ids=str,
)
def test_descriptions_that_cannot_be_right(stranger: Path, fields: dict) -> None:
    change(stranger, **fields)
    with pytest.raises(UserError) as raised:
        Predictor.load(stranger)
    assert "\n" not in str(raised.value)
    assert str(stranger) in str(raised.value)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"x"', "[" * 100_000, '{"schema": NaN}'])
def test_descriptions_that_are_none(stranger: Path, content: str) -> None:
    (stranger / DESCRIPTION).write_text(content)
    with pytest.raises(UserError):
        Predictor.load(stranger)


def test_folders_that_are_none(tmp_path: Path, stranger: Path) -> None:
    for path in (tmp_path / "missing", tmp_path, stranger / WEIGHTS):
        with pytest.raises(UserError, match="no exported model here"):
            Predictor.load(path)
    (stranger / WEIGHTS).unlink()
    with pytest.raises(UserError, match="weights are missing"):
        Predictor.load(stranger)


def _without(state: dict) -> dict:
    return {name: tensor for name, tensor in state.items() if name != "features.0.bias"}


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_without, "lacks features.0.bias"),
        (lambda state: {**state, "evil": torch.zeros(1)}, "has not, evil"),
        (lambda state: {**state, "features.0.bias": torch.zeros(3)}, "shape"),
        (lambda state: {**state, "features.0.bias": state["features.0.bias"].double()}, "float64"),
        (lambda state: {**state, "features.0.bias": state["features.0.bias"] * math.nan}, "NaN"),
    ],
)
def test_weights_that_do_not_fit(stranger: Path, harm: Callable[[dict], dict], message: str) -> None:
    save_file(harm(load_file(stranger / WEIGHTS)), stranger / WEIGHTS)
    change(stranger, sha256=file_digest(stranger / WEIGHTS))
    with pytest.raises(UserError, match=message):
        Predictor.load(stranger)


def test_weights_that_are_no_safetensors(stranger: Path) -> None:
    torch.save({"evil": torch.zeros(1)}, stranger / WEIGHTS)
    with pytest.raises(UserError, match="not the weights"):
        Predictor.load(stranger)
    change(stranger, sha256=file_digest(stranger / WEIGHTS))
    with pytest.raises(UserError, match="cannot be read"):
        Predictor.load(stranger)


def test_a_description_reads_back_as_it_was_written(exported: Path) -> None:
    description = read_description(exported)
    assert description.to_json() == json.loads((exported / DESCRIPTION).read_text())
    assert description.architecture in MODELS
