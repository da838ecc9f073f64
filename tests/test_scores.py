"""Scores agree with scikit-learn's, and a pass gathers them batch by batch."""

import math
from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from sklearn import metrics as reference
from torch import Tensor, nn

from trainables.data.catalog import Task
from trainables.settings import TrialSettings
from trainables.tasks import LOSSES_OF, METRICS_OF, TRAINING_SCORE_OF
from trainables.training import scores
from trainables.training.losses import build_loss
from trainables.training.metrics import Gathered, RunningMetrics
from trainables.training.scores import SCORES, areas_under_roc, average_precisions

CPU = torch.device("cpu")


def drawn(seed: int, pictures: int, classes: int, *, coarse: bool) -> tuple[Tensor, np.random.Generator]:
    """Outputs float32 [N, K]; coarse ones have many ties."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(size=(pictures, classes)).astype(np.float32)
    return torch.from_numpy(np.round(outputs) if coarse else outputs), rng


CASES = st.tuples(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 8), st.booleans())


def close(ours: Tensor, theirs: float) -> None:
    assert ours.item() == pytest.approx(theirs, rel=1e-9, abs=1e-12, nan_ok=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CASES)
def test_classification(case: tuple[int, int, int, bool]) -> None:
    seed, pictures, classes, coarse = case
    outputs, rng = drawn(seed, pictures, classes, coarse=coarse)
    probabilities = outputs.double().softmax(dim=1)
    labels = rng.integers(0, classes, size=pictures)
    ours = SCORES["classification"](probabilities, torch.from_numpy(labels))
    chosen = probabilities.argmax(dim=1).numpy()
    close(ours["accuracy"], reference.accuracy_score(labels, chosen))
    close(ours["f1"], reference.f1_score(labels, chosen, average="macro", zero_division=0))
    recalls = reference.recall_score(labels, chosen, labels=np.unique(labels), average="macro")
    close(ours["balanced_accuracy"], recalls)
    areas = [
        reference.roc_auc_score(labels == name, probabilities[:, name])
        for name in range(classes)
        if 0 < (labels == name).sum() < pictures
    ]
    close(ours["auroc"], float(np.mean(areas)) if areas else math.nan)
    assert ("top5" in ours) == (classes > 5)
    if classes > 5 and not coarse:  # who is fifth of equals is not defined
        close(ours["top5"], reference.top_k_accuracy_score(labels, probabilities, k=5, labels=range(classes)))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(CASES)
def test_multilabel(case: tuple[int, int, int, bool]) -> None:
    seed, pictures, classes, coarse = case
    outputs, rng = drawn(seed, pictures, classes, coarse=coarse)
    probabilities = outputs.double().sigmoid()
    flags = rng.integers(0, 2, size=(pictures, classes))
    ours = SCORES["multilabel"](probabilities, torch.from_numpy(flags).float())
    chosen = (probabilities > 0.5).numpy()
    close(ours["accuracy"], float((chosen == flags).mean()))
    close(ours["f1"], reference.f1_score(flags, chosen, average="macro", zero_division=0))
    precisions = [
        reference.average_precision_score(flags[:, name], probabilities[:, name])
        for name in range(classes)
        if flags[:, name].any()
    ]
    close(ours["map"], float(np.mean(precisions)) if precisions else math.nan)
    areas = [
        reference.roc_auc_score(flags[:, name], probabilities[:, name])
        for name in range(classes)
        if 0 < flags[:, name].sum() < pictures
    ]
    close(ours["auroc"], float(np.mean(areas)) if areas else math.nan)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(CASES)
def test_regression(case: tuple[int, int, int, bool]) -> None:
    seed, pictures, columns, coarse = case
    outputs, rng = drawn(seed, pictures + 1, columns, coarse=coarse)
    targets = rng.normal(size=(pictures + 1, columns))
    ours = SCORES["regression"](outputs.double(), torch.from_numpy(targets))
    close(ours["mae"], reference.mean_absolute_error(targets, outputs))
    close(ours["rmse"], reference.root_mean_squared_error(targets, outputs))
    close(ours["r2"], reference.r2_score(targets, outputs))


@pytest.mark.parametrize(
    ("score", "scores", "positive", "expected"),
    [
        (areas_under_roc, [0.1, 0.2, 0.3], [False, True, True], 1.0),
        (areas_under_roc, [0.3, 0.2, 0.1], [False, True, True], 0.0),
        (areas_under_roc, [0.5, 0.5, 0.5], [False, True, True], 0.5),
        (areas_under_roc, [0.1, 0.2, 0.3], [True, True, True], math.nan),
        (areas_under_roc, [0.1, 0.2, 0.3], [False, False, False], math.nan),
        (average_precisions, [0.1, 0.2, 0.3], [False, True, True], 1.0),
        (average_precisions, [0.3, 0.2, 0.1], [False, False, True], 1 / 3),
        (average_precisions, [0.5, 0.5, 0.5, 0.5], [False, True, False, False], 0.25),
        (average_precisions, [0.1, 0.2], [False, False], math.nan),
    ],
)
def test_by_hand(score: Callable, scores: list[float], positive: list[bool], expected: float) -> None:
    ours = score(torch.tensor(scores)[:, None], torch.tensor(positive)[:, None])
    assert ours.tolist() == pytest.approx([expected], nan_ok=True)


@pytest.mark.parametrize("score", [areas_under_roc, average_precisions])
@pytest.mark.parametrize("coarse", [False, True])
def test_many_columns_are_sorted_a_few_at_a_time(
    score: Callable, coarse: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As all together they would take several times the memory of the outputs; the numbers are the same."""
    outputs, rng = drawn(1, 500, 77, coarse=coarse)
    positive = torch.from_numpy(rng.random((500, 77)) < 0.1)
    whole = score.__wrapped__(outputs, positive)  # type: ignore[attr-defined]
    widths, ties = [], scores._ties
    monkeypatch.setattr(scores, "_ties", lambda ordered: widths.append(ordered.shape[1]) or ties(ordered))
    assert torch.equal(score(outputs, positive), whole)
    assert widths == [32, 32, 13]


def test_r2_of_targets_that_do_not_differ_is_undefined() -> None:
    same, differing = torch.ones(3, 1), torch.tensor([[1.0], [2.0], [3.0]])
    assert SCORES["regression"](differing.double(), same)["r2"].isnan()
    both = SCORES["regression"](torch.cat([differing, differing], 1).double(), torch.cat([same, differing], 1))
    assert both["r2"].item() == 1


def data_of(task: Task) -> tuple[Tensor, Tensor]:
    outputs, rng = drawn(3, 23, 7, coarse=False)
    if task == "classification":
        return outputs, torch.from_numpy(rng.integers(0, 7, size=23))
    targets = rng.integers(0, 2, size=(23, 7)) if task == "multilabel" else rng.uniform(0, 9, size=(23, 7))
    return outputs, torch.from_numpy(targets).float()


def mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    """In the place of a loss."""
    return outputs.mean()


def gathered(
    outputs: Tensor,
    targets: Tensor,
    *,
    task: Task = "classification",
    loss: nn.Module = mean_output,  # type: ignore[assignment]
    size: int = 32,
) -> Gathered:
    """A pass in batches of this size."""
    tally = Gathered(settings=TrialSettings(), task=task, loss=loss)
    for part, truth in zip(outputs.split(size), targets.split(size), strict=True):
        tally.update(part, truth)
    return tally


@pytest.mark.parametrize("task", SCORES)
def test_a_pass_in_batches_is_the_pass_as_a_whole(task: Task) -> None:
    outputs, targets = data_of(task)
    whole = gathered(outputs, targets, task=task, size=23).compute()
    assert set(whole) == {name.removeprefix("val_") for name in METRICS_OF[task]}
    assert whole["loss"] == pytest.approx(outputs.mean().item(), rel=1e-6)
    assert gathered(outputs, targets, task=task, size=5).compute() == pytest.approx(whole, rel=1e-6)
    running = RunningMetrics(CPU, settings=TrialSettings(), task=task)
    for part, truth in zip(outputs.split(5), targets.split(5), strict=True):
        running.update(part.mean(), part, truth)
    same = {name: whole[name] for name in ("loss", TRAINING_SCORE_OF[task])}
    assert running.compute() == pytest.approx(same, rel=1e-6)


@pytest.mark.parametrize(("task", "name"), [(task, name) for task, names in LOSSES_OF.items() for name in names])
@pytest.mark.parametrize("class_weights", ["none", "balanced"])
def test_a_loss_depends_on_no_order_and_no_batches(task: Task, name: str, class_weights: str) -> None:
    """Pictures sorted by class, as folders have them, of classes that are not equally many."""
    outputs, targets = data_of(task)
    if task == "classification":
        targets = torch.arange(23).sqrt().long()
    trial = TrialSettings(loss=name, class_weights=class_weights)  # type: ignore[arg-type]
    loss = build_loss(trial, task=task, classes=7, targets=targets)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0))
    told = [
        gathered(outputs[places], targets[places], task=task, loss=loss, size=size).compute()["loss"]
        for places in (torch.arange(23), order)
        for size in (4, 9, 23)
    ]
    assert told == pytest.approx([loss(outputs, targets).item()] * 6, rel=1e-6)


def test_a_counts_logarithm_is_measured_as_a_count() -> None:
    counts, trial = torch.tensor([[1.0], [4.0]]), TrialSettings(loss="poisson_nll")
    whole = Gathered(settings=trial, task="regression", loss=mean_output)  # type: ignore[arg-type]
    whole.update(counts.log(), counts)
    running = RunningMetrics(CPU, settings=trial, task="regression")
    running.update(torch.tensor(0.0), counts.log(), counts)
    for measured in (whole, running):
        assert measured.compute()["mae"] == pytest.approx(0, abs=1e-6)


def test_what_is_undefined_is_none() -> None:
    told = gathered(torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)).compute()
    assert told["auroc"] is None
    assert None not in (told["accuracy"], told["balanced_accuracy"], told["f1"], told["loss"])


def test_a_loss_that_is_no_number_is_no_missing_one() -> None:
    told = gathered(torch.full((4, 3), math.nan), torch.arange(4) % 3).compute()
    assert math.isnan(told["loss"])  # type: ignore[arg-type]


def test_a_pass_without_batches_is_our_mistake() -> None:
    nothing = Gathered(settings=TrialSettings(), task="regression", loss=mean_output)  # type: ignore[arg-type]
    for tally in (nothing, RunningMetrics(CPU, settings=TrialSettings(), task="regression")):
        with pytest.raises(ValueError, match="no batch"):
            tally.compute()
