"""How good an exported model is on the pictures that it did not learn from, in fp32.

    measured = measure(predictor, store, folder / "predictions.csv", settings=settings)
    measured["val"].metrics["accuracy"], measured["val"].pictures

`val` chose the model and its epoch; `test`, where there is one, chose nothing. What a sweep recorded of `val` may come
from faster arithmetic (bf16), which labels a few pictures otherwise; `disagreement` says when that is no explanation.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from reports.agreement import TOLERANCE
from reports.held_out import HELD_OUT, view_batches
from reports.predict import Predictor, as_scores
from reports.predictions import Add, written
from trainables.data.store import PixelStore
from trainables.settings import TrialSettings
from trainables.training.losses import build_loss
from trainables.training.metrics import Gathered

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Measured:
    """One split: its metrics by name without the split's, and how sure each picture's class is.

    `margins` are, by picture, the distance of the two largest logits, relative to the largest or to 1. Where that lies
    within the noise of fp32, which class wins may differ by machine. In other tasks than classification there are none.
    """

    pictures: int
    metrics: dict[str, float | None]
    margins: tuple[float, ...] = ()

    def ties(self, noise: float) -> int:
        """How many pictures are too close to call."""
        return sum(margin <= noise for margin in self.margins)

    def to_json(self) -> dict[str, Any]:
        return {"pictures": self.pictures, **self.metrics}


def measure(
    predictor: Predictor,
    store: PixelStore,
    path: Path,
    *,
    settings: TrialSettings,
    progress: Progress = lambda done, total: None,
) -> dict[str, Measured]:
    """Predicts all pictures of `val` and `test`, writes them to `path`, and sums them up by split.

    Splits without pictures are left out. `progress(done, total)` counts pictures.
    """
    parts = {split: store.indices(split) for split in HELD_OUT if len(store.indices(split))}
    done, total = 0, sum(len(indices) for indices in parts.values())
    loss = build_loss(
        settings, task=store.task, classes=len(store.classes), targets=store.targets[store.indices("train")]
    )
    found = {}
    with written(path, task=store.task, classes=store.classes) as add:
        for split, indices in parts.items():
            gathered = Gathered(settings=settings, task=store.task, loss=loss)
            margins: list[float] = []
            for rows, views in view_batches(store, indices, predictor.description):
                logits, targets = predictor.logits(views), store.targets[rows]
                gathered.update(logits, targets)
                if store.task == "classification":
                    margins += _margins(logits)
                _add_rows(add, split, store, rows, as_scores(logits, predictor.description))
                done += len(rows)
                progress(done, total)
            found[split] = Measured(len(indices), gathered.compute(), tuple(margins))
    return found


def disagreement(recorded: Mapping[str, Any], measured: Measured, *, noise: float = TOLERANCE) -> int:
    """By how many pictures the recorded accuracy of `val` differs from the measured one, beyond those too close.

    `noise` is what two computations of the network in fp32 may differ by (`reports.agreement.Original.noise`).
    0 in tasks without one. More than 0 after a trial in fp32 on a CPU means that this is not the trial's model.
    """
    before, now = recorded.get("val_accuracy"), measured.metrics.get("accuracy")
    if before is None or now is None:
        return 0
    difference = abs(before - now) * measured.pictures
    return max(0, round(difference) - measured.ties(noise))


def _add_rows(add: Add, split: str, store: PixelStore, rows: Tensor, scores: Tensor) -> None:
    for index, row in zip(rows.tolist(), scores.tolist(), strict=True):
        add(split, store.names[index], store.targets[index].tolist(), row)


def _margins(logits: Tensor) -> list[float]:
    """By picture, how far its best logit is ahead of the next, relative to the largest or to 1."""
    if logits.shape[1] < 2:
        return []
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return ((first - second) / logits.abs().amax(dim=1).clamp(min=1.0)).tolist()
