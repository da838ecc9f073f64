"""Starting from one's own network: an exported folder, a sweep's folder, or part of a state dict."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from report_parts import trial
from reports.answers import winner_file
from reports.modelfile import DESCRIPTION, WEIGHTS, Description, read_description
from reports.starting_weights import weights_here
from reports.sweep import Sweep
from trainables.data.store import PixelStore, StoreWriter
from trainables.errors import TrialError, UserError
from trainables.files import file_digest, write_json
from trainables.models.build import Model, build_model
from trainables.models.exported import find_exported
from trainables.models.weights import Weights, resolve_weights
from trainables.settings import TrialSettings
from trainables.training.trainer import Trainer
from tuning.revise import Revision, revise
from tuning.setup import _keep_exported, create_sweep, open_sweep
from tuning.spec_file import load_spec

NONE = Weights("none", None, None, "")
MODEL = "small_cnn"
CLASSES = ("ants", "bees", "wasps")


def build(weights: Weights = NONE, *, classes: int = 3, seed: int = 0, **changes) -> Model:
    settings = TrialSettings(**{"model": MODEL, "image_size": 28, "seed": seed, **changes})
    return build_model(settings, classes=classes, channels=3, weights=weights)


def export(folder: Path, model: Model, *, classes: tuple[str, ...] = CLASSES) -> Path:
    """An exported folder, as `reports.export` writes one: `reports.modelfile` reads it."""
    folder.mkdir(parents=True)
    save_file({name: tensor.contiguous() for name, tensor in model.network.state_dict().items()}, folder / WEIGHTS)
    description = Description(
        architecture=model.facts.name,
        classes=classes,
        channels=3,
        image_size=model.facts.image_size,
        center_crop=1.0,
        short_side=model.facts.image_size,
        mean=(0.5,) * 3,
        std=(0.5,) * 3,
        sha256=file_digest(folder / WEIGHTS),
    )
    write_json(folder / DESCRIPTION, description.to_json())
    assert read_description(folder) == description
    return folder


@pytest.fixture
def best(tmp_path: Path) -> Path:
    return export(tmp_path / "runs" / "first" / "best", build(seed=9))


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / WEIGHTS)


# ---- what is loaded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["runs/first/best", "runs/first", "runs/first/", "./runs/../runs/first"])
def test_an_exported_model_is_found_by_its_folder_or_its_sweeps(spec, best, tmp_path):
    resolved = resolve_weights(spec, MODEL, base=tmp_path, classes=("cats", "dogs"))
    assert resolved.kind == "file"
    assert Path(resolved.path).samefile(best / WEIGHTS)
    assert resolved.digest == file_digest(best / WEIGHTS)
    assert (resolved.head, resolved.random, resolved.unused) == (False, (), ())
    assert resolved.note == f"small_cnn starts from {spec}, with a new head: its classes are others: 8 tensors loaded"


@pytest.mark.parametrize("classes", [("cats", "dogs"), ("bees", "ants", "wasps"), CLASSES[:2], ("a", "b", "c"), ()])
def test_other_classes_get_a_new_head(classes, best, tmp_path):
    resolved = resolve_weights("runs/first", MODEL, base=tmp_path, classes=classes)
    count = len(classes) or 3
    model, fresh = build(resolved, classes=count), build(classes=count)
    own = model.network.state_dict()
    assert torch.equal(own["head.weight"], fresh.network.head.weight)
    assert [
        name for name, t in state(best).items() if not name.startswith("head.") and not torch.equal(own[name], t)
    ] == []
    assert model.load_report.skipped == ("head.bias", "head.weight")


def test_the_same_classes_go_on_with_their_head(best, tmp_path):
    resolved = resolve_weights("runs/first", MODEL, base=tmp_path, classes=list(CLASSES))
    assert resolved.head
    assert "head included" in resolved.note
    assert "10 tensors loaded" in resolved.note
    for changes in ({}, {"init": "normal"}):
        model = build(resolved, **changes)
        assert model.load_report.complete
        assert model.init_report.drawn == ()
        own = model.network.state_dict()
        assert [name for name, tensor in state(best).items() if not torch.equal(own[name], tensor)] == []


@pytest.mark.parametrize(
    ("said", "task", "loss", "taken"),
    [
        ({"scores": "softmax", "task": "classification"}, "classification", "bce", True),
        ({"scores": "softmax", "task": "classification"}, "multilabel", "bce", False),
        ({"scores": "sigmoid", "task": "multilabel"}, "classification", "bce", False),
        ({"scores": "identity", "task": "regression"}, "regression", "huber", True),
        ({"scores": "identity", "task": "regression"}, "regression", "poisson_nll", False),
        ({"scores": "exp", "task": "regression"}, "regression", "auto", False),
        ({"scores": "exp", "task": "regression"}, "regression", "poisson_nll", True),
    ],
)
def test_a_head_is_taken_where_its_outputs_mean_the_same(said, task, loss, taken, best, tmp_path):
    _describe(best, **said)
    resolved = resolve_weights("runs/first", MODEL, base=tmp_path, classes=CLASSES)
    assert f"where a trial's outputs mean the same ({said['task']}, {said['scores']})" in resolved.note
    assert resolved.for_trial(loss, task=task).head == taken
    draw = np.random.default_rng(0)
    with StoreWriter(tmp_path) as writer:
        for number in range(4):
            target = number % 3 if task == "classification" else (1.0, 0.0, float(number))
            pixels = draw.integers(0, 256, (3, 28, 28), dtype=np.uint8)
            writer.add(pixels, name=str(number), target=target, split="train" if number < 3 else "val")
        writer.seal(task=task, classes=CLASSES, channels=3, short_side=28, fingerprint="0")
    trainer = Trainer.build(
        TrialSettings(model=MODEL, image_size=28, center_crop=1.0, loss=loss),
        store=PixelStore.open(tmp_path),
        data_seed=0,
        weights=resolved,
        device=torch.device("cpu"),
    )
    assert ("head.weight" in trainer.model.load_report.matched) == taken


@pytest.mark.parametrize(("theirs", "ours"), [("tanh", "auto"), ("tanh", "relu"), ("auto", "tanh")])
def test_weights_for_another_activation_are_refused(theirs, ours, best, tmp_path):
    _describe(best, activation=theirs)
    resolved = resolve_weights("runs/first", MODEL, base=tmp_path, classes=CLASSES)
    assert ("for activation tanh" in resolved.note) == (theirs == "tanh")
    with pytest.raises(TrialError, match="the starting weights are of a network with activation"):
        build(resolved, activation=ours)
    build(resolved, activation=theirs)
    build(dataclasses.replace(resolved, activation=None), activation=ours)  # a record of a former version


def test_another_size_and_other_channels_are_no_hindrance(best, tmp_path):
    resolved = resolve_weights("runs/first", MODEL, base=tmp_path)
    grey = build_model(TrialSettings(model=MODEL, image_size=64), classes=2, channels=1, weights=resolved)
    assert grey.load_report.complete
    torch.testing.assert_close(grey.network.conv1[0].weight, state(best)["conv1.0.weight"].sum(1, keepdim=True))
    assert grey.network(torch.rand(1, 1, 64, 64)).shape == (1, 2)


def test_what_matches_and_what_does_not_is_told_and_recorded(tmp_path):
    part = {name: tensor for name, tensor in build(seed=9).network.state_dict().items() if not name.startswith("conv2")}
    part["fc2.0.bias"] = torch.zeros(5)
    part["extra"] = torch.zeros(1)
    torch.save(part, tmp_path / "part.pth")
    resolved = resolve_weights("part.pth", MODEL, base=tmp_path)
    assert resolved.random == ("conv2.0.weight", "conv2.0.bias", "fc2.0.bias")
    assert resolved.unused == ("extra",)
    for told in ("5 tensors loaded", "2 missing: conv2.0.weight", "1 unexpected: extra", "fc2.0.bias [5] for [128]"):
        assert told in resolved.note
    model, fresh = build(resolved), build()
    assert torch.equal(model.network.conv2[0].weight, fresh.network.conv2[0].weight)
    assert torch.equal(model.network.conv1[0].weight, part["conv1.0.weight"])


# ---- what is refused ---------------------------------------------------------------------------------------------


def _describe(best: Path, **changes: object) -> None:
    document = json.loads((best / DESCRIPTION).read_text())
    (best / DESCRIPTION).write_text(json.dumps({**document, **changes}))


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (
            lambda best: _describe(best, architecture="resnet18"),
            "another architecture than small_cnn: got '.*resnet18'",
        ),
        (lambda best: _describe(best, architecture=None), "no description of an exported model"),
        (lambda best: _describe(best, classes="ants"), "no description"),
        (lambda best: _describe(best, scores=3), "no description"),
        (lambda best: _describe(best, sha256="0" * 64), "not the weights that the exported model's description names"),
        (lambda best: (best / DESCRIPTION).write_text("[]"), "no description"),
        (lambda best: (best / DESCRIPTION).write_text("{"), "cannot be read"),
        (lambda best: (best / DESCRIPTION).write_bytes(b"\xff\xfe"), "cannot be read"),
        (lambda best: (best / DESCRIPTION).write_text("[" * 100_000), "cannot be read"),
        (lambda best: (best / DESCRIPTION).unlink(), "a folder without an exported model.*tune export RUN"),
        (lambda best: (best / WEIGHTS).unlink(), "cannot be read"),
        (lambda best: (best / WEIGHTS).write_bytes(b"x"), "not the weights that"),
        (lambda best: shutil.rmtree(best), "a folder without an exported model"),
    ],
)
def test_what_is_no_exported_model_of_this_kind_is_told_in_one_line(harm, told, best, tmp_path):
    harm(best)
    with pytest.raises(UserError, match=told) as caught:
        resolve_weights("runs/first", MODEL, base=tmp_path)
    assert caught.value.where == "weights"
    assert "\n" not in str(caught.value)


def test_a_huge_description_is_not_read(best, monkeypatch):
    monkeypatch.setattr("trainables.models.exported._LARGEST_DESCRIPTION", 10)
    with pytest.raises(UserError, match="too large"):
        find_exported(best, model=MODEL)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_description_that_may_not_be_read_is_told(best):
    (best / DESCRIPTION).chmod(0)
    with pytest.raises(UserError, match="cannot be read"):
        find_exported(best, model=MODEL)


# ---- in a sweep --------------------------------------------------------------------------------------------------

FILE = """
trial:
  model: small_cnn
  image_size: 32
  weights: runs/first
space:
  init: [default, sparse]
search:
  trials: 2
"""


def make_sweep(tmp_path: Path, text: str = FILE) -> tuple[Sweep, str]:
    (tmp_path / "sweep.yaml").write_text(text)
    console = Console(record=True, width=1000, force_terminal=False)
    spec = load_spec(tmp_path / "sweep.yaml")
    sweep = create_sweep(spec, text=text, name="second", runs=tmp_path / "runs", console=console)
    return sweep, console.export_text()


def test_a_sweep_says_and_records_what_it_starts_from(best, tmp_path):
    sweep, said = make_sweep(tmp_path)
    known = sweep.record["weights"]["runs/first"]["small_cnn"]
    assert known["digest"] == file_digest(best / WEIGHTS)
    assert (known["head"], known["random"], known["unused"]) == (False, [], [])
    # The convolutions are loaded, so what remains to be drawn is the head, which sparse can do.
    line = "small_cnn, weights runs/first, init sparse: 1 weight drawn"
    assert sweep.record["initialisation"] == [line]
    assert known["note"] in said
    assert line in said


def test_what_a_shape_does_not_allow_is_said_when_the_sweep_starts(tmp_path):
    sweep, said = make_sweep(tmp_path, FILE.replace("runs/first", "none").replace("default", "constant"))
    constant, sparse = sweep.record["initialisation"]
    assert constant == "small_cnn, weights none, init constant: 5 weights drawn"
    assert "2 weights not, as by default: conv1.0.weight (sparse needs 2 dimensions, it has 4)" in sparse
    assert sparse in said


def test_without_a_choice_of_initialisation_nothing_is_said_of_it(tmp_path):
    sweep, said = make_sweep(
        tmp_path, FILE.replace("runs/first", "none").replace("init: [default, sparse]", "lr: [1, 2]")
    )
    assert sweep.record["initialisation"] == []
    assert "init" not in said


def test_a_sweep_keeps_the_weights_it_began_with_when_the_first_one_is_exported_anew(best, tmp_path):
    sweep, _ = make_sweep(tmp_path)
    before = state(best)
    shutil.rmtree(best)
    export(best, build(seed=10))
    reopened, _, _ = open_sweep(sweep.folder, console=Console(quiet=True))
    weights = Weights(**weights_here(reopened, {"weights": "runs/first", "model": MODEL}))
    copy = f"start-{weights.digest[:12]}"
    assert Path(weights.path) == sweep.folder.absolute() / copy / WEIGHTS
    assert torch.equal(build(weights).network.conv1[0].weight, before["conv1.0.weight"])
    # And when the run is taken elsewhere.
    moved = sweep.folder.rename(tmp_path / "moved")
    again = Weights(**weights_here(Sweep.open(moved), {"weights": "runs/first", "model": MODEL}))
    assert again.digest == weights.digest
    assert Path(again.path) == moved / copy / WEIGHTS


def test_the_winner_s_file_goes_on_with_the_head_too(tmp_path):
    best = export(tmp_path / "runs" / "first" / "best", build(classes=10, seed=9), classes=tuple("0123456789"))
    sweep, _ = make_sweep(tmp_path)
    known = sweep.record["weights"]["runs/first"]["small_cnn"]
    assert known["head"]
    shutil.rmtree(best)
    settings = {"model": MODEL, "image_size": 32, "weights": "runs/first", "init": "default"}
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "elsewhere" / "best.yaml"
    file.write_text(winner_file(sweep, dataclasses.replace(trial(0, values=[0.5], params={}), settings=settings)))
    console = Console(quiet=True)
    again = create_sweep(load_spec(file), text="", name="third", runs=tmp_path / "runs", console=console)
    ((found,),) = (by_model.values() for by_model in again.record["weights"].values())
    assert (found["head"], found["digest"]) == (True, known["digest"])


def test_weights_that_a_former_version_kept_stay_where_they_are(best, tmp_path):
    sweep, _ = make_sweep(tmp_path)
    known = sweep.record["weights"]["runs/first"]["small_cnn"]
    former = sweep.folder.absolute() / f"start-{known['digest'][:12]}.safetensors"
    shutil.move(known["path"], former)
    shutil.rmtree(former.with_suffix(""))
    known["path"] = str(former)
    _keep_exported(sweep.record["weights"], tmp_path, sweep.folder, named=sweep.folder)
    assert known["path"] == str(former)
    assert former.is_file()


def test_weights_that_a_wider_choice_brings_are_kept_and_said_too(best, tmp_path):
    text = FILE.replace("  weights: runs/first\n", "").replace("init: [default, sparse]", "weights: [none, auto]")
    sweep, _ = make_sweep(tmp_path, text.replace("image_size: 32", "image_size: 32\n  init: sparse"))
    assert list(sweep.folder.glob("start-*")) == []
    file = sweep.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("[none, auto]", "[none, auto, runs/first]"))
    revise(sweep.folder, Revision()).keep()
    console = Console(record=True, width=1000, force_terminal=False)
    wider, _, _ = open_sweep(sweep.folder, console=console)
    known = Sweep.open(sweep.folder).record["weights"]["runs/first"]["small_cnn"]
    assert known["path"] == str(sweep.folder.absolute() / f"start-{file_digest(best / WEIGHTS)[:12]}" / WEIGHTS)
    assert file_digest(Path(known["path"])) == known["digest"]
    line = "small_cnn, weights runs/first, init sparse: 1 weight drawn"
    assert line in wider.record["initialisation"]
    assert line in console.export_text()


def test_a_wider_choice_of_initialisations_is_told_once(tmp_path):
    sweep, _ = make_sweep(tmp_path, FILE.replace("runs/first", "none"))
    file = sweep.folder / "sweep.yaml"
    file.write_text(file.read_text().replace("sparse]", "sparse, orthogonal]"))
    revise(sweep.folder, Revision()).keep()
    line = "small_cnn, weights none, init orthogonal: 5 weights drawn"
    for expected in (line + "\n", ""):
        console = Console(record=True, width=1000, force_terminal=False)
        open_sweep(sweep.folder, console=console)
        assert console.export_text() == expected
        assert Sweep.open(sweep.folder).record["initialisation"][1:] == [line]


def test_a_mistake_in_the_weights_leaves_no_sweep_behind(tmp_path):
    (tmp_path / "runs" / "first").mkdir(parents=True)
    with pytest.raises(UserError, match="without an exported model"):
        make_sweep(tmp_path)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["first"]
