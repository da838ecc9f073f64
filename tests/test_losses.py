"""Every loss: learns, resumes bit-equal, is torch's own; and what mixing makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from trainables.checkpoint import Snapshot
from trainables.data.catalog import Task
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF, METRICS_OF, loss_for, metric_for
from trainables.training import losses
from trainables.training.losses import LOSSES, build_loss, predicted
from trainables.training.mixing import Batch, Mixing
from trainables.training.optimizers import build_optimizer, load_optimizer_state
from tuning.crosschecks import _ONLY_WITH

BY_TASK = [(task, loss) for task, losses in LOSSES_OF.items() for loss in losses]


def targets_of(task: Task, *, pictures: int = 24, classes: int = 4) -> Tensor:
    """Targets of each kind, not one like the other; every class and label is there."""
    places = torch.arange(pictures)
    if task == "classification":
        return places % 7 % classes
    columns = torch.stack([(places * (column + 1) + column) % 5 for column in range(classes)], dim=1)
    return (columns > 2).float() if task == "multilabel" else columns.float() / 2


def outputs_of(pictures: int = 24, classes: int = 4) -> Tensor:
    return torch.randn(pictures, classes, generator=torch.Generator().manual_seed(5))


def loss_of(name: str, task: Task, *, classes: int = 4, **changes: object) -> nn.Module:
    settings = TrialSettings(loss=name, **changes)  # type: ignore[arg-type]
    return build_loss(settings, task=task, classes=classes, targets=targets_of(task, classes=classes))


def one_hot(labels: Tensor, classes: int = 4) -> Tensor:
    return functional.one_hot(labels, classes).float()


@pytest.mark.parametrize(("task", "name"), BY_TASK)
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_every_loss_learns_and_resumes(task: Task, name: str, class_weights: str, tmp_path: Path) -> None:
    """A linear model of features that tell the target; three steps, then again from a file after the first."""
    targets = targets_of(task)
    table = one_hot(targets) if task == "classification" else targets
    features = torch.cat([table, torch.ones(len(table), 1)], dim=1)
    settings = TrialSettings(loss=name, lr=0.05, momentum=0.5, class_weights=class_weights)  # type: ignore[arg-type]

    def start() -> tuple[nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Linear(5, 4)
        return model, build_optimizer([{"params": list(model.parameters()), "lr": settings.lr}], settings)

    loss = build_loss(settings, task=task, classes=4, targets=targets)

    def step(model: nn.Linear, optimizer: torch.optim.Optimizer) -> float:
        value = loss(model(features), targets)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        return value.item()

    whole = start()
    losses = [step(*whole)]
    Snapshot(1, settings, whole[0].state_dict(), {"optimizer": whole[1].state_dict()}).save(tmp_path / "1.safetensors")
    losses += [step(*whole) for _ in range(3)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]
    resumed = start()
    snapshot = Snapshot.load(tmp_path / "1.safetensors")
    resumed[0].load_state_dict(snapshot.model)
    load_optimizer_state(resumed[1], snapshot.training["optimizer"])
    assert [step(*resumed) for _ in range(3)] == losses[1:]
    assert torch.equal(resumed[0].weight, whole[0].weight)


LABELS, X = targets_of("classification"), outputs_of()
FLAGS, NUMBERS = targets_of("multilabel"), targets_of("regression")


def standardised(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Both in standard deviations of the targets, from their mean."""
    mean, std = targets.mean(dim=0), targets.std(dim=0, correction=0)
    return (outputs - mean) / std, (targets - mean) / std


@pytest.mark.parametrize(
    ("name", "task", "changes", "expected"),
    [
        ("cross_entropy", "classification", {}, lambda: functional.cross_entropy(X, LABELS)),
        (
            "cross_entropy",
            "classification",
            {"label_smoothing": 0.2},
            lambda: functional.cross_entropy(X, LABELS, label_smoothing=0.2),
        ),
        ("nll", "classification", {}, lambda: functional.cross_entropy(X, LABELS)),
        ("focal", "classification", {"focal_gamma": 0.0}, lambda: functional.cross_entropy(X, LABELS)),
        ("kl_div", "classification", {}, lambda: functional.cross_entropy(X, LABELS)),
        (
            "kl_div",  # cross-entropy to smoothed classes, less their entropy
            "classification",
            {"label_smoothing": 0.2},
            lambda: (
                functional.cross_entropy(X, LABELS, label_smoothing=0.2)
                + (0.85 * torch.tensor(0.85).log() + 3 * 0.05 * torch.tensor(0.05).log())
            ),
        ),
        ("bce", "classification", {}, lambda: functional.binary_cross_entropy(X.sigmoid(), one_hot(LABELS))),
        (
            "multi_margin",
            "classification",
            {"margin": 0.7},
            lambda: functional.multi_margin_loss(X, LABELS, margin=0.7),
        ),
        ("mse", "classification", {}, lambda: functional.mse_loss(X.softmax(1), one_hot(LABELS))),
        ("l1", "classification", {}, lambda: functional.l1_loss(X.softmax(1), one_hot(LABELS))),
        ("bce", "multilabel", {}, lambda: functional.binary_cross_entropy(X.sigmoid(), FLAGS)),
        ("multilabel_soft_margin", "multilabel", {}, lambda: functional.multilabel_soft_margin_loss(X, FLAGS)),
        ("mse", "regression", {}, lambda: functional.mse_loss(*standardised(X, NUMBERS))),
        ("l1", "regression", {}, lambda: functional.l1_loss(*standardised(X, NUMBERS))),
        (
            "smooth_l1",
            "regression",
            {"smooth_l1_beta": 0.3},
            lambda: functional.smooth_l1_loss(*standardised(X, NUMBERS), beta=0.3),
        ),
        (
            "huber",
            "regression",
            {"huber_delta": 0.3},
            lambda: functional.huber_loss(*standardised(X, NUMBERS), delta=0.3),
        ),
        ("poisson_nll", "regression", {}, lambda: functional.poisson_nll_loss(X.exp(), NUMBERS, log_input=False)),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_loss_is_torchs_own(name: str, task: Task, changes: dict, expected: Callable[[], Tensor]) -> None:
    targets = {"classification": LABELS, "multilabel": FLAGS, "regression": NUMBERS}[task]
    torch.testing.assert_close(loss_of(name, task, **changes)(X, targets), expected())


def test_focal_is_the_formula() -> None:
    right = X.softmax(dim=1)[torch.arange(len(X)), LABELS]
    expected = (-((1 - right) ** 1.5) * right.log()).mean()
    torch.testing.assert_close(loss_of("focal", "classification", focal_gamma=1.5)(X, LABELS), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9, 1.0, 2.0])
def test_focal_learns_nothing_from_what_is_certain(gamma: float) -> None:
    """As when training pictures are known by heart."""
    outputs = (1000 * one_hot(LABELS)).requires_grad_()
    value = loss_of("focal", "classification", focal_gamma=gamma)(outputs, LABELS)
    value.backward()
    assert value.item() == 0
    assert torch.equal(outputs.grad, torch.zeros_like(outputs))  # type: ignore[arg-type]


def test_multilabel_margin_is_torchs_own() -> None:
    """Torch wants the labels' numbers in front of a -1; some pictures here have no label, one has all."""
    flags = FLAGS.clone()
    flags[0], flags[1] = 0, 1
    lists = torch.full(flags.shape, -1)
    for row, picture in enumerate(flags):
        numbers = [column for column, flag in enumerate(picture) if flag]
        lists[row, : len(numbers)] = torch.tensor(numbers)
    expected = functional.multilabel_margin_loss(X, lists)
    torch.testing.assert_close(loss_of("multilabel_margin", "multilabel")(X, flags), expected)


def test_margin_ranking_takes_every_pair_with_an_order_once() -> None:
    expected = [
        functional.margin_ranking_loss(x[i], x[j], torch.tensor(1.0 if y[i] > y[j] else -1.0), margin=0.4)
        for x, y in zip(*(values.T for values in standardised(X, NUMBERS)), strict=True)
        for i in range(len(x))
        for j in range(i)
        if y[i] != y[j]
    ]
    loss = loss_of("margin_ranking", "regression", margin=0.4)
    torch.testing.assert_close(loss(X, NUMBERS), torch.stack(expected).mean())


def test_margin_ranking_of_a_whole_pass_is_that_of_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    loss = loss_of("margin_ranking", "regression", margin=0.4)
    together = loss(X, NUMBERS)
    monkeypatch.setattr(losses, "_PAIRS_AT_A_TIME", 100)
    torch.testing.assert_close(loss(X, NUMBERS), together)


@pytest.mark.parametrize("pictures", [1, 3])
def test_margin_ranking_without_an_order_is_nothing(pictures: int) -> None:
    outputs = torch.zeros(pictures, 4, requires_grad=True)
    value = loss_of("margin_ranking", "regression")(outputs, torch.ones(pictures, 4))
    value.backward()
    assert value.item() == 0
    assert torch.equal(outputs.grad, torch.zeros(pictures, 4))  # type: ignore[arg-type]


# class weights


def balanced() -> Tensor:
    counts = torch.bincount(LABELS).float()
    return len(LABELS) / (4 * counts)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cross_entropy", lambda: functional.cross_entropy(X, LABELS, weight=balanced())),
        ("nll", lambda: functional.cross_entropy(X, LABELS, weight=balanced())),
        ("focal", lambda: functional.cross_entropy(X, LABELS, weight=balanced())),
        ("multi_margin", lambda: functional.multi_margin_loss(X, LABELS, weight=balanced())),
    ],
)
def test_balanced_class_weights(name: str, expected: Callable[[], Tensor]) -> None:
    assert len(set(torch.bincount(LABELS).tolist())) > 1
    loss = loss_of(name, "classification", class_weights="balanced", focal_gamma=0.0)
    torch.testing.assert_close(loss(X, LABELS), expected())


def test_balanced_weights_are_scikit_learns() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    expected = compute_class_weight("balanced", classes=np.arange(4), y=LABELS.numpy())
    loss = loss_of("cross_entropy", "classification", class_weights="balanced")
    assert loss.weight.tolist() == pytest.approx(expected.tolist())  # type: ignore[union-attr,operator]


@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_bce_balances_each_label_by_its_positives(task: Task) -> None:
    targets = targets_of(task)
    flags = one_hot(targets) if task == "classification" else targets
    weights = (1 - flags).sum(dim=0) / flags.sum(dim=0)
    expected = functional.binary_cross_entropy_with_logits(X, flags, pos_weight=weights)
    torch.testing.assert_close(loss_of("bce", task, class_weights="balanced")(X, targets), expected)


@pytest.mark.parametrize(("task", "name"), [pair for pair in BY_TASK if pair[0] != "regression"])
def test_a_class_without_training_pictures_breaks_no_weights(task: Task, name: str) -> None:
    targets = targets_of(task) if task == "classification" else targets_of(task) * torch.tensor([0.0, 1, 1, 1])
    settings = TrialSettings(loss=name, class_weights="balanced")  # type: ignore[arg-type]
    loss = build_loss(settings, task=task, classes=6 if task == "classification" else 4, targets=targets)
    outputs = outputs_of(classes=6 if task == "classification" else 4)
    seen = targets.clone()
    if task == "classification":
        seen[0] = 5
    assert loss(outputs, seen).isfinite()


@pytest.mark.parametrize("setting", [name for name, (parent, _) in _ONLY_WITH.items() if parent == "loss"])
def test_a_setting_is_used_by_those_losses_that_advice_says(setting: str) -> None:
    others = {"class_weights": "balanced", "label_smoothing": 0.2}
    for task, name in BY_TASK:
        targets = targets_of(task)
        changed = loss_of(name, task, **{setting: others.get(setting, 0.4)})
        used = not torch.equal(changed(X, targets), loss_of(name, task)(X, targets))
        assert used == (name in _ONLY_WITH[setting][1]), name


@given(value=st.floats(-1e6, 1e6, width=32), pictures=st.integers(1, 300))
def test_what_is_always_the_same_is_its_own_mean_and_has_no_spread(value: float, pictures: int) -> None:
    """Rounded sums would give it a spread of their own size, in which all errors would be measured."""
    mean, std = losses.target_moments(torch.full((pictures, 2), value))
    assert mean.tolist() == [value] * 2
    assert std.tolist() == [1.0] * 2


# mixing


@pytest.mark.parametrize(("task", "name"), BY_TASK)
def test_a_mixed_batch_is_judged_by_both_targets(task: Task, name: str) -> None:
    targets, loss = targets_of(task), loss_of(name, task)
    batch = Batch(torch.zeros(0), targets, targets.roll(1, 0), 0.3)
    expected = 0.3 * loss(X, targets) + 0.7 * loss(X, targets.roll(1, 0))
    torch.testing.assert_close(batch.loss(loss, X), expected)


def test_for_cross_entropy_that_is_the_mixed_target() -> None:
    """What torchvision's own mixup does with targets."""
    batch = Batch(torch.zeros(0), LABELS, LABELS.roll(1, 0), 0.3)
    soft = 0.3 * one_hot(LABELS) + 0.7 * one_hot(LABELS.roll(1, 0))
    torch.testing.assert_close(batch.loss(nn.CrossEntropyLoss(), X), functional.cross_entropy(X, soft))


def pictures() -> Tensor:
    return torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(2)).contiguous(
        memory_format=torch.channels_last
    )


@pytest.mark.parametrize("changes", [{"mixup": 0.4}, {"cutmix": 1.0}, {"mixup": 0.4, "cutmix": 1.0}], ids=str)
def test_mixing_depends_on_seed_epoch_and_step_alone(changes: dict) -> None:
    def mixed(seed: int, epoch: int, step: int) -> Batch:
        torch.rand(seed + 3)  # the global generator is of no account
        return Mixing(TrialSettings(seed=seed, **changes))(pictures(), torch.arange(6), epoch=epoch, step=step)

    first = mixed(1, 2, 3)
    again = mixed(1, 2, 3)
    assert torch.equal(first.pictures, again.pictures)
    assert first.share == again.share
    others = [mixed(0, 2, 3), mixed(1, 3, 3), mixed(1, 2, 4)]
    assert len({batch.share for batch in (first, *others)}) == 4
    before = torch.get_rng_state()
    mixed_pictures = pictures()
    Mixing(TrialSettings(**changes))(mixed_pictures, torch.arange(6), epoch=1, step=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(mixed_pictures, pictures())  # the batch itself is left as it was


def test_mixup_is_the_sum_of_two() -> None:
    batch = Mixing(TrialSettings(mixup=0.4))(pictures(), torch.arange(6), epoch=1, step=0)
    expected = batch.share * pictures() + (1 - batch.share) * pictures().roll(1, 0)
    torch.testing.assert_close(batch.pictures, expected)
    assert batch.pictures.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.others, torch.arange(6).roll(1, 0))  # type: ignore[arg-type]


def test_cutmix_pastes_as_much_as_it_says() -> None:
    mixing, seen = Mixing(TrialSettings(cutmix=1.0)), []
    for step in range(8):
        batch = mixing(pictures(), torch.arange(6), epoch=1, step=step)
        own = (batch.pictures == pictures()).all(dim=1)
        other = (batch.pictures == pictures().roll(1, 0)).all(dim=1)
        assert (own ^ other).all()
        assert own.float().mean().item() == pytest.approx(batch.share, abs=1e-6)
        seen.append(batch.share)
    assert min(seen) < 0.5 < max(seen)


def test_both_ways_take_turns() -> None:
    mixing = Mixing(TrialSettings(mixup=1.0, cutmix=1.0))
    cut = [
        bool((mixing(pictures(), torch.arange(6), epoch=1, step=step).pictures == pictures()).any())
        for step in range(20)
    ]
    assert 3 < sum(cut) < 17


@pytest.mark.parametrize("settings", [TrialSettings(), TrialSettings(mixup=1.0)], ids=["nothing", "one picture"])
def test_a_batch_that_is_not_mixed_is_as_it_was(settings: TrialSettings) -> None:
    alone = pictures()[: 1 if settings.mixup else 6]
    batch = Mixing(settings)(alone, torch.arange(len(alone)), epoch=1, step=0)
    assert batch.pictures is alone
    assert batch.others is None
    assert torch.equal(batch.leading, torch.arange(len(alone)))


@pytest.mark.parametrize(("share", "leading"), [(0.7, [0, 1]), (0.2, [1, 0])])
def test_what_a_mixed_picture_counts_for(share: float, leading: list[int]) -> None:
    batch = Batch(torch.zeros(2), torch.tensor([0, 1]), torch.tensor([1, 0]), share)
    assert batch.leading.tolist() == leading


# what outputs say, and defaults


def test_predictions_by_task() -> None:
    torch.testing.assert_close(predicted(X, task="classification", loss="bce"), X.softmax(dim=1))
    torch.testing.assert_close(predicted(X, task="multilabel", loss="bce"), X.sigmoid())
    assert predicted(X, task="regression", loss="mse") is X
    torch.testing.assert_close(predicted(X, task="regression", loss="poisson_nll"), X.exp())


@pytest.mark.parametrize(
    ("task", "loss", "metric"),
    [
        ("classification", "cross_entropy", "val_accuracy"),
        ("multilabel", "bce", "val_map"),
        ("regression", "mse", "val_mae"),
    ],
)
def test_what_auto_is(task: Task, loss: str, metric: str) -> None:
    assert (loss_for("auto", task=task), metric_for("auto", task=task)) == (loss, metric)
    assert (loss_for("l1", task=task), metric_for("val_loss", task=task)) == ("l1", "val_loss")


def test_every_loss_and_task_is_of_use() -> None:
    assert {loss for losses in LOSSES_OF.values() for loss in losses} == set(LOSSES)
    assert set(LOSSES_OF) == set(METRICS_OF) == set(get_args(Task))
