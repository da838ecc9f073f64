"""What trials share: the pictures' views, and what the frozen part of a network makes of them, computed once.

    shared = Shared(sharing, resident=resident, settings=settings, store=store, data_seed=0, arithmetic=arithmetic,
                    prepare=prepare)
    if shared.fits(3):                                       # what lies behind the first three stages
        for features, targets in shared.training_batches(3, epoch=5): …
        for features, targets in shared.evaluation_batches(3): …

A view depends on (data seed, epoch, picture) alone, and a frozen stage on its weights alone, so what one trial computed
is what every other would compute. Behind no stages (0) lie the views themselves. Whether a trial shares depends on its
settings and on the room that its sweep was given, never on what the cache happens to hold: a trial computes with the
same numbers whoever computed them, and a resumed one goes on with them.
"""

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from trainables.arithmetic import Arithmetic, Preparation, forwarded
from trainables.data.loaders import Views, training_plan
from trainables.data.passes import CHUNK, Pass
from trainables.data.room import make_room, mark_used
from trainables.data.store import PixelStore
from trainables.data.transforms import MIRRORED, PLAIN, VIEW_SETTINGS, training_views_are, view_keys
from trainables.models.resident import Resident
from trainables.settings import TrialSettings

# Goes up whenever the same key would stand for other numbers.
FORMAT = 4

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Sharing:
    """Where trials keep what they share, and how many bytes of it at most; 0 shares nothing."""

    cache: Path
    bytes: int


class _Rows(NamedTuple):
    """A row for each picture of a split, in the view of this key (`trainables.data.transforms.view_keys`)."""

    stages: int
    split: str
    view: int


class Shared:
    """One trial's side of what all trials share."""

    def __init__(
        self,
        sharing: Sharing,
        *,
        resident: Resident,
        settings: TrialSettings,
        store: PixelStore,
        data_seed: int,
        arithmetic: Arithmetic,
        prepare: Preparation,
    ) -> None:
        self._sharing = sharing
        self._resident = resident
        self._settings = settings
        self._store = store
        self._data_seed = data_seed
        self._arithmetic = arithmetic
        self._prepare = prepare
        self._indices = {split: store.indices(split) for split in ("train", "val")}
        self._parts: dict[tuple[int, int], nn.Module] = {}
        self._passes: dict[_Rows, Pass] = {}
        self._epoch = 0  # the one at work
        self.seconds = 0.0  # spent on computing rows, or waiting for others to

    def fits(self, stages: int) -> bool:
        """Whether all rows of the trial behind so many stages have room, and the network can be cut there."""
        if self._resident.anatomy.cut(stages) is None:
            return False
        frozen_epochs = self._settings.freeze_epochs or self._settings.epochs
        epochs = min(self._settings.epochs, frozen_epochs) if stages else self._settings.epochs
        views = {"fixed": 1, "two": 2, "fresh": epochs}[training_views_are(self._settings)]
        rows = len(self._indices["train"]) * views + len(self._indices["val"])
        return rows * self._row_bytes(stages) <= self._sharing.bytes

    def training_batches(self, stages: int, *, epoch: int) -> Iterator[Batch]:
        """The batches of `trainables.data.loaders.training_batches`, with rows for pictures.

        What is missing is computed at once, by who calls, and not when a batch is asked for.
        """
        indices = self._indices["train"]
        keys = view_keys(self._settings, data_seed=self._data_seed, epoch=epoch, indices=indices)
        self._forget("train")
        self._epoch = epoch
        passes = {view: self._filled(_Rows(stages, "train", view)) for view in np.unique(keys).tolist()}

        def taken(batch: Tensor) -> Batch:
            places = torch.searchsorted(indices, batch).numpy()
            return _taken(passes, places, keys[places]), self._store.targets[batch]

        return map(taken, training_plan(self._store, settings=self._settings, epoch=epoch))

    def evaluation_batches(self, stages: int) -> Iterator[Batch]:
        """The validation pictures' rows in the order of their indices, `CHUNK` at a time; computed as for training."""
        rows = self._filled(_Rows(stages, "val", PLAIN))
        indices = self._indices["val"]

        def taken(start: int) -> Batch:
            batch = indices[start : start + CHUNK]
            return rows.take(range(start, start + len(batch))), self._store.targets[batch]

        return map(taken, range(0, len(indices), CHUNK))

    def _forget(self, split: str) -> None:
        """Lets go of the rows of past epochs, and of the memory they are mapped to."""
        self._passes = {which: rows for which, rows in self._passes.items() if which.split != split}

    def _filled(self, which: _Rows) -> Pass:
        rows = self._pass(which)
        if not rows.complete():
            make_room(
                self._sharing.cache,
                limit_bytes=self._sharing.bytes,
                needed_bytes=len(self._indices[which.split]) * self._row_bytes(which.stages),
                keep=frozenset(kept.folder for kept in self._passes.values()),
            )
            started = time.perf_counter()
            rows.fill(ahead=[self._pass(next_rows) for next_rows in self._next(which)])
            self.seconds += time.perf_counter() - started
        mark_used(rows.folder)
        return rows

    def _next(self, which: _Rows) -> list[_Rows]:
        """What is wanted after these rows: those of validation, then the next epoch's."""
        after = [_Rows(which.stages, "val", PLAIN)] if which.split == "train" else []
        epoch, last = self._epoch + 1, self._settings.freeze_epochs or self._settings.epochs
        if epoch <= min(last, self._settings.epochs):
            keys = view_keys(self._settings, data_seed=self._data_seed, epoch=epoch, indices=self._indices["train"])
            after += [_Rows(which.stages, "train", view) for view in np.unique(keys).tolist()]
        return after

    def _pass(self, which: _Rows) -> Pass:
        if which not in self._passes:
            self._passes[which] = Pass(
                self._sharing.cache,
                key=self._key(which),
                rows=len(self._indices[which.split]),
                compute=functools.partial(self._compute, which),
            )
        return self._passes[which]

    def _compute(self, which: _Rows, wanted: range) -> Tensor:
        """A chunk of rows: from behind the last stage that somebody has rows of already, else from the pictures."""
        if which.stages == 0:
            epoch = which.view if which.view not in (PLAIN, MIRRORED) else None
            indices = self._indices[which.split][wanted.start : wanted.stop]
            views, _ = Views(self._store, self._settings, self._data_seed, epoch).__getitems__(indices.tolist())
            return views.flip(-1) if which.view == MIRRORED else views
        start, rows = self._start(which, wanted)
        with torch.no_grad(), self._arithmetic.autocast():
            return forwarded(self._part(start, which.stages), rows, side=self._settings.image_size)

    def _start(self, which: _Rows, wanted: range) -> tuple[int, Tensor]:
        for start in reversed(range(1, which.stages)):
            if self._resident.anatomy.cut(start) is not None:
                rows = self._pass(which._replace(stages=start)).chunk(wanted)
                if rows is not None:
                    return start, rows.to(self._arithmetic.device)
        pictures = which._replace(stages=0)
        views = self._pass(pictures).chunk(wanted)
        return 0, self._prepare.pictures(self._compute(pictures, wanted) if views is None else views)

    def _part(self, start: int, end: int) -> nn.Module:
        if (start, end) not in self._parts:
            self._parts[start, end] = self._resident.part(start, end)
        return self._parts[start, end]

    def _row_bytes(self, stages: int) -> int:
        channels, size = self._store.channels, self._settings.image_size
        if stages == 0:
            return channels * size * size
        return self._resident.row_bytes(stages, shape=(channels, size, size), arithmetic=self._arithmetic)

    def _key(self, which: _Rows) -> dict[str, Any]:
        """All that the rows depend on, down to the last bit."""
        fresh = which.view not in (PLAIN, MIRRORED)
        view_settings = VIEW_SETTINGS if fresh else ("image_size", "center_crop")
        key: dict[str, Any] = {
            "format": FORMAT,
            "data": self._store.fingerprint,
            "pixels": self._store.digest,
            "split": which.split,
            "view": which.view,
            "view settings": {name: getattr(self._settings, name) for name in view_settings},
            "data seed": self._data_seed if fresh else None,
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        if which.stages:
            key["network"] = self._resident.digests[which.stages]
            key["cut"] = self._resident.anatomy.cut(which.stages)
            key["mean"], key["std"] = self._prepare.mean, self._prepare.std
            key["arithmetic"] = self._arithmetic.key()
        return key


def _taken(passes: dict[int, Pass], places: np.ndarray, keys: np.ndarray) -> Tensor:
    """The rows at these places, each in the view of its key."""
    batch: Tensor | None = None
    for view in np.unique(keys).tolist():
        here = np.flatnonzero(keys == view)
        rows = passes[view].take(places[here].tolist())
        if len(here) == len(places):
            return rows
        if batch is None:
            batch = rows.new_empty((len(places), *rows.shape[1:]))
            if rows.dim() == 4 and not rows.is_contiguous():
                batch = batch.contiguous(memory_format=torch.channels_last)
        batch[torch.from_numpy(here)] = rows
    assert batch is not None
    return batch
