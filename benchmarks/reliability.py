"""What a crash costs: the same small sweep killed with SIGKILL and taken up again, in tuneyard and in plain Ray Tune.

    python -m benchmarks.reliability --quick
    python -m benchmarks.reliability --kills 1 --kills 1 --kills 3 --seed 7 --json reliability.json
    python -m benchmarks.reliability --moment 5.3 --moment 2      # one run, killed at these moments

The driver's process is killed, as a crash would, at moments counted in epochs of its life and drawn from a printed
seed; the last life runs to the end. What came out is compared with an uninterrupted run of the same contestant. One
trial runs at a time, so that the order of things is no excuse; a row of no kills shows that each contestant repeats
itself.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from PIL import Image

from benchmarks.kill import Family, Life, end_all
from benchmarks.machine import describe_machine, machine_line
from benchmarks.sweeps import KilledSweep, OurSweep, PlainRaySweep
from benchmarks.table import table
from benchmarks.work import Work

CONTESTANTS: dict[str, Callable[[Path, Work], KilledSweep]] = {"tuneyard": OurSweep, "ray-tune": PlainRaySweep}


@dataclass(frozen=True)
class Outcome:
    """One run with its kills, against an uninterrupted one.

    moments: epochs of each life after which it was killed. rerun: trials that were over at a kill and ran again
    afterwards. epochs_again: epochs executed more than once. lost: trials over at a kill and missing in the result.
    doubled: trials in the result more than once. processes_left: of any life, still there ten seconds after the end.
    """

    contestant: str
    moments: tuple[float, ...]
    epochs: int
    rerun: int
    epochs_again: int
    lost: int
    doubled: int
    trials: int
    processes_left: int
    identical: bool
    seconds: float


@click.command()
@click.option("--quick", is_flag=True, help="A smaller sweep and one kill: about two minutes.")
@click.option("--kills", type=click.IntRange(0), multiple=True, help="One run with this many kills; repeatable.")
@click.option("--moment", "moments", type=click.FloatRange(0), multiple=True, help="One run killed at these moments.")
@click.option("--only", type=click.Choice(list(CONTESTANTS)), help="One contestant alone.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the moments.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write the results here too.")
def main(
    quick: bool,
    kills: tuple[int, ...],
    moments: tuple[float, ...],
    only: str | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Kill the same sweep in tuneyard and in plain Ray Tune, resume it, and compare."""
    machine = describe_machine()
    print(machine_line(machine))
    print(f"seed of the moments: {seed}", flush=True)
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        place = Path(folder)
        work = small_work(place, quick=quick)
        for name in [only] if only else CONTESTANTS:
            test = KillTest(name, work, place)
            plans = [moments] if moments else drawn(kills or ((0, 1) if quick else (0, 1, 1, 1, 3)), seed, test.epochs)
            for plan in plans:
                outcomes.append(test.against(plan))
                print(f"… {outcomes[-1]}", file=sys.stderr, flush=True)
    print(outcome_table(outcomes))
    if json_file:
        document = {"machine": machine, "seed": seed, "outcomes": [asdict(outcome) for outcome in outcomes]}
        json_file.write_text(json.dumps(document, indent=1), encoding="utf-8")


@dataclass(frozen=True)
class _Run:
    """A finished sweep; for each kill, the trials over by then and how many epochs had been executed."""

    sweep: KilledSweep
    over: list[tuple[set[str], int]]
    processes_left: int
    seconds: float


class KillTest:
    """One contestant, with an uninterrupted run to compare with."""

    def __init__(self, name: str, work: Work, folder: Path) -> None:
        self._name, self._work, self._folder = name, work, folder
        self._runs = 0
        print(f"… {name}: uninterrupted", file=sys.stderr, flush=True)
        sweep = self._run(()).sweep
        self._expected, self.epochs = sweep.result(), len(sweep.executed)

    def against(self, moments: Sequence[float]) -> Outcome:
        """A run killed at these moments."""
        run = self._run(moments)
        executed, final = run.sweep.executed, run.sweep.final()
        rerun = {key for ended, since in run.over for key, _ in executed[since:] if key in ended}
        lost = {key for ended, _ in run.over for key in ended} - final.keys()
        return Outcome(
            contestant=self._name,
            moments=tuple(round(moment, 2) for moment in moments[: len(run.over)]),
            epochs=len(executed),
            rerun=len(rerun),
            epochs_again=sum(times - 1 for times in Counter(executed).values()),
            lost=len(lost),
            doubled=sum(times - 1 for times in final.values()),
            trials=final.total(),
            processes_left=run.processes_left,
            identical=run.sweep.result() == self._expected,
            seconds=round(run.seconds, 1),
        )

    def _run(self, moments: Sequence[float]) -> _Run:
        self._runs += 1
        folder = self._folder / f"{self._name}-{self._runs}"
        folder.mkdir()
        sweep = CONTESTANTS[self._name](folder, self._work)
        over: list[tuple[set[str], int]] = []
        family = Family(sweep.marks)
        seconds = 0.0
        try:
            for moment in [*moments, None]:
                life = Life(sweep.command(), environment=_environment(folder), log=folder / "log.txt", count=sweep.look)
                end = life.run(until=moment, family=family)
                sweep.settle()
                seconds += end.seconds
                if not end.killed:
                    break
                over.append((sweep.ended(), len(sweep.executed)))
            left = family.living(patience_s=10.0)
            for process in left:
                print(f"… left behind: {process.pid} {process.name()}", file=sys.stderr)
        finally:
            end_all(family.living())
            for mark in sweep.marks:
                shutil.rmtree(mark, ignore_errors=True)
        return _Run(sweep, over, len(left), seconds)


def drawn(kills: Sequence[int], seed: int, epochs: int) -> list[tuple[float, ...]]:
    """For each run its moments: anywhere in the sweep for one kill, the more kills the sooner each."""
    draw = random.Random(seed)
    return [tuple(draw.uniform(0.5, (epochs - 1) / max(1, count)) for _ in range(count)) for count in kills]


def small_work(folder: Path, *, quick: bool) -> Work:
    """Pictures of three classes that are hard to tell apart, and a sweep over them."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 80), ("val", 40)):
        for label in range(3):
            place = folder / "pictures" / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = noise.integers(0, 256, (16, 16, 3)) + 12 * np.eye(3)[label]
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(place / f"{number}.png")
    return Work(
        pictures=str(folder / "pictures"),
        model="resnet18",
        image_size=16,
        epochs=4 if quick else 9,
        trials=6 if quick else 12,
    )


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """One line a run."""
    head = [
        "contestant",
        "kills",
        "after epochs",
        "finished trials re-run",
        "epochs done again",
        "lost",
        "doubled",
        "trials at the end",
        "processes left",
        "identical to uninterrupted",
        "s",
    ]
    rows = [
        [
            o.contestant,
            str(len(o.moments)),
            " ".join(f"{moment:g}" for moment in o.moments) or "–",
            *(str(n) for n in (o.rerun, o.epochs_again, o.lost, o.doubled, o.trials, o.processes_left)),
            "yes" if o.identical else "no",
            f"{o.seconds:.0f}",
        ]
        for o in outcomes
    ]
    return table(head, rows)


def _environment(folder: Path) -> dict[str, str]:
    """One thread, so that arithmetic repeats itself; a cache of its own."""
    own = {"OMP_NUM_THREADS": "1", "TUNEYARD_CACHE": str(folder / "cache"), "RAY_USAGE_STATS_ENABLED": "0"}
    return {**os.environ, **own}


if __name__ == "__main__":
    main()
