"""Whether views come as fast as the network takes them: pictures a second of each alone, and of both together.

    python -m benchmarks.fed
    python -m benchmarks.fed --augment strong --workers 4 --model resnet50

The views are made as for any trial (`trainables.feed`), of noise in the size of decoded pictures; the network is
fed the same batches out of memory, and then as they are made. Together no faster than the slower of the two, and on a
GPU, where they are made ahead, little slower.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks.machine import describe_machine, gpu_watched, machine_line
from trainables.data.store import PixelStore, StoreWriter
from trainables.feed import Stream
from trainables.hardware import pick_device
from trainables.models.freezing import training_mode
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from trainables.training.loop import train
from trainables.training.metrics import RunningMetrics
from trainables.training.trainer import Trainer

NO_WEIGHTS = Weights("none", None, None, "")
SHORT_SIDE, LONG_SIDE = 256, 341
AUGMENT = ("none", "flip", "standard", "strong")


def noise(folder: Path, *, pictures: int) -> PixelStore:
    """A store of training pictures without content."""
    draw = np.random.default_rng(0)
    with StoreWriter(folder) as writer:
        for number in range(pictures):
            pixels = draw.integers(0, 256, (3, SHORT_SIDE, LONG_SIDE), dtype=np.uint8)
            writer.add(pixels, name=f"train/{number}", target=number % 2, split="train")
        writer.seal(
            task="classification",
            classes=("a", "b"),
            channels=3,
            short_side=SHORT_SIDE,
            fingerprint=f"noise {pictures}",
        )
    return PixelStore.open(folder)


def seconds(work: Callable[[int], None], *, passes: int) -> float:
    """Of one pass over the pictures: the median, a first one left out, in which memory is taken and code is loaded."""
    times = []
    for number in range(1 + passes):
        started = time.perf_counter()
        work(1 + number)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def rates(store: PixelStore, settings: TrialSettings, *, passes: int) -> tuple[list[float], float | None]:
    """Pictures a second, of the views alone, of the network alone, of both together; how busy a GPU was with both."""
    device = pick_device()
    trainer = Trainer.build(settings, store=store, data_seed=0, weights=NO_WEIGHTS, device=device)
    training_mode(trainer.model)

    def learn(epoch: int, stream: Stream) -> None:
        train(
            stream.network,
            stream.batches,
            epoch=epoch,
            learning=trainer.learning,
            prepare=stream.prepare,
            arithmetic=trainer.arithmetic,
            running=RunningMetrics(device, settings=settings, task=store.task),
        )

    def look(epoch: int) -> None:
        for _ in trainer.feed.training(epoch=epoch).batches:
            pass

    stream = trainer.feed.training(epoch=1)
    ready = dataclasses.replace(stream, batches=list(stream.batches))
    times = [seconds(look, passes=passes), seconds(lambda epoch: learn(epoch, ready), passes=passes)]
    with gpu_watched() as busy:
        times.append(seconds(lambda epoch: learn(epoch, trainer.feed.training(epoch=epoch)), passes=passes))
    return [len(store) / taken for taken in times], busy()


@click.command()
@click.option("--model", "models", multiple=True, default=("resnet18",), show_default=True, help="Repeatable.")
@click.option("--augment", "augments", multiple=True, type=click.Choice(AUGMENT), help="Repeatable.")
@click.option("--workers", "counts", multiple=True, type=int, default=(0,), show_default=True, help="Repeatable.")
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--pictures", type=click.IntRange(64), default=512, show_default=True)
@click.option("--passes", type=click.IntRange(1), default=3, show_default=True, help="Measured after the first.")
@click.option("--threads", type=int, default=1, show_default=True)
def main(
    models: tuple[str, ...],
    augments: tuple[str, ...],
    counts: tuple[int, ...],
    batch_size: int,
    pictures: int,
    passes: int,
    threads: int,
) -> None:
    """Time views and network, alone and together."""
    click.echo(machine_line(describe_machine()))
    torch.set_num_threads(threads)
    click.echo("| 224 px, pictures a second | views alone | network alone | together | GPU busy |")
    click.echo("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as folder:
        store = noise(Path(folder), pictures=pictures)
        for model in models:
            for augment in augments or ("standard", "strong"):
                for workers in counts:
                    plain: dict[str, Any] = {"model": model, "augment": augment, "workers": workers}
                    settings = TrialSettings(weights="none", image_size=224, batch_size=batch_size, **plain)
                    found, busy = rates(store, settings, passes=passes)
                    numbers = " | ".join(f"{rate:,.0f}" for rate in found)
                    share = "-" if busy is None else f"{busy:.0%}"
                    click.echo(f"| {model}, `augment: {augment}`, workers {workers} | {numbers} | {share} |")


if __name__ == "__main__":
    main()
