"""How long the same sweep takes: tuneyard, plain Ray Tune and plain Optuna, in turn.

    python -m benchmarks.speed --quick
    python -m benchmarks.speed --rows frozen --peer-trials 4 --json speed.json

Every contestant runs in a fresh process with empty caches, on the same configurations, epochs, pictures and cores; its
wall time is that of the whole process, from start to exit. With `--peer-trials` the peers, whose trials all cost the
same, run only so many of them, and what these took inside is counted as often as it takes to come to all: such figures
begin with `~`. A measurement, not a test: nothing passes or fails.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks.contestant import FLOOR, NAMES
from benchmarks.machine import describe_machine, gpu_watched, machine_line
from benchmarks.ours import score_of, search_command, write_sweep_file
from benchmarks.table import table
from benchmarks.work import Score, Work
from trainables.data.parallel import available_cores
from trainables.data.sources import DataSettings, read_catalog

PROJECT = Path(__file__).resolve().parent.parent
REAL = Path(os.environ.get("TUNE_TEST_DATA") or PROJECT.parent / "shared" / "data")

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # one a trial, and as many trials at once as there are cores
    # Ray makes its workers nice. Beside anything else that runs they would yield, and Optuna's process would not.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "PYTHONWARNINGS": "ignore",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One comparison: a name for people, a key for `--rows`, the work, and whether to measure the arithmetic alone."""

    key: str
    title: str
    work: Work
    floor: bool = False


@click.command()
@click.option("--quick", is_flag=True, help="A small size of each row.")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures: train/ and val/."
)
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="squeezenet1_1's weights."
)
@click.option("--rows", "chosen", multiple=True, help="Only these rows, by their keys; repeatable.")
@click.option(
    "--peers", "peers", multiple=True, type=click.Choice(NAMES[1:]), default=NAMES[1:], help="Only these peers."
)
@click.option("--peer-trials", type=click.IntRange(min=1), help="Run so many of a peer's trials, and scale its time.")
@click.option("--tuned-peers", is_flag=True, help="The peers too compute in channels_last and bf16.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here too."
)
def main(
    quick: bool,
    data: Path | None,
    weights: Path | None,
    chosen: tuple[str, ...],
    peers: tuple[str, ...],
    peer_trials: int | None,
    tuned_peers: bool,
    json_file: Path | None,
) -> None:
    """Time the same sweeps in tuneyard, plain Ray Tune and plain Optuna."""
    machine = describe_machine()
    print(machine_line(machine), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        rows = [
            dataclasses.replace(row, work=dataclasses.replace(row.work, tuned_peers=tuned_peers))
            for row in plan(scratch, quick=quick, data=data, weights=weights)
            if not chosen or row.key in chosen
        ]
        results = []
        for row in rows:
            entry: dict[str, Any] = {"key": row.key, "title": row.title, "work": dataclasses.asdict(row.work)}
            for name in (NAMES[0], *peers, *([FLOOR] if row.floor else [])):
                print(f"… {row.title}: {name}", file=sys.stderr, flush=True)
                fewer = peer_trials if name in peers and row.work.model else None
                entry[name] = timed(name, row.work, scratch / f"{row.key}-{name}", trials=fewer)
            results.append(entry)
            print(speed_table(results[-1:], peers), file=sys.stderr, flush=True)
            if json_file:
                json_file.write_text(json.dumps({"machine": machine, "rows": results}, indent=1), encoding="utf-8")
    print(speed_table(results, peers))


def plan(scratch: Path, *, quick: bool, data: Path | None, weights: Path | None) -> list[Row]:
    """The rows that can be run here."""
    cpus = available_cores()
    empty = Work(pictures="", model="", image_size=0, epochs=1, trials=30 if quick else 400, cpus=cpus)
    digits = Work(
        pictures=str(digits_file(scratch)),
        model="resnet18",
        image_size=32,
        epochs=2 if quick else 4,
        trials=2 if quick else 6,
        cpus=cpus,
    )
    rows = [
        Row("nothing", f"a trial that does nothing, {empty.trials} of them", empty),
        Row("digits", f"digits, ResNet-18 at 32 px, all trained, {_size(digits)}", digits, floor=True),
    ]
    data = data or _there(REAL / "hymenoptera_data")
    weights = weights or _there(REAL / "weights" / "squeezenet1_1-imagenet.pth")
    if data is None:
        print("no pictures at hand (--data): their rows are left out", file=sys.stderr)
        return rows
    resnet = Work(
        pictures=str(data.resolve()),
        model="resnet18",
        image_size=224,
        epochs=1 if quick else 4,
        trials=2 if quick else 12,
        random_views=True,
        freeze=("backbone",),
        cpus=cpus,
    )
    many = dataclasses.replace(resnet, trials=4 if quick else 48)
    mixed = dataclasses.replace(resnet, freeze=("none", "layer2", "layer3", "backbone"), trials=4 if quick else 12)
    whole = dataclasses.replace(resnet, freeze=("none",), trials=2 if quick else 4)
    where = f"{data.name}, ResNet-18 at 224 px"
    rows += [
        Row("frozen", f"{where}, head only, {_size(resnet)}", resnet),
        Row("frozen-many", f"{where}, head only, {_size(many)}", many),
        Row("mixed", f"{where}, freeze none, layer2, layer3 or backbone, {_size(mixed)}", mixed),
        Row("whole", f"{where}, all trained, {_size(whole)}", whole, floor=True),
    ]
    if weights:
        squeezenet = dataclasses.replace(
            resnet, model="squeezenet1_1", weights=str(weights.resolve()), trials=2 if quick else 40
        )
        title = f"{data.name}, SqueezeNet 1.1 at 224 px, ImageNet weights, head only, {_size(squeezenet)}"
        rows.append(Row("squeezenet", title, squeezenet))
    else:
        print("no weights at hand (--weights): that row is left out", file=sys.stderr)
    return rows


def digits_file(folder: Path) -> Path:
    """The embedded digits on the very split that tuneyard makes of them, for the peers to read."""
    catalog = read_catalog(DataSettings(), base=folder)
    arrays: dict[str, np.ndarray] = {}
    assert catalog.arrays is not None
    for split in ("train", "val"):
        chosen = [i for i, picture in enumerate(catalog.pictures) if picture.split == split]
        arrays[f"{split}_images"] = catalog.arrays[chosen]
        arrays[f"{split}_labels"] = np.array([catalog.pictures[i].label for i in chosen], dtype=np.int64)
    path = folder / "digits.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return path


def timed(name: str, work: Work, folder: Path, *, trials: int | None) -> dict[str, Any]:
    """One contestant's wall time and score; None for the score when it failed, with the end of what it said.

    trials: run only so many (None: all), and add what the others would take in them, as many side by side.
    """
    run = dataclasses.replace(work, trials=min(trials or work.trials, work.trials))
    folder.mkdir()
    work_file, score_file = folder / "work.json", folder / "score.json"
    run.save(work_file)
    (folder / "cache").mkdir()
    environment = {**os.environ, **ENVIRONMENT, "TUNEYARD_CACHE": str(folder / "cache")}
    searches = name == NAMES[0] and bool(work.model)
    if searches:
        file = write_sweep_file(work, folder / "sweep.yaml", search={"pruner": "none"}, first=work.configs())
        command = search_command(file, runs=folder, workers=work.cpus)
    else:
        command = [sys.executable, "-m", "benchmarks.contestant", name, str(work_file), str(folder), str(score_file)]
    with gpu_watched() as busy:
        started = time.perf_counter()
        done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
        wall_s = time.perf_counter() - started
    if searches and not done.returncode:
        score_file.write_text(json.dumps(dataclasses.asdict(score_of(folder / "sweep"))))
    if done.returncode or not score_file.exists():
        print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return {"wall_s": wall_s, "score": None}
    score = Score(**json.loads(score_file.read_text(encoding="utf-8")))
    if score.trials != run.trials:
        print(f"{name} finished {score.trials} of {run.trials} trials:\n{done.stderr[-2000:]}", file=sys.stderr)
        return {"wall_s": wall_s, "score": None}
    return {
        "wall_s": in_all(wall_s, score, trials=work.trials),
        "measured_s": wall_s,
        "trials": run.trials,
        "load": round(os.getloadavg()[0], 2),
        "gpu_busy": busy(),
        "score": dataclasses.asdict(score),
    }


def in_all(wall_s: float, score: Score, *, trials: int) -> float:
    """Seconds that all trials would take: the inside of those that were run is counted as often as it takes."""
    if score.trials == trials:
        return wall_s
    assert score.trials_s is not None
    return wall_s + score.trials_s / score.at_once * (trials / score.trials - 1)


def speed_table(results: list[dict[str, Any]], peers: tuple[str, ...]) -> str:
    """Wall seconds and best validation accuracy of each, how many times as long as tuneyard the peers took, how much of
    the time inside tuneyard's trials was arithmetic, and how busy a GPU was."""
    ours = NAMES[0]
    head = [
        "work",
        *(f"{name} s" for name in (ours, *peers)),
        *(f"{name} ÷ ours" for name in peers),
        "best of each",
        "arithmetic",
        "GPU busy",
    ]
    rows = []
    for entry in results:
        rows.append(
            [
                entry["title"],
                *(_seconds(entry[name]) for name in (ours, *peers)),
                *(f"{entry[name]['wall_s'] / entry[ours]['wall_s']:.1f}" for name in peers),
                " / ".join(_best(entry[name]["score"]) for name in (ours, *peers)),
                _share(entry),
                " / ".join(_percent(entry[name].get("gpu_busy")) for name in (ours, *peers)),
            ]
        )
    return table(head, rows)


def _seconds(result: dict[str, Any]) -> str:
    scaled = result.get("measured_s") not in (None, result["wall_s"])
    return f"{'~' if scaled else ''}{result['wall_s']:.1f}"


def _share(entry: dict[str, Any]) -> str:
    """The arithmetic alone as a share of the time inside our trials."""
    floor, ours = (entry.get(name, {}).get("score") for name in (FLOOR, NAMES[0]))
    if not floor or not ours or not ours["trials_s"]:
        return ""
    return f"{floor['trials_s'] / ours['trials_s']:.0%}"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _best(score: dict[str, Any] | None) -> str:
    if score is None:
        return "failed"
    return "-" if score["best"] is None else f"{score['best']:.3f}"


def _size(work: Work) -> str:
    return f"{work.trials} trials × {work.epochs} epoch{'s' if work.epochs > 1 else ''}"


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


if __name__ == "__main__":
    main()
