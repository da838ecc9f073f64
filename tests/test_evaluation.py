"""How good the best model is, picture by picture."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support, r2_score

from reports.evaluation import (
    calibration,
    classification,
    confused_pairs,
    furthest_off,
    labels_measures,
    least_sure,
    mistakes,
    value_measures,
    value_points,
    worst_labels,
)
from reports.model_figures import calibration_figure, confusion_figure, truth_figure
from reports.predictions import HeldOut
from trainables.training.scores import SCORES

CLASSES = ("ants", "bees", "<wasps>")


def one(name: str, truth: int, *scores: float) -> HeldOut:
    return HeldOut("val", name, truth, scores, max(range(len(scores)), key=scores.__getitem__))


PICTURES = [
    one("a", 0, 0.9, 0.1, 0.0),
    one("b", 0, 0.2, 0.7, 0.1),
    one("c", 1, 0.0, 1.0, 0.0),
    one("d", 1, 0.97, 0.02, 0.01),
    one("e", 1, 0.45, 0.5, 0.05),
]


def test_measures_of_classes() -> None:
    measures = classification(PICTURES, CLASSES)
    assert measures.confusion == ((1, 1, 0), (1, 2, 0), (0, 0, 0))
    assert (measures.pictures, measures.accuracy) == (5, 0.6)
    ants, bees, wasps = measures.by_class
    assert (ants.pictures, ants.precision, ants.recall) == (2, 0.5, 0.5)
    assert (bees.pictures, bees.precision, bees.recall) == (3, pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (wasps.pictures, wasps.precision, wasps.recall, wasps.f1) == (0, None, None, None)
    assert measures.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2)  # of classes that have pictures
    assert confused_pairs(measures.confusion, CLASSES) == [("ants", "bees", 1), ("bees", "ants", 1)]


def test_a_class_without_pictures_has_no_recall() -> None:
    measures = classification([*PICTURES, one("f", 1, 0.0, 0.1, 0.9)], CLASSES)
    _, bees, wasps = measures.by_class
    assert (bees.recall, wasps.precision, wasps.recall, wasps.f1) == (0.5, 0, None, None)
    assert measures.macro_f1 == pytest.approx((0.5 + 4 / 7 + 0) / 3)  # it was told of a picture, so it counts


def test_what_to_look_at() -> None:
    assert [p.name for p in mistakes(PICTURES, most=5)] == ["d", "b"]
    assert [p.name for p in mistakes(PICTURES, most=1)] == ["d"]
    assert [p.name for p in least_sure(PICTURES, most=2)] == ["e", "b"]
    assert least_sure([HeldOut("val", "x", 0, (1.0,), 0)], most=3)


def test_calibration_is_the_gap_between_sure_and_right() -> None:
    found = calibration([0.95, 0.95, 0.55, 1.0], [True, False, True, True])
    assert [(b.low, b.pictures, b.accuracy) for b in found.bins] == [(0.5, 1, 1.0), (0.9, 3, pytest.approx(2 / 3))]
    assert found.error == pytest.approx((0.45 + 3 * abs(2.9 / 3 - 2 / 3)) / 4)
    assert calibration([1.0] * 4, [True] * 4).error == 0
    assert calibration([], []).bins == ()


def test_measures_of_labels() -> None:
    pictures = [
        HeldOut("val", "a", (1, 0), (0.9, 0.8)),
        HeldOut("val", "b", (1, 1), (0.3, 0.51)),
        HeldOut("val", "c", (0, 0), (0.5, 0.2)),  # of one half it is not told
    ]
    first, second = labels_measures(pictures, ("red", "green"))
    assert (first.name, first.pictures, first.precision, first.recall) == ("red", 2, 1.0, 0.5)
    assert (second.pictures, second.precision, second.recall, second.f1) == (1, 0.5, 1.0, pytest.approx(2 / 3))
    assert [p.name for p in worst_labels(pictures, most=2)] == ["a", "b"]


def test_measures_of_values() -> None:
    pictures = [HeldOut("val", name, (t, 5.0), (p, 6.0)) for name, t, p in [("a", 1, 1), ("b", 2, 4), ("c", 3, 3)]]
    age, constant = value_measures(pictures, ("age", "constant"))
    assert (age.mean_absolute_error, age.root_mean_square_error) == (
        pytest.approx(2 / 3),
        pytest.approx((4 / 3) ** 0.5),
    )
    assert age.r2 == pytest.approx(r2_score([1, 2, 3], [1, 4, 3]))
    assert (constant.mean_absolute_error, constant.r2) == (1.0, None)
    assert furthest_off(pictures, most=1)[0].name == "b"
    assert furthest_off([], most=1) == []
    assert value_points(pictures, 0) == [(1, 1, "a"), (2, 4, "b"), (3, 3, "c")]


def test_figures_of_the_best_model() -> None:
    measures = classification(PICTURES, CLASSES)
    drawn = confusion_figure(measures.confusion, CLASSES)["data"][0]
    assert drawn["z"][0] == [None, 0.5, 0.0]
    assert (drawn["x"][2], drawn["y"][2], drawn["text"][0][2]) == ("2", "2 &lt;wasps&gt;", "&lt;wasps&gt;")
    assert calibration_figure(measures.calibration)["data"][1]["x"][-1] == pytest.approx(0.957, abs=0.01)
    assert truth_figure([(1, 2, "<b>")])["data"][1]["text"] == ["&lt;b&gt;"]
    assert truth_figure([])["data"]


@pytest.mark.parametrize("seed", range(5))
def test_measures_are_those_of_the_epochs(seed: int) -> None:
    """The same pictures score the same here as in `trainables.training.scores`, with classes nobody has or says."""
    draw = np.random.default_rng(seed)
    names = tuple(f"class {n}" for n in range(7))
    probabilities = np.round(draw.dirichlet(np.ones(7), size=12), 2)
    labels = draw.integers(0, 4, size=12)
    pictures = [one(str(n), int(labels[n]), *map(float, probabilities[n])) for n in range(12)]
    measures = classification(pictures, names)
    scores = SCORES["classification"](torch.tensor(probabilities), torch.tensor(labels))
    assert measures.macro_f1 == pytest.approx(float(scores["f1"]))
    assert measures.accuracy == pytest.approx(float(scores["accuracy"]))

    known = precision_recall_fscore_support(labels, [p.predicted for p in pictures], labels=range(7), zero_division=0)
    found = [(m.precision or 0.0, m.recall or 0.0, m.f1 or 0.0, m.pictures) for m in measures.by_class]
    assert np.allclose(np.array(found).T, known)

    several = np.round(draw.random((12, 4)), 1)  # many are one half
    truth = draw.integers(0, 2, (12, 4))
    truth[:, 3] = 0
    pictures = [HeldOut("val", str(n), tuple(truth[n]), tuple(several[n])) for n in range(12)]
    scores = SCORES["multilabel"](torch.tensor(several), torch.tensor(truth))
    f1 = [measure.f1 for measure in labels_measures(pictures, names[:4])]
    assert f1[3] is None
    assert np.mean([value or 0.0 for value in f1]) == pytest.approx(float(scores["f1"]))
