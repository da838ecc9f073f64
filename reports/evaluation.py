"""How good the best model is, picture by picture, from what it said of each (`reports.predictions`). No torch.

pictures = read_predictions(best / "predictions.csv", classes=("ants", "bees"), task="classification")
measures = classification(pictures, ("ants", "bees"))
measures.confusion[0][1]                       # ants taken for bees
mistakes(pictures, most=12)                    # the most confident first
"""

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.predictions import HeldOut

BINS = 10


# classes


@dataclass(frozen=True)
class ClassMeasures:
    """How well one class, or one label, is told.

    `recall` and `f1` are None where no picture is of it, `precision` where none is told to be.
    """

    name: str
    pictures: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Bin:
    """Predictions of about one confidence: how many, their mean confidence, and the share that was right."""

    low: float
    high: float
    pictures: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy. `error` is the expected calibration error, the gap weighted by pictures.

    After Guo et al., "On calibration of modern neural networks" (2017), with ten bins of equal width.
    """

    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True)
class Classification:
    """Measures over a split's pictures; `confusion[truth][predicted]` counts them."""

    pictures: int
    accuracy: float
    macro_f1: float
    confusion: tuple[tuple[int, ...], ...]
    by_class: tuple[ClassMeasures, ...]
    calibration: Calibration


def classification(predictions: Sequence[HeldOut], classes: Sequence[str]) -> Classification:
    """The measures of pictures that each have one class."""
    from sklearn.metrics import confusion_matrix

    truth = [p.truth for p in predictions]
    predicted = [p.predicted for p in predictions]
    confusion = confusion_matrix(truth, predicted, labels=list(range(len(classes)))).tolist()
    by_class = tuple(
        _class_measures(name, hits=row[place], told=sum(column), there=sum(row))
        for place, (name, row, column) in enumerate(zip(classes, confusion, zip(*confusion, strict=True), strict=True))
    )
    right = [t == p for t, p in zip(truth, predicted, strict=True)]
    judged = [m for m in by_class if m.pictures or m.precision is not None]  # as `trainables.training.scores` has it
    return Classification(
        pictures=len(predictions),
        accuracy=sum(right) / len(right),
        macro_f1=statistics.fmean(m.f1 or 0.0 for m in judged),
        confusion=tuple(map(tuple, confusion)),
        by_class=by_class,
        calibration=calibration([max(p.scores) for p in predictions], right),
    )


def _class_measures(name: str, *, hits: int, told: int, there: int) -> ClassMeasures:
    """From the pictures that are told rightly, told to be of the class or label, and of it."""
    return ClassMeasures(
        name,
        there,
        precision=hits / told if told else None,
        recall=hits / there if there else None,
        f1=2 * hits / (told + there) if there else None,
    )


def calibration(confidence: Sequence[float], right: Sequence[bool], *, bins: int = BINS) -> Calibration:
    """Predictions in bins of equal width by their confidence (0 to 1); empty bins are left out."""
    members: dict[int, list[int]] = {}
    for place, value in enumerate(confidence):
        members.setdefault(min(bins - 1, int(value * bins)), []).append(place)
    found = []
    for number in sorted(members):
        those = members[number]
        mean = sum(confidence[i] for i in those) / len(those)
        found.append(
            Bin(number / bins, (number + 1) / bins, len(those), mean, sum(right[i] for i in those) / len(those))
        )
    total = len(confidence) or 1
    return Calibration(tuple(found), sum(b.pictures / total * abs(b.accuracy - b.confidence) for b in found))


def confused_pairs(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """(truth, predicted, pictures) of the mistakes, the most frequent first."""
    pairs = [
        (classes[truth], classes[predicted], count)
        for truth, row in enumerate(confusion)
        for predicted, count in enumerate(row)
        if truth != predicted and count
    ]
    return sorted(pairs, key=lambda pair: -pair[2])


def mistakes(predictions: Sequence[HeldOut], *, most: int) -> list[HeldOut]:
    """Pictures of one class each that were taken for another, the most confident first."""
    wrong = [p for p in predictions if p.truth != p.predicted]
    return sorted(wrong, key=lambda p: (-max(p.scores), p.name))[:most]


def least_sure(predictions: Sequence[HeldOut], *, most: int) -> list[HeldOut]:
    """Pictures whose two most probable classes are closest, right or wrong."""

    def margin(prediction: HeldOut) -> float:
        first, second = sorted(prediction.scores, reverse=True)[:2] if len(prediction.scores) > 1 else (1.0, 0.0)
        return first - second

    return sorted(predictions, key=lambda p: (margin(p), p.name))[:most]


# labels


def labels_measures(predictions: Sequence[HeldOut], classes: Sequence[str]) -> list[ClassMeasures]:
    """Each label by itself, told to be there as `is_told` has it."""
    measures = []
    for place, name in enumerate(classes):
        pairs = Counter((int(_values(p)[place]), int(is_told(p.scores[place]))) for p in predictions)
        hits, false, missed = pairs[1, 1], pairs[0, 1], pairs[1, 0]
        measures.append(_class_measures(name, hits=hits, told=hits + false, there=hits + missed))
    return measures


def is_told(probability: float) -> bool:
    """Whether a label of this probability counts as told, as in `trainables.training.scores`."""
    return probability > 0.5


def worst_labels(predictions: Sequence[HeldOut], *, most: int) -> list[HeldOut]:
    """Pictures with the label that was told most wrongly."""
    return sorted(
        predictions, key=lambda p: (-max(abs(t - q) for t, q in zip(_values(p), p.scores, strict=True)), p.name)
    )[:most]


# values


@dataclass(frozen=True)
class ValueMeasures:
    """One value of a regression, in its own units; `r2` is None where the truth does not vary."""

    name: str
    mean_absolute_error: float
    root_mean_square_error: float
    r2: float | None


def value_measures(predictions: Sequence[HeldOut], classes: Sequence[str]) -> list[ValueMeasures]:
    """Each value by itself."""
    measures = []
    for place, name in enumerate(classes):
        truth = np.array([_values(p)[place] for p in predictions])
        off = np.array([p.scores[place] for p in predictions]) - truth
        spread = float(((truth - truth.mean()) ** 2).sum())
        measures.append(
            ValueMeasures(
                name,
                float(np.abs(off).mean()),
                math.sqrt(float((off**2).mean())),
                1 - float((off**2).sum()) / spread if spread > 0 else None,
            )
        )
    return measures


def value_points(predictions: Sequence[HeldOut], place: int) -> list[tuple[float, float, str]]:
    """(true, predicted, name) of one value, a picture each."""
    return [(_values(p)[place], p.scores[place], p.name) for p in predictions]


def furthest_off(predictions: Sequence[HeldOut], *, most: int) -> list[HeldOut]:
    """Pictures whose values are furthest from the truth, each value seen by its own spread."""
    if not predictions:
        return []
    spread = np.std(np.array([_values(p) for p in predictions]), axis=0)
    spread[spread == 0] = 1.0

    def off(prediction: HeldOut) -> float:
        return float(np.max(np.abs(np.array(_values(prediction)) - np.array(prediction.scores)) / spread))

    return sorted(predictions, key=lambda p: (-off(p), p.name))[:most]


def _values(prediction: HeldOut) -> tuple[float, ...]:
    """The truth of a picture that has a number for each label or value."""
    assert isinstance(prediction.truth, tuple)
    return prediction.truth
