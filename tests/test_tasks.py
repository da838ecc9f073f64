"""Every task from pictures to a record: it learns, resumes bit-equal, and tells its own metrics; what cannot be had is
refused before the first trial."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reports.record import METRICS
from runs import make_epoch
from simulation import Simulation, small_spec
from trainables.checkpoint import Snapshot
from trainables.data.catalog import Catalog, Picture, Split, Task
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings
from trainables.data.store import PixelStore
from trainables.errors import UserError
from trainables.finetune import EpochResult, finetune
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from trainables.tasks import EPOCH_FIELDS, LOSSES_OF, METRICS_OF, TRAINING_SCORE_OF
from trainables.training.trainer import Trainer
from tuning.conductor import Job
from tuning.space import Choice
from tuning.spec import SearchSettings, Spec
from tuning.spec_file import load_spec
from tuning.target_checks import check_targets, uneven_targets

NO_WEIGHTS = Weights("none", None, None, "")
BASE = TrialSettings(
    model="shufflenet_v2_x0_5",
    weights="none",
    image_size=32,
    center_crop=1.0,
    augment="none",
    optimizer="adam",
    lr=0.003,
    batch_size=8,
    epochs=5,
    schedule="constant",
    precision="fp32",
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_store(cache: Path, task: Task, targets: list[Any], *, classes: int) -> PixelStore:
    """Pictures whose brightness follows the first target; the last third is for validation."""
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 40, size=(len(targets), 32, 32, 3)).astype(np.uint8)
    pictures = []
    for place, target in enumerate(targets):
        shade = {"classification": target, "multilabel": place % 2, "regression": place % 5}[task]
        arrays[place] += np.uint8(40 * (shade + 1))
        split: Split = "train" if place < len(targets) * 2 // 3 else "val"
        label, values = (target, ()) if task == "classification" else (0, target)
        pictures.append(Picture(f"made/{place}", label, split, values))
    names = tuple(f"name {number}" for number in range(classes))
    catalog = Catalog("made", None, names, 3, tuple(pictures), arrays=arrays, task=task)
    return build_store(catalog, short_side=32, cache=cache, on_bad_image="error")


TARGETS: dict[Task, list[Any]] = {
    "classification": [place % 3 for place in range(36)],
    "multilabel": [(float(place % 2), float(place % 3 == 0), float(place % 5 < 2)) for place in range(36)],
    "regression": [(float(place % 5), float(place % 5) / 2) for place in range(36)],
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[Task, PixelStore]:
    counts = {"classification": 3, "multilabel": 3, "regression": 2}
    cache = tmp_path_factory.mktemp("cache")
    return {task: make_store(cache, task, targets, classes=counts[task]) for task, targets in TARGETS.items()}


def trial(settings: TrialSettings, store: PixelStore, resume: Snapshot | None = None) -> list[EpochResult]:
    return list(finetune(settings, store=store, data_seed=7, weights=NO_WEIGHTS, resume=resume))


@pytest.mark.parametrize("task", TARGETS)
def test_a_task_learns_and_tells_its_metrics(task: Task, stores: dict[Task, PixelStore]) -> None:
    first, *_, last = trial(dataclasses.replace(BASE, batch_size=24, epochs=12), stores[task])
    assert last.train_loss < first.train_loss / 2
    told = last.metrics()
    measured = {name for name in told if name.startswith(("train_", "val_"))}
    assert measured == {*METRICS_OF[task], "train_loss", f"train_{TRAINING_SCORE_OF[task]}"} - {"val_top5"}
    assert None not in [told[name] for name in measured]
    assert list(told) == [name for name in EPOCH_FIELDS if name in told]


def test_counts_start_at_the_logarithm_of_their_means(tmp_path: Path) -> None:
    store = make_store(tmp_path, "regression", [(4.0, float(20 * (place % 11))) for place in range(33)], classes=2)
    assert store.targets[store.indices("train")].mean(dim=0).tolist() == [4.0, 100.0]
    settings = dataclasses.replace(BASE, loss="poisson_nll")
    trainer = Trainer.build(
        settings, store=store, data_seed=7, weights=NO_WEIGHTS, device=torch.device("cpu"), sharing=None
    )
    assert trainer.model.network.fc.bias.tolist() == pytest.approx([math.log(4), math.log(100)])


@pytest.mark.parametrize("loss", [loss for loss in LOSSES_OF["regression"] if loss != "poisson_nll"])
@pytest.mark.parametrize("model", ["resnet18", "squeezenet1_1"])  # a head that is Linear, and one that is a convolution
def test_targets_of_thousands_are_learnt_as_those_of_ones(model: str, loss: str, tmp_path: Path) -> None:
    """A trial sees targets in standard deviations; what it tells and gives is in their own units."""
    small = TARGETS["regression"]
    large = [tuple(1024 * value + 4096 for value in values) for values in small]
    # Small steps, for in large ones the last digit of a network from random weights soon grows to the first.
    changes = {"optimizer": "sgd", "lr": 1e-4, "precision": "fp32", "epochs": 2}
    settings = dataclasses.replace(BASE, model=model, loss=loss, **changes)  # type: ignore[arg-type]
    one, other = (
        trial(settings, make_store(tmp_path / name, "regression", targets, classes=2))
        for name, targets in (("small", small), ("large", large))
    )
    for ours, theirs in zip(one, other, strict=True):
        assert theirs.train_loss == pytest.approx(ours.train_loss, rel=5e-2)
        assert theirs.val_loss == pytest.approx(ours.val_loss, rel=5e-2)
        assert theirs.scores["val_mae"] == pytest.approx(1024 * ours.scores["val_mae"], rel=5e-2)  # type: ignore[operator]


def test_a_target_that_never_changes_is_no_obstacle(tmp_path: Path) -> None:
    store = make_store(tmp_path, "regression", [(4.0, float(place % 5)) for place in range(33)], classes=2)
    for result in trial(dataclasses.replace(BASE, epochs=2), store):
        assert math.isfinite(result.train_loss)
        assert math.isfinite(result.scores["val_mae"] or math.nan)


@pytest.mark.parametrize(("task", "loss"), [(task, loss) for task, losses in LOSSES_OF.items() for loss in losses])
def test_every_loss_resumes_exactly_with_mixed_pictures(
    task: Task, loss: str, stores: dict[Task, PixelStore], tmp_path: Path
) -> None:
    changes = {"mixup": 0.3, "cutmix": 0.5, "class_weights": "balanced", "warmup_epochs": 1, "schedule": "one_cycle"}
    settings = dataclasses.replace(BASE, loss=loss, epochs=2, **changes)  # type: ignore[arg-type]
    generator = finetune(settings, store=stores[task], data_seed=7, weights=NO_WEIGHTS)
    next(generator).snapshot().save(tmp_path / "1.safetensors")
    whole = next(generator)
    (resumed,) = trial(settings, stores[task], Snapshot.load(tmp_path / "1.safetensors"))
    assert (resumed.train_loss, resumed.val_loss, resumed.scores) == (whole.train_loss, whole.val_loss, whole.scores)


def test_auto_is_the_tasks_own_loss(stores: dict[Task, PixelStore]) -> None:
    for task, losses in LOSSES_OF.items():
        auto, named = (
            trial(dataclasses.replace(BASE, loss=loss, epochs=1), stores[task])[0]  # type: ignore[arg-type]
            for loss in ("auto", losses[0])
        )
        assert auto.val_loss == named.val_loss


@pytest.mark.parametrize("task", TARGETS)
def test_one_transfer_of_numbers_a_pass(
    task: Task, stores: dict[Task, PixelStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A number asked of the device makes the host wait: twice an epoch, however many batches."""
    settings = dataclasses.replace(BASE, epochs=1, batch_size=4)
    asked = []
    for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
        real = getattr(torch.Tensor, name)

        def counted(tensor: torch.Tensor, *args: Any, real: Any = real, name: str = name) -> Any:
            if tensor.is_floating_point():
                asked.append(name)
            return real(tensor, *args)

        monkeypatch.setattr(torch.Tensor, name, counted)
    trial(settings, stores[task])
    assert asked.count("tolist") == 2
    assert not {"item", "__bool__", "__int__"} & set(asked)


# before the first trial


def spec_of(task: Task, metric: str = "auto", **space: Choice) -> Spec:
    data = DataSettings(task=task, source="digits" if task == "classification" else "csv", path="table.csv")
    return Spec(data=data, space=space, search=SearchSettings(metric=metric))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TARGETS)
def test_every_metric_of_a_task_can_be_had(task: Task, stores: dict[Task, PixelStore]) -> None:
    for metric in METRICS_OF[task]:
        if metric != "val_top5":
            check_targets(spec_of(task, metric), stores[task])


@pytest.mark.parametrize(
    ("task", "metric", "targets", "message"),
    [
        (
            "classification",
            "val_top5",
            [place % 5 for place in range(30)],
            "search.metric: of so few classes one of the five likeliest is always right: got 'val_top5', expected more"
            " than 5 classes, not 5; take val_accuracy",
        ),
        (
            "classification",
            "val_auroc",
            [place % 5 if place < 20 else 2 for place in range(30)],
            "search.metric: undefined on these validation pictures: got 'val_auroc', expected a class or label that"
            " some validation pictures have and others have not",
        ),
        (
            "multilabel",
            "val_auroc",
            [(1.0,) if place > 15 else (0.0,) for place in range(30)],
            "search.metric: undefined on these validation pictures: got 'val_auroc', expected a class or label that"
            " some validation pictures have and others have not",
        ),
        (
            "multilabel",
            "auto",
            [(0.0,) if place > 15 else (1.0,) for place in range(30)],
            "search.metric: undefined on these validation pictures: got 'val_map', expected validation pictures with"
            " labels",
        ),
        (
            "regression",
            "val_r2",
            [(3.0,) for _ in range(30)],
            "search.metric: undefined on these validation pictures: got 'val_r2', expected targets that differ among"
            " the validation pictures",
        ),
    ],
)
def test_a_metric_that_the_pictures_leave_undefined(
    task: Task, metric: str, targets: list[Any], message: str, tmp_path: Path
) -> None:
    classes = 5 if task == "classification" else 1
    store = make_store(tmp_path, task, targets, classes=classes)
    with pytest.raises(UserError) as caught:
        check_targets(spec_of(task, metric), store)
    assert str(caught.value) == message
    check_targets(spec_of(task, "val_loss"), store)


def test_poisson_is_for_counts(tmp_path: Path) -> None:
    store = make_store(tmp_path, "regression", [(place % 3 - 1.0 if place else 0.0,) for place in range(30)], classes=1)
    check_targets(spec_of("regression", loss=Choice(("mse", "l1"))), store)
    with pytest.raises(UserError, match=r"^loss: poisson_nll is for counts, and a target is negative: got -1.0"):
        check_targets(spec_of("regression", loss=Choice(("mse", "poisson_nll"))), store)


@pytest.mark.parametrize(("factor", "metric", "told"), [(1, "auto", 0), (100, "auto", 1), (100, "val_r2", 0)])
def test_values_that_hardly_count_are_told_of(tmp_path: Path, factor: int, metric: str, told: int) -> None:
    """A value that is the same in all pictures has no spread to compare."""
    targets = [(float(place % 5), factor * float(place % 7), 3.0) for place in range(30)]
    lines = uneven_targets(spec_of("regression", metric), make_store(tmp_path, "regression", targets, classes=3))
    assert len(lines) == told
    if told:
        assert "name 1 varies 137 times as much as name 0, which hardly counts" in lines[0]


def test_one_value_alone_is_in_one_unit(tmp_path: Path) -> None:
    store = make_store(tmp_path, "regression", [(float(place),) for place in range(30)], classes=1)
    assert uneven_targets(spec_of("regression"), store) == []


# the sweep


def test_a_metric_is_auto_until_the_task_is_known(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    head = f"data: {{source: csv, path: {tmp_path / 'table.csv'}, task: %s}}\nspace: {{lr: [0.1, 0.2]}}\n"
    for task in TARGETS:
        file.write_text(head % task)
        spec = load_spec(file)
        assert spec.search.metric == METRICS_OF[task][0]
        assert spec.search.mode == METRICS[spec.search.metric]
        assert Spec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(("metric", "best"), [("val_mae", 0), ("val_rmse", 0), ("val_r2", 1), ("val_map", 1)])
def test_the_best_is_the_lowest_or_the_highest(metric: str, best: int, tmp_path: Path) -> None:
    task: Task = "multilabel" if metric == "val_map" else "regression"
    data = DataSettings(task=task, source="csv", path="table.csv")
    spec = dataclasses.replace(small_spec(trials=2, epochs=1, metric=metric), data=data)
    simulation = Simulation(tmp_path, spec)
    conductor = simulation.conductor()
    for value in (0.2, 0.7):
        job = conductor.next_job()
        assert isinstance(job, Job)
        conductor.epoch_done(job.number, _epoch(job.number, **{metric: value}))
    assert simulation.open().best().number == best  # type: ignore[union-attr]


def test_a_trial_without_any_value_is_a_failure_that_says_so(tmp_path: Path) -> None:
    simulation = Simulation(tmp_path, small_spec(trials=1, epochs=2, metric="val_auroc"))
    conductor = simulation.conductor()
    job = conductor.next_job()
    assert isinstance(job, Job)
    assert conductor.epoch_done(job.number, _epoch(job.number, val_auroc=None))
    assert not conductor.epoch_done(job.number, _epoch(job.number, 2, val_auroc=None))
    record = simulation.open().trial(job.number)
    assert (record.state, record.error) == ("failed", "val_auroc is undefined on these validation pictures")


def _epoch(number: int, epoch: int = 1, **metrics: Any) -> dict[str, Any]:
    """As a trial of another task tells it: nothing of accuracy."""
    told = make_epoch(number, epoch, **metrics)
    return {name: value for name, value in told.items() if "accuracy" not in name}
