"""Whole-zoo tests without the whole zoo's memory: networks that have names and shapes but no values.

with meta_device():
    network = bare_network(facts, image_size=224)
"""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import torch
from torchvision.models.regnet import BlockParams


@contextmanager
def meta_device() -> Iterator[None]:
    """torch's meta device, but for the few numbers torchvision computes a RegNet's widths with."""
    from_init_params = BlockParams.from_init_params

    def on_cpu(*args, **options):
        with torch.device("cpu"):
            return from_init_params(*args, **options)

    with mock.patch.object(BlockParams, "from_init_params", on_cpu), torch.device("meta"):
        yield
