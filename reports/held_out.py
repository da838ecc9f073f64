"""The pictures of a sweep again, to measure an exported model on those it did not learn from.

    store = open_pictures(sweep)               # a PixelStore: from the cache, or decoded anew
    views = sampled_views(store, description, at_most=256)    # uint8 [n, C, S, S]

What is measured are the splits `val`, which chose the model, and `test`, which chose nothing.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from reports.modelfile import Description
from reports.sweep import Sweep
from trainables.data.cache import cache_folder
from trainables.data.parallel import ordered_map
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.data.transforms import validation_view
from trainables.errors import UserError

HELD_OUT = ("val", "test")
BATCH = 64
_MOST_BYTES = 256 * 2**20  # of views at a time


def open_pictures(sweep: Sweep) -> PixelStore:
    """The pictures that the sweep began with.

    Raises:
        UserError: they are not to be found any more, cannot be read, or are others.
    """
    try:
        settings = DataSettings(**sweep.record["spec"]["data"])
    except TypeError as error:
        raise UserError(f"data settings that this version does not know ({error})", where=sweep.name) from error
    recorded = sweep.record["data"]
    store = build_store(
        read_catalog(settings, base=Path(sweep.record["base"])),
        short_side=recorded["short_side"],
        cache=cache_folder(),
        on_bad_image=settings.on_bad_image,
    )
    if store.fingerprint != recorded["fingerprint"]:
        raise UserError(
            "the pictures are not those the sweep began with",
            where=str(settings.path or settings.source),
            got=f"fingerprint {store.fingerprint[:12]}",
            expected=recorded["fingerprint"][:12],
        )
    return store


def held_out(store: PixelStore) -> Tensor:
    """Indices of all pictures of `val` and `test`, int64 [N], in this order."""
    return torch.cat([store.indices(split) for split in HELD_OUT])


def view_batches(store: PixelStore, indices: Tensor, description: Description) -> Iterator[tuple[Tensor, Tensor]]:
    """(indices int64 [n], views uint8 [n, C, S, S]) of these pictures, as validation sees them, batch by batch."""
    size, center_crop = description.image_size, description.center_crop

    def views(part: Tensor) -> tuple[Tensor, Tensor]:
        return part, torch.stack([validation_view(store[i], size=size, center_crop=center_crop) for i in part.tolist()])

    batch = max(1, min(BATCH, _MOST_BYTES // (8 * _view_bytes(description))))
    yield from ordered_map(views, [part for part in indices.split(batch) if len(part)])


def sampled_views(store: PixelStore, description: Description, *, at_most: int) -> Tensor:
    """Views of held-out pictures, evenly spread over them: uint8 [n, C, S, S]. Fewer where they are very large."""
    indices = held_out(store)
    count = max(4, min(at_most, _MOST_BYTES // _view_bytes(description)))
    if len(indices) > count:
        indices = indices[torch.linspace(0, len(indices) - 1, count).long()]
    return torch.cat([views for _, views in view_batches(store, indices, description)])


def noise_views(description: Description, *, count: int) -> Tensor:
    """Random pictures, always the same: uint8 [count, C, S, S]; for where there are no others."""
    size = (count, description.channels, description.image_size, description.image_size)
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def _view_bytes(description: Description) -> int:
    return description.channels * description.image_size**2
