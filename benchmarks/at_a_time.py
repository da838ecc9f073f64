"""How many pictures a network should see at a time where it does not learn: milliseconds a picture, on one thread.

    python -m benchmarks.at_a_time
    python -m benchmarks.at_a_time --size 64 --model resnet50

What `trainables.arithmetic.forwarded` goes by.
"""

import time

import click
import torch
import torchvision

from trainables.hardware import has_fast_bf16

SIZES = (4, 8, 16, 32, 64)
MODELS = ("resnet18", "squeezenet1_1", "mobilenet_v3_large", "resnet50")


def milliseconds(model: str, *, size: int, at_a_time: int, pictures: int, repeats: int) -> float:
    """The fastest of some passes over random pictures, by picture."""
    network = torchvision.models.get_model(model, weights=None).eval().to(memory_format=torch.channels_last)
    inputs = torch.randn(pictures, 3, size, size).to(memory_format=torch.channels_last)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=has_fast_bf16(torch.device("cpu"))):
            for part in inputs.split(at_a_time):
                network(part)
        times.append(time.perf_counter() - began)
    return 1000 * min(times) / pictures


@click.command()
@click.option("--model", "models", multiple=True, help="torchvision's name; repeatable.")
@click.option("--size", type=click.IntRange(32), default=224, show_default=True, help="Pixels of a side.")
@click.option("--pictures", type=click.IntRange(1), default=96, show_default=True)
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
def main(models: tuple[str, ...], size: int, pictures: int, repeats: int) -> None:
    """Time networks on batches of several sizes."""
    torch.set_num_threads(1)
    click.echo(f"| {size} px, ms a picture | {' | '.join(f'{count} at a time' for count in SIZES)} |")
    click.echo(f"| --- |{' ---: |' * len(SIZES)}")
    for model in models or MODELS:
        times = [milliseconds(model, size=size, at_a_time=count, pictures=pictures, repeats=repeats) for count in SIZES]
        click.echo(f"| {model} | {' | '.join(f'{ms:.1f}' for ms in times)} |")


if __name__ == "__main__":
    main()
