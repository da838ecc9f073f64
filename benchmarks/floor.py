"""What the arithmetic alone takes: a network's steps on pictures that lie ready in memory.

score = floor(work, folder)         # score.trials_s: seconds of steps; nothing is read, decoded, saved or chosen

As fast as torch computes them on this machine: channels_last, bf16 where the hardware has it, one thread a trial and as
many trials at once as there are cores. What a trial takes beyond this is what surrounds the arithmetic.
"""

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from benchmarks.peers import datasets_of, network_of
from benchmarks.work import Config, Score, Work
from trainables.hardware import autocast_dtype

EVALUATION_BATCH = 64


def floor(work: Work, folder: Path) -> Score:
    """All configurations of the work, one after the other in as many processes as there are cores."""
    with ProcessPoolExecutor(work.cpus, mp_context=get_context("spawn")) as processes:
        seconds = list(processes.map(steps, work.configs(), [work] * work.trials))
    return Score(len(seconds), None, sum(seconds), work.cpus)


def steps(config: Config, work: Work) -> float:
    """Seconds of a trial's training steps and validation passes, on noise in the pictures' shape and number."""
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_set, val_set, classes, channels = datasets_of(work)
    shape = (channels, work.image_size, work.image_size)
    pictures, unseen = (
        torch.randn(len(part), *shape, device=device).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
        for part in (train_set, val_set)
    )
    labels = torch.randint(classes, (len(pictures),), device=device)
    network = network_of(work, freeze=config["freeze"], classes=classes, channels=channels).to(device)
    network = network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=config["momentum"])
    dtype = autocast_dtype("auto", device)
    started = time.perf_counter()
    for _ in range(work.epochs):
        network.train()
        for batch in torch.randperm(len(pictures)).split(config["batch_size"]):
            optimizer.zero_grad()
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                outputs = network(pictures[batch])
            nn.functional.cross_entropy(outputs.float(), labels[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            for part in unseen.split(EVALUATION_BATCH):
                network(part)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
