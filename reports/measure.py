"""How good an exported model is on the pictures that it did not learn from, in fp32.

    measured = measure(predictor, store, folder / "predictions.csv", settings=settings)
    measured["val"].metrics["accuracy"], measured["val"].pictures

`val` chose the model and its epoch; `test`, where there is one, chose nothing. What a sweep recorded of `val` may come
from faster arithmetic (bf16), which labels a few pictures otherwise; `disagreement` says when that is no explanation.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reports.held_out import HELD_OUT, view_batches
from reports.predict import Predictor, as_scores
from reports.predictions import Add, written
from trainables.data.store import PixelStore
from trainables.settings import TrialSettings
from trainables.training.losses import build_loss
from trainables.training.metrics import Gathered

TOLERANCE = 1e-4  # between two computations in fp32, relative to the largest number, or to 1 where that is more

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Measured:
    """One split: its metrics by name without the split's, and how many pictures were too close to call.

    `ties` are pictures whose two likeliest classes lie within the noise of fp32: which wins may differ by machine.
    """

    pictures: int
    metrics: dict[str, float | None]
    ties: int

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
    with written(path, task=store.task, classes=store.classes) as add, full_fp32():
        for split, indices in parts.items():
            gathered, ties = Gathered(torch.device("cpu"), settings=settings, task=store.task), 0
            for rows, views in view_batches(store, indices, predictor.description):
                logits, targets = predictor.logits(views), store.targets[rows]
                gathered.update(loss(logits, targets), logits, targets)
                ties += _ties(logits)
                _add_rows(add, split, store, rows, as_scores(logits, predictor.description))
                done += len(rows)
                progress(done, total)
            found[split] = Measured(len(indices), gathered.compute(), ties if store.task == "classification" else 0)
    return found


def disagreement(recorded: Mapping[str, Any], measured: Measured) -> int:
    """By how many pictures the recorded accuracy of `val` differs from the measured one, beyond those too close.

    0 in tasks without one. More than 0 after a trial in fp32 on a CPU means that this is not the trial's model.
    """
    before, now = recorded.get("val_accuracy"), measured.metrics.get("accuracy")
    if before is None or now is None:
        return 0
    difference = abs(before - now) * measured.pictures
    return max(0, round(difference) - measured.ties)


def _add_rows(add: Add, split: str, store: PixelStore, rows: Tensor, scores: Tensor) -> None:
    for index, row in zip(rows.tolist(), scores.tolist(), strict=True):
        add(split, store.names[index], store.targets[index].tolist(), row)


def _ties(logits: Tensor) -> int:
    """How many pictures' two best logits are closer than the noise."""
    if logits.shape[1] < 2:
        return 0
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return int((first - second <= TOLERANCE * logits.abs().amax(dim=1).clamp(min=1.0)).sum())


@contextmanager
def full_fp32() -> Iterator[None]:
    """fp32 on a GPU without TF32, which rounds to 10 bits."""
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, conv
