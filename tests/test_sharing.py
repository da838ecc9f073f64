"""Trials that share give what trials that do not share give, and never take what is not theirs."""

import dataclasses
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torchvision import models

from conftest import make_pictures
from trainables import arithmetic, features
from trainables.data import passes
from trainables.data.loaders import Views
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.data.transforms import normalize
from trainables.features import Sharing
from trainables.finetune import finetune
from trainables.hardware import has_fast_bf16
from trainables.models import zoo
from trainables.models.build import BUILT_FROM
from trainables.models.resident import KEPT_BYTES, Residents, residents, room
from trainables.models.weights import Weights, resolve_weights
from trainables.settings import TrialSettings
from trainables.training.trainer import Trainer

NO_WEIGHTS = Weights("none", None, None, "")
BASE = TrialSettings(
    model="resnet18",
    image_size=32,
    center_crop=1.0,
    augment="none",
    lr=0.01,
    batch_size=4,
    epochs=2,
    precision="fp32",
)
# How far bf16 may be off: a step of its mantissa is 2⁻⁸, and losses are means over all pictures.
BF16_NOISE = 0.02


COUNTS = {"train/a": 7, "train/b": 7, "val/a": 4, "val/b": 3}


def pictures(folder: Path, *, seed: int = 0, counts: dict[str, int] = COUNTS, short_side: int = 32) -> PixelStore:
    root = make_pictures(folder / "pictures", counts, size=(40, 48), seed=seed)
    catalog = read_catalog(DataSettings(source="folder", path=str(root)), base=root)
    return build_store(catalog, short_side=short_side, cache=folder / "cache", on_bad_image="error")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    return pictures(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Several chunks for a few pictures; and one thread, as a trial has."""
    monkeypatch.setattr(passes, "CHUNK", 4)
    monkeypatch.setattr(features, "CHUNK", 4)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def run(
    settings: TrialSettings,
    store: PixelStore,
    cache: Path | None,
    *,
    weights: Weights = NO_WEIGHTS,
    data_seed: int = 3,
) -> list[dict]:
    """The epochs of a trial, times apart; with a cache it shares."""
    sharing = Sharing(cache, 10**9) if cache else None
    results = finetune(settings, store=store, data_seed=data_seed, weights=weights, sharing=sharing)
    epochs = [result.metrics() for result in results]
    return [{name: epoch[name] for name in epoch if not name.startswith("seconds")} for epoch in epochs]


def kept(cache: Path) -> set[Path]:
    """The passes that a cache holds."""
    return {path for path in (cache / "features").iterdir() if path.is_dir()}


def assert_same(ours: list[dict], theirs: list[dict], *, pictures: int, loss: float = 1e-4) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        for name in ("train_loss", "val_loss"):
            assert one[name] == pytest.approx(other[name], rel=loss), name
        for name in ("train_accuracy", "val_accuracy"):
            assert abs(one[name] - other[name]) <= 1.001 / pictures, name


BOUNDARIES = [
    (model, stage.name) for model in ("resnet18", "squeezenet1_1", "small_cnn") for stage in zoo.facts(model).stages
]


@pytest.mark.parametrize("augment", ["none", "standard"])
@pytest.mark.parametrize(("model", "freeze"), [("resnet18", "none"), *BOUNDARIES])
def test_every_boundary_gives_what_no_sharing_gives(
    model: str, freeze: str, augment: str, store: PixelStore, tmp_path: Path
) -> None:
    """Cold, warm, and at another batch size on what the first trial left."""
    settings = dataclasses.replace(BASE, model=model, freeze=freeze, augment=augment)
    cold, warm = run(settings, store, tmp_path), run(settings, store, tmp_path)
    assert cold == warm, "the same bits, whoever computed them"
    assert cold[0]["shared"] == ("nothing" if freeze == "none" else freeze)
    assert_same(cold, run(settings, store, None), pictures=7)
    larger = dataclasses.replace(settings, batch_size=7)
    assert_same(run(larger, store, tmp_path), run(larger, store, None), pictures=7)


@pytest.mark.parametrize("augment", ["flip", "strong"])
def test_every_kind_of_view_is_shared(augment: str, store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="layer3", augment=augment, epochs=3)
    assert_same(run(settings, store, tmp_path), run(settings, store, None), pictures=7)
    assert len(kept(tmp_path)) == (3 if augment == "flip" else 4), "validation, and two views or one for each epoch"


@pytest.mark.skipif(not has_fast_bf16(torch.device("cpu")), reason="no bf16 instructions here")
@pytest.mark.parametrize("freeze", ["stem", "layer2", "backbone"])
def test_in_bf16_it_is_the_same_within_its_noise(freeze: str, store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze=freeze, precision="bf16", lr=1e-3)
    assert_same(run(settings, store, tmp_path), run(settings, store, None), pictures=7, loss=BF16_NOISE)


def test_features_are_those_of_the_network(store: PixelStore, tmp_path: Path) -> None:
    """To 1e-5, at another batch size than they were computed at."""
    settings = dataclasses.replace(BASE, freeze="layer4")
    run(settings, store, tmp_path)
    resident = residents.get(
        settings, classes=2, channels=3, task="classification", weights=NO_WEIGHTS, device=torch.device("cpu")
    )
    mean, std = zoo.normalization(resident.model.facts, channels=3)
    indices = store.indices("val")
    views, _ = Views(store, settings).__getitems__(indices.tolist())
    with torch.no_grad():
        alone = [resident.part(0, 5)(normalize(view[None], mean=mean, std=std)) for view in views]
    passes = [sorted(folder.iterdir()) for folder in kept(tmp_path)]
    rows = next(torch.cat([load_file(path)["rows"] for path in files]) for files in passes if len(files) == 2)
    assert torch.allclose(rows, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_a_shallower_boundary_is_started_from(
    store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The deeper trial computes only what lies between, and to the same bits as from the pictures."""
    deep = dataclasses.replace(BASE, freeze="layer3", augment="standard")
    alone = run(deep, store, tmp_path / "alone")
    run(dataclasses.replace(BASE, freeze="layer2", augment="standard"), store, tmp_path / "both")

    def no_pictures(*_: object) -> None:
        raise AssertionError("it looked at the pictures again")

    monkeypatch.setattr(features.Views, "__getitems__", no_pictures)
    assert run(deep, store, tmp_path / "both") == alone


def test_large_pictures_give_the_same_bits_from_a_shallower_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network sees 8 pictures of 224 px at a time, and as many of the smaller maps that a shallower trial left."""
    store = pictures(tmp_path, counts={"train/a": 12, "train/b": 12, "val/a": 1, "val/b": 1})
    for module in (passes, features):
        monkeypatch.setattr(module, "CHUNK", 32)
    deep = dataclasses.replace(BASE, model="squeezenet1_1", image_size=224, freeze="fire6", epochs=1)
    alone = run(deep, store, tmp_path / "alone")
    run(dataclasses.replace(deep, freeze="fire5"), store, tmp_path / "both")
    assert run(deep, store, tmp_path / "both") == alone


def test_views_serve_every_boundary(store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are dear to make; the views of validation are not."""
    first = run(dataclasses.replace(BASE, augment="strong"), store, tmp_path)
    assert first[0]["shared"] == "views"
    made: list[int | None] = []
    make = features.Views.__getitems__
    monkeypatch.setattr(
        features.Views, "__getitems__", lambda views, indices: made.append(views.epoch) or make(views, indices)
    )
    run(dataclasses.replace(BASE, freeze="backbone", augment="strong"), store, tmp_path)
    assert set(made) == {None}
    assert_same(first, run(dataclasses.replace(BASE, augment="strong"), store, None), pictures=7)


def test_thawing_goes_on_with_pictures(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="layer2", freeze_epochs=1, epochs=3)
    shared = run(settings, store, tmp_path)
    assert [epoch["shared"] for epoch in shared] == ["layer2", "nothing", "nothing"]
    assert_same(shared, run(settings, store, None), pictures=7)


@pytest.mark.parametrize(
    ("changed", "shared"),
    [
        ({"mixup": 0.4}, "nothing (mixed pictures)"),
        ({"cutmix": 1.0, "augment": "strong"}, "views (mixed pictures)"),
        ({"freeze_batchnorm": False}, "nothing (frozen BatchNorm that moves)"),
    ],
)
def test_what_comes_before_the_boundary_is_not_shared(
    changed: dict, shared: str, store: PixelStore, tmp_path: Path
) -> None:
    settings = dataclasses.replace(BASE, freeze="layer2", **changed)
    epochs = run(settings, store, tmp_path)
    assert {epoch["shared"] for epoch in epochs} == {shared}
    assert_same(epochs, run(settings, store, None), pictures=7)


def test_what_has_no_room_is_computed_as_usual(store: PixelStore, tmp_path: Path) -> None:
    """Decided by sizes alone: 21 views of 32 × 32 pixels are 64,512 bytes, and stage 1 takes more."""
    settings = dataclasses.replace(BASE, freeze="stem", augment="strong", epochs=1)
    views = 21 * 3 * 32 * 32

    def shared(room: int) -> str:
        sharing = Sharing(tmp_path, room)
        return next(finetune(settings, store=store, data_seed=3, weights=NO_WEIGHTS, sharing=sharing)).shared

    assert shared(10**9) == "stem"
    assert shared(views) == "views (no room)"
    assert shared(views - 1) == "nothing (no room)"
    assert shared(0) == "nothing"


def test_the_room_is_kept_to(store: PixelStore, tmp_path: Path) -> None:
    """Passes of earlier trials go when a later one needs their room."""
    settings = dataclasses.replace(BASE, freeze="layer3", augment="standard", epochs=3)
    row = 256 * 2 * 2 * 4
    room = (3 * 14 + 7) * row
    for seed in (1, 2, 3):
        sharing = Sharing(tmp_path, room)
        for _ in finetune(settings, store=store, data_seed=seed, weights=NO_WEIGHTS, sharing=sharing):
            pass
    tensors = sum(path.stat().st_size // row * row for path in (tmp_path / "features").rglob("*.safetensors"))
    assert 0 < tensors <= room


# What must never be taken: each case leaves a cache, changes one thing, and must get what no cache gives.


def test_other_pictures_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="backbone")
    other = pictures(tmp_path, seed=1)
    run(settings, store, tmp_path)
    assert run(settings, other, tmp_path) == run(settings, other, tmp_path / "empty")


def test_pictures_decoded_to_another_size_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="backbone")
    larger = pictures(tmp_path, short_side=40)
    assert larger.fingerprint == store.fingerprint
    run(settings, store, tmp_path)
    assert run(settings, larger, tmp_path) == run(settings, larger, tmp_path / "empty")


def test_views_of_another_data_seed_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="layer3", augment="standard", epochs=1)
    run(settings, store, tmp_path, data_seed=4)
    assert run(settings, store, tmp_path) == run(settings, store, tmp_path / "empty")


def test_other_weights_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="backbone")
    run(settings, store, tmp_path)
    other = dataclasses.replace(settings, seed=1)
    assert run(other, store, tmp_path) == run(other, store, tmp_path / "empty")


def test_weights_changed_in_their_file_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, model="squeezenet1_1", freeze="backbone")
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        path = tmp_path / f"{seed}.pth"
        torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
        weights = resolve_weights(str(path), "squeezenet1_1", base=tmp_path)
        found.append(run(settings, store, tmp_path, weights=weights))
    assert found[0] != found[1]
    assert found[1] == run(settings, store, tmp_path / "empty", weights=weights)


@pytest.mark.parametrize(
    "changed",
    [
        {"freeze": "layer4"},
        {"freeze": "layer3", "model": "resnet34"},
        {"freeze": "layer3", "augment": "standard"},
        {"freeze": "layer3", "normalize": "half"},
        {"freeze": "layer3", "center_crop": 0.8},
        {"freeze": "layer3", "image_size": 24},
    ],
)
def test_another_boundary_model_view_or_size_is_not_taken(changed: dict, store: PixelStore, tmp_path: Path) -> None:
    run(dataclasses.replace(BASE, freeze="layer3"), store, tmp_path)
    other = dataclasses.replace(BASE, **changed)
    assert run(other, store, tmp_path) == run(other, store, tmp_path / "empty")


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_rows_of_another_version_are_not_taken(
    name: str, store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(BASE, freeze="layer3")
    run(settings, store, tmp_path)
    before = kept(tmp_path)
    monkeypatch.setattr(getattr(features, name), "__version__", "0.0.1")
    run(settings, store, tmp_path)
    assert len(kept(tmp_path)) == 2 * len(before)


def test_rows_of_other_arithmetic_are_not_taken(
    store: PixelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = dataclasses.replace(BASE, freeze="layer3")
    run(settings, store, tmp_path)
    other = dataclasses.replace(settings, precision="bf16")
    assert run(other, store, tmp_path) == run(other, store, tmp_path / "empty")
    before = kept(tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(arithmetic, "cpu_flags", lambda: frozenset({"avx2", "amx_bf16"}))
        run(settings, store, tmp_path)
    assert kept(tmp_path) > before, "another processor, other bits"
    torch.set_num_threads(2)
    before = kept(tmp_path)
    run(settings, store, tmp_path)
    assert kept(tmp_path) > before, "other threads, other bits"


def test_cut_short_files_are_not_taken(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="layer3")
    whole = run(settings, store, tmp_path)
    for path in (tmp_path / "features").rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-100])
    assert run(settings, store, tmp_path) == whole


# Networks that stay between trials.


def test_a_trial_leaves_the_resident_network_as_it_was(store: PixelStore, tmp_path: Path) -> None:
    settings = dataclasses.replace(BASE, freeze="layer2", lr=0.1)
    resident = residents.get(
        settings, classes=2, channels=3, task="classification", weights=NO_WEIGHTS, device=torch.device("cpu")
    )
    before = {name: tensor.clone() for name, tensor in resident.model.network.state_dict().items()}
    first, second = run(settings, store, tmp_path), run(settings, store, tmp_path)
    assert first == second
    after = resident.model.network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(TrialSettings)])
def test_what_a_network_is_built_from_makes_another_resident(field: str) -> None:
    """Settings that change the network are told apart; all others give the very same one."""
    base = dataclasses.replace(BASE, model="small_cnn", weights="none")
    others = {
        "model": "residual34",
        "image_size": 40,
        "init": "xavier_uniform",
        "init_mode": "fan_out",
        "init_nonlinearity": "tanh",
        "activation": "tanh",
        "dropout": 0.3,
        "seed": 5,
    }
    default = getattr(base, field)
    other = others.get(field, default + 0.25 if isinstance(default, float) else default)
    changed = dataclasses.replace(base, **{field: other})
    networks = Residents()
    about = {"classes": 2, "channels": 3, "task": "classification", "weights": NO_WEIGHTS}
    device = torch.device("cpu")
    same = networks.get(base, device=device, **about) is networks.get(changed, device=device, **about)  # type: ignore[arg-type]
    assert same == (field not in BUILT_FROM)


def trainers() -> list[Trainer]:
    return [thing for thing in gc.get_objects() if type(thing) is Trainer]


@pytest.mark.parametrize("freeze", ["none", "layer2"])
def test_a_trial_s_network_goes_with_the_trial(freeze: str, store: PixelStore, tmp_path: Path) -> None:
    """Without waiting for the collector of cycles, which may come many large networks later."""
    settings = dataclasses.replace(BASE, freeze=freeze, epochs=1)
    gc.collect()
    gc.disable()
    try:
        others = trainers()
        epochs = finetune(settings, store=store, data_seed=3, weights=NO_WEIGHTS, sharing=Sharing(tmp_path, 10**9))
        next(epochs)
        (trainer,) = (thing for thing in trainers() if thing not in others)
        weight = weakref.ref(trainer.model.network.fc.weight)
        del trainer, others
        epochs.close()
        del epochs
        assert weight() is None
    finally:
        gc.enable()


def test_residents_leave_a_gpu_to_the_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU of 8 GiB: with a quarter of it, and with all of it; torch wants its number, or nothing."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=8 * 2**30))
    for share in (0.25, 1.0):
        shares = {None: share, 0: share}
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", shares.__getitem__)
        for device in (torch.device("cuda"), torch.device("cuda", 0)):
            assert room(device) == int(0.05 * share * 8 * 2**30)
    assert room(torch.device("cpu")) == KEPT_BYTES


def test_residents_keep_to_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT_BYTES >= 2**29
    networks = Residents()
    about = {"classes": 2, "channels": 3, "task": "classification", "weights": NO_WEIGHTS}
    device = torch.device("cpu")
    one = networks.get(BASE, device=device, **about)  # type: ignore[arg-type]
    assert networks.get(BASE, device=device, **about) is one  # type: ignore[arg-type]
    monkeypatch.setattr("trainables.models.resident.KEPT_BYTES", one.bytes)
    networks.get(dataclasses.replace(BASE, seed=9), device=device, **about)  # type: ignore[arg-type]
    assert networks.get(BASE, device=device, **about) is not one  # type: ignore[arg-type]
