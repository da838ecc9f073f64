"""A trial resumed from any epoch's checkpoint is the trial that was never interrupted, bit for bit."""

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from conftest import files_of_at_most, make_pictures
from trainables.checkpoint import Snapshot
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.errors import TrialError
from trainables.files import checkpoint_path
from trainables.finetune import EpochResult, finetune
from trainables.models.weights import Weights
from trainables.settings import Augment, Init, Optimizer, Schedule, TrialSettings
from trainables.tasks import EPOCH_FIELDS, LOSSES_OF
from trainables.training.optimizers import build_optimizer

# Those that train a network, whose gradients are dense.
OPTIMIZERS = tuple(name for name in get_args(Optimizer) if name != "sparse_adam")
NO_WEIGHTS = Weights("none", None, None, "")
# The smallest network of the zoo that has BatchNorm and learns in a second.
BASE = TrialSettings(
    model="shufflenet_v2_x0_5",
    weights="none",
    image_size=32,
    center_crop=1.0,
    augment="none",
    lr=0.05,
    batch_size=8,
    epochs=4,
    step_size=2,
    max_iter=3,
    precision="fp32",
)


def dirty_memory(count: int) -> None:
    """Leaves NaN in memory that the next allocations get."""
    junk = [torch.full((count,), float("nan")) for _ in range(8)]
    del junk


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PixelStore:
    """Forty pictures of three classes, twelve of them for validation."""
    root = make_pictures(
        tmp_path_factory.mktemp("exact") / "pictures",
        {"train/a": 10, "train/b": 9, "train/c": 9, "val/a": 4, "val/b": 4, "val/c": 4},
    )
    catalog = read_catalog(DataSettings(source="folder", path=str(root)), base=root)
    return build_store(catalog, short_side=32, cache=tmp_path_factory.mktemp("cache"), on_bad_image="error")


def trial(trial_settings: TrialSettings, store: PixelStore, resume: Snapshot | None = None) -> Iterator[EpochResult]:
    return finetune(trial_settings, store=store, data_seed=7, weights=NO_WEIGHTS, resume=resume)


def numbers(result: EpochResult) -> dict:
    return {name: value for name, value in result.metrics().items() if not name.startswith("seconds")}


def assert_same(ours: Snapshot, theirs: Snapshot) -> None:
    assert ours.epoch == theirs.epoch
    assert ours.model.keys() == theirs.model.keys()
    for name, tensor in ours.model.items():
        assert torch.equal(tensor, theirs.model[name]), name


def check_exact(trial_settings: TrialSettings, store: PixelStore, folder: Path, *, at: int | None = None) -> None:
    """Resumes at every epoch (or one) from the file, and compares all that follows."""
    whole = []
    for result in trial(trial_settings, store):
        result.snapshot().save(folder / checkpoint_path(0, result.epoch))
        whole.append((numbers(result), result.snapshot()))
    for epoch in [at] if at else range(1, trial_settings.epochs):
        snapshot = Snapshot.load(folder / checkpoint_path(0, epoch))
        resumed = [(numbers(result), result.snapshot()) for result in trial(trial_settings, store, snapshot)]
        assert [n for n, _ in resumed] == [n for n, _ in whole[epoch:]], f"resumed after epoch {epoch}"
        for (_, ours), (_, theirs) in zip(resumed, whole[epoch:], strict=True):
            assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        *((name, "step") for name in OPTIMIZERS),
        *(("sgd", name) for name in get_args(Schedule) if name != "step"),
    ],
)
def test_every_optimizer_and_schedule(optimizer: str, schedule: str, store: PixelStore, tmp_path: Path) -> None:
    changed = dataclasses.replace(BASE, optimizer=optimizer, schedule=schedule, lr=0.01, weight_decay=1e-3)
    check_exact(changed, store, tmp_path, at=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"freeze": "backbone"},
        {"freeze": "stage2", "head_lr_factor": 3.0},
        {"freeze": "stage2", "freeze_batchnorm": False},
        {"freeze": "backbone", "freeze_epochs": 2},
        {"drop_last": True, "batch_size": 5, "nesterov": True},
        {"augment": "strong"},
        {"label_smoothing": 0.1, "precision": "bf16"},
        {"loss": "multi_margin", "seed": 12345},
        {"mixup": 0.4, "cutmix": 1.0, "clip_grad_norm": 0.5},
        {"schedule": "one_cycle", "warmup_epochs": 1},
        {"schedule": "plateau", "patience": 0, "lr": 0.3},
        {"optimizer": "lbfgs", "freeze": "backbone", "line_search": "strong_wolfe"},
        {"model": "squeezenet1_1"},  # dropout
        {"layer_decay": 0.5, "head_lr_factor": 2.0, "freeze": "stem", "freeze_epochs": 2},
        {"model": "small_cnn", "activation": "tanh", "dropout": 0.4, "layer_decay": 0.7},
        {"model": "residual34", "activation": "leaky_relu", "dropout": 0.1, "batch_size": 14, "epochs": 3},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_every_way_of_training(changes: dict, store: PixelStore, tmp_path: Path) -> None:
    check_exact(dataclasses.replace(BASE, **changes), store, tmp_path)


@pytest.mark.parametrize("init", get_args(Init))
def test_every_initialisation(init: str, store: PixelStore, tmp_path: Path) -> None:
    changes = {"model": "small_cnn", "init": init, "init_std": 0.1, "epochs": 2, "lr": 0.01}
    check_exact(dataclasses.replace(BASE, **changes), store, tmp_path)


@pytest.mark.parametrize(
    ("optimizer", "freeze", "freeze_epochs"),
    [
        *((name, "stage2", 1) for name in OPTIMIZERS),
        *itertools.product(("sgd", "adam"), ("stem", "stage2", 3, "backbone"), (1, 2)),
        *itertools.product(("adagrad", "lbfgs"), ("backbone",), (1, 2)),  # which begin with state for what is frozen
    ],
)
def test_a_thaw_with_every_optimizer(
    optimizer: str, freeze: str | int, freeze_epochs: int, store: PixelStore, tmp_path: Path
) -> None:
    """Resumed at the thaw and beside it; a middle stage leaves part of a group with momentum and part without."""
    changes = {"freeze": freeze, "freeze_epochs": freeze_epochs, "optimizer": optimizer}
    changed = dataclasses.replace(BASE, **changes, epochs=3, lr=0.003, batch_size=14)
    check_exact(changed, store, tmp_path)


@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "lbfgs"])
def test_an_overflow_in_the_first_step_leaves_no_trace(optimizer: str) -> None:
    """Under fp16 the scaler skips steps whose gradients overflow, most often the first."""

    def steps(gradients: list[float]) -> torch.Tensor:
        parameter = torch.nn.Parameter(torch.ones(4096))
        groups = [{"params": [parameter], "lr": 0.01, "weight_decay": 0.0}]
        optimiser = build_optimizer(groups, dataclasses.replace(BASE, optimizer=optimizer))
        scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
        for gradient in gradients:
            scaler.scale(parameter.mean() * gradient * parameter.numel()).backward()
            scaler.step(optimiser)
            scaler.update()
            optimiser.zero_grad()
        return parameter.detach()

    dirty_memory(4096)
    torch.testing.assert_close(steps([float("inf"), 0.5, 0.25]), steps([0.5, 0.25]))


@settings(max_examples=4, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {
            "optimizer": st.sampled_from(OPTIMIZERS),
            "schedule": st.sampled_from(get_args(Schedule)),
            "loss": st.sampled_from(LOSSES_OF["classification"]),
            "class_weights": st.sampled_from(["none", "balanced"]),
            "mixup": st.sampled_from([0.0, 0.4]),
            "cutmix": st.sampled_from([0.0, 1.0]),
            "clip_grad_norm": st.sampled_from([0.0, 1.0]),
            "warmup_epochs": st.integers(0, 2),
            "augment": st.sampled_from(get_args(Augment)),
            "freeze": st.sampled_from(["none", "stem", "stage3", "backbone", 2]),
            "freeze_epochs": st.integers(0, 3),
            "freeze_batchnorm": st.booleans(),
            "drop_last": st.booleans(),
            "batch_size": st.sampled_from([4, 5, 7, 8, 12]),
            "head_lr_factor": st.sampled_from([1.0, 10.0]),
        }
    ),
    st.integers(1, 2),
)
def test_any_combination(store: PixelStore, tmp_path_factory: pytest.TempPathFactory, changes: dict, at: int) -> None:
    changed = dataclasses.replace(BASE, epochs=3, lr=0.003, **changes)
    check_exact(changed, store, tmp_path_factory.mktemp("any"), at=at)


def test_a_last_batch_of_one_says_what_to_do(store: PixelStore) -> None:
    with pytest.raises(TrialError, match="drop_last: true"):
        next(trial(dataclasses.replace(BASE, batch_size=9), store))  # 28 pictures: 9 + 9 + 9 + 1


def test_a_snapshot_holds_only_what_can_change(store: PixelStore, tmp_path: Path) -> None:
    frozen = next(trial(dataclasses.replace(BASE, freeze="backbone"), store)).snapshot()
    assert frozen.model.keys() == {"fc.weight", "fc.bias"}
    frozen.save(tmp_path / "frozen.safetensors")
    assert (tmp_path / "frozen.safetensors").stat().st_size < 50_000


def test_a_snapshot_is_a_copy(store: PixelStore) -> None:
    epochs = trial(BASE, store)
    first = next(epochs).snapshot()
    kept = {name: tensor.clone() for name, tensor in first.model.items()}
    next(epochs)
    assert all(torch.equal(first.model[name], tensor) for name, tensor in kept.items())


def test_a_snapshot_is_of_its_own_epoch_or_not_to_be_had(store: PixelStore) -> None:
    epochs = trial(BASE, store)
    first = next(epochs)
    second = next(epochs)
    with pytest.raises(RuntimeError, match="gone on since epoch 1"):
        first.snapshot()
    assert second.snapshot().epoch == 2


def test_the_names_of_an_epochs_numbers(store: PixelStore) -> None:
    """In the order of the record; what is of other tasks, or says nothing of three classes, is left out."""
    left_out = {"train_mae", "val_top5", "val_map", "val_mae", "val_rmse", "val_r2"}
    assert list(next(trial(BASE, store)).metrics()) == [name for name in EPOCH_FIELDS if name not in left_out]


def test_other_settings_are_refused(store: PixelStore) -> None:
    snapshot = next(trial(BASE, store)).snapshot()
    with pytest.raises(TrialError, match="other settings"):
        next(trial(dataclasses.replace(BASE, lr=0.1), store, snapshot))


def test_divergence_ends_the_trial_with_its_reason(store: PixelStore) -> None:
    with pytest.raises(TrialError, match=r"diverged: training loss is (nan|inf) in epoch \d .*lower lr"):
        list(trial(dataclasses.replace(BASE, model="squeezenet1_1", lr=900.0), store))


def test_training_learns(store: PixelStore) -> None:
    calm = dataclasses.replace(BASE, model="resnet18", lr=0.001, batch_size=14, epochs=8, step_size=8)
    first, *_, last = trial(calm, store)
    assert last.train_loss < first.train_loss / 2
    assert last.scores["val_accuracy"] > 0.8


def test_the_global_generators_are_left_alone(store: PixelStore) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    next(trial(BASE, store))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_learning_rate_falls_after_the_epoch(store: PixelStore) -> None:
    changed = dataclasses.replace(BASE, epochs=5, step_size=2, gamma=0.1, lr=0.04)
    rates = [result.lr for result in trial(changed, store)]
    assert rates == pytest.approx([0.04, 0.04, 0.004, 0.004, 0.0004])


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "flipped header", "another format"])
def test_a_damaged_checkpoint_is_named(damage: str, store: PixelStore, tmp_path: Path) -> None:
    path = tmp_path / "epoch-00001.safetensors"
    next(trial(dataclasses.replace(BASE, freeze="backbone"), store)).snapshot().save(path)
    data = path.read_bytes()
    damaged = {
        "cut": data[: len(data) // 2],
        "empty": b"",
        "text": b"hello",
        "flipped header": data.replace(b"format", b"Format"),
        "another format": data.replace(b'format\\": 1', b'format\\": 2'),
    }
    assert damaged[damage] != data
    path.write_bytes(damaged[damage])
    with pytest.raises(TrialError, match=r"checkpoint .*epoch-00001\.safetensors"):
        Snapshot.load(path)


def test_a_checkpoint_changed_anywhere_in_its_header_is_named_or_read(store: PixelStore, tmp_path: Path) -> None:
    path = tmp_path / "epoch-00001.safetensors"
    next(trial(dataclasses.replace(BASE, freeze="backbone"), store)).snapshot().save(path)
    data = path.read_bytes()
    named = []
    for place in range(0, 8 + int.from_bytes(data[:8], "little"), 7):
        for other in b'0"]':
            path.write_bytes(data[:place] + bytes([other]) + data[place + 1 :])
            try:
                Snapshot.load(path)
            except TrialError as error:
                named.append(str(path) in str(error))
    assert len(named) > 100
    assert all(named)


def test_a_checkpoint_that_is_not_there_is_no_trials_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"epoch-00001\.safetensors"):
        Snapshot.load(tmp_path / "epoch-00001.safetensors")
    with pytest.raises(OSError):
        Snapshot.load(tmp_path)


def test_a_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "epoch-00001.safetensors"
    torch.save({"model": Payload()}, path)
    with pytest.raises(TrialError):
        Snapshot.load(path)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_cannot_be_written_leaves_the_former_one(store: PixelStore, tmp_path: Path) -> None:
    path = tmp_path / "epoch-00001.safetensors"
    first, second = (result.snapshot() for result in itertools.islice(trial(BASE, store), 2))
    first.save(path)
    before = path.read_bytes()
    with files_of_at_most(len(before) // 2), pytest.raises(OSError, match="File too large"):
        second.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
