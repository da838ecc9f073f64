"""What the engine itself costs as workers are added, and how many one driver keeps at work.

    python -m benchmarks.cluster
    python -m benchmarks.cluster --busy 8 --busy 64

Real conductor, ledger, engine and Ray; trials that wait instead of computing, so that two cores can stand for many. A
measurement, not a test: nothing passes or fails.
"""

import logging
import math
import sys
import tempfile
from pathlib import Path

import click
import psutil
import ray

from benchmarks.machine import describe_machine, machine_line
from benchmarks.nothing import waiting_sweep
from benchmarks.table import table
from tuning.space import Float
from tuning.spec import SearchSettings, Spec


def run(*, workers: int, trials: int, epochs: int, seconds: float) -> dict[str, float]:
    """One sweep: ms a trial, share of the workers' time spent in epochs, ms of the driver's processor time an epoch."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        logging.getLogger("ray.tune").setLevel(logging.ERROR)
        try:
            search = SearchSettings(trials=trials, metric="val_accuracy", sampler="random", pruner="none")
            spec = Spec(trial={"epochs": epochs}, space={"lr": Float(1e-4, 1e-1, log=True)}, search=search)
            engine, ledger = waiting_sweep(Path(scratch), spec, limit=workers, seconds=seconds)
            driver = psutil.Process()
            before = driver.cpu_times()
            engine.run(must_end=lambda: False)
            after = driver.cpu_times()
        finally:
            ray.shutdown()
        record = ledger.trials()
        elapsed = sorted(epoch["elapsed"] for trial in record for epoch in trial.epochs)
    # All are at work from the last worker's first epoch on, until the first of them finds nothing left.
    started = max(trial.epochs[0]["elapsed"] for trial in record[:workers])
    ended = sorted(trial.epochs[-1]["elapsed"] for trial in record)[-workers]
    inside = [at for at in elapsed if started < at <= ended]
    wall = ended - started
    return {
        "per_trial_ms": wall / (len(inside) / epochs or math.nan) * 1000,
        "busy": len(inside) * seconds / (wall * workers) if wall else 0.0,
        "driver": (after.user + after.system - before.user - before.system) / len(elapsed) * 1000,
    }


@click.command()
@click.option(
    "--busy", multiple=True, type=int, default=(8, 16, 32, 64), help="Workers with epochs of 1 s; repeatable."
)
def main(busy: tuple[int, ...]) -> None:
    """Measure the engine's own cost a trial, and how busy one driver keeps so many workers."""
    print(machine_line(describe_machine()), flush=True)
    rows = []
    for workers in (1, 2, 4, 8):
        nothing = run(workers=workers, trials=400 * workers, epochs=1, seconds=0.0)
        short = run(workers=workers, trials=40 * workers, epochs=1, seconds=0.2)
        overhead = short["per_trial_ms"] * workers - 200
        rows.append([str(workers), f"{nothing['per_trial_ms']:.1f}", f"{overhead:.1f}", f"{short['busy']:.0%}"])
        print(f"… {rows[-1]}", file=sys.stderr, flush=True)
    print(table(["workers", "no work: ms a trial", "0.2 s: ms a trial on top", "busy"], rows))
    rows = []
    for workers in busy:
        long = run(workers=workers, trials=8 * workers, epochs=10, seconds=1.0)
        rows.append([str(workers), f"{long['busy']:.0%}", f"{long['driver']:.1f}"])
        print(f"… {rows[-1]}", file=sys.stderr, flush=True)
    print(table(["workers", "busy with epochs of 1 s", "driver: ms of processor time an epoch"], rows))


if __name__ == "__main__":
    main()
