"""What `compile: true` costs and brings: seconds of a training step before and after, and of compiling.

    python -m benchmarks.compiling --model resnet18 --precision auto --threads 1

On noise in memory, in one process: the network as it is, compiled with an empty cache, and compiled again as the next
trial of its process would, which finds everything in the cache. It pays after as many steps as win back what compiling
took, in the first trial and in a later one.
"""

import math
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, get_args

import click
import torch
from torch import nn

from benchmarks.machine import describe_machine, machine_line
from trainables.arithmetic import Arithmetic
from trainables.hardware import autocast_dtype, pick_device
from trainables.models.resident import residents
from trainables.models.weights import Weights
from trainables.settings import Precision, TrialSettings
from trainables.training.compiling import Compiled, keep_compiled

NO_WEIGHTS = Weights("none", None, None, "")


def steps(settings: TrialSettings, *, device: torch.device, count: int) -> tuple[float, float]:
    """Seconds of the first step, with compiling in it, and of one of the others (their median)."""
    arithmetic = Arithmetic.of(device, autocast_dtype(settings.precision, device))
    resident = residents.get(settings, classes=2, channels=3, task="classification", weights=NO_WEIGHTS, device=device)
    network: nn.Module = resident.copy(settings).network.train()
    if settings.compile:
        network = Compiled(network, batch_size=settings.batch_size)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
    shape = (settings.batch_size, 3, settings.image_size, settings.image_size)
    pictures = torch.randn(shape, device=device).to(memory_format=torch.channels_last)
    labels = torch.randint(2, (settings.batch_size,), device=device)
    seconds = []
    for _ in range(1 + count):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with arithmetic.autocast():
            outputs = network(pictures)
        nn.functional.cross_entropy(outputs.float(), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return seconds[0], statistics.median(seconds[1:])


@click.command()
@click.option("--model", default="resnet18", show_default=True)
@click.option("--precision", type=click.Choice(get_args(Precision)), default="auto", show_default=True)
@click.option("--image-size", type=int, default=224, show_default=True)
@click.option("--batch-size", type=int, default=32, show_default=True)
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--steps", "count", type=int, default=10, show_default=True, help="Measured after the first.")
def main(threads: int, count: int, **settings: Any) -> None:
    """Measure a training step as it is and compiled, and how long compiling takes."""
    print(machine_line(describe_machine()), flush=True)
    torch.set_num_threads(threads)
    device = pick_device()
    with tempfile.TemporaryDirectory() as cache:
        keep_compiled(Path(cache))
        (_, plain), (cold, compiled), (warm, _) = (
            steps(TrialSettings(weights="none", compile=compile, **settings), device=device, count=count)
            for compile in (False, True, True)
        )
    print(", ".join(f"{name} {value}" for name, value in settings.items()), f"on {device.type}, threads {threads}")
    print(f"a step: {plain:.3f} s, compiled {compiled:.3f} s")
    print(f"compiling: {cold - compiled:.1f} s, from the cache {warm - compiled:.1f} s")
    if compiled < plain:
        first, later = (math.ceil((total - compiled) / (plain - compiled)) for total in (cold, warm))
        print(f"pays after {first} steps, from the cache after {later}")


if __name__ == "__main__":
    main()
