"""How long the same sweep takes: tuneyard, plain Ray Tune and plain Optuna, in turn.

    python -m benchmarks.speed --quick
    python -m benchmarks.speed --data FOLDER --weights squeezenet1_1.pth --json speed.json

Every contestant runs in a fresh process with empty caches, on the same configurations, epochs, pictures and cores; its
wall time is that of the whole process, from start to exit. A measurement, not a test: nothing passes or fails.
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

from benchmarks.contestant import NAMES
from benchmarks.machine import describe_machine, machine_line
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
    """One comparison: a name for people, a key for `--rows`, and the work."""

    key: str
    title: str
    work: Work


@click.command()
@click.option("--quick", is_flag=True, help="A small size of each row: about two minutes in all.")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Pictures: train/ and val/."
)
@click.option(
    "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="squeezenet1_1's weights."
)
@click.option("--rows", "chosen", multiple=True, help="Only these rows (nothing, digits, pictures); repeatable.")
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here too."
)
def main(quick: bool, data: Path | None, weights: Path | None, chosen: tuple[str, ...], json_file: Path | None) -> None:
    """Time the same sweeps in tuneyard, plain Ray Tune and plain Optuna."""
    machine = describe_machine()
    print(machine_line(machine), flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        scratch = Path(folder)
        rows = [
            row for row in plan(scratch, quick=quick, data=data, weights=weights) if not chosen or row.key in chosen
        ]
        results = []
        for row in rows:
            entry: dict[str, Any] = {"key": row.key, "title": row.title, "work": dataclasses.asdict(row.work)}
            for name in NAMES:
                print(f"… {row.title}: {name}", file=sys.stderr, flush=True)
                entry[name] = timed(name, row.work, scratch / f"{row.key}-{name}")
            results.append(entry)
            print(speed_table(results[-1:]), file=sys.stderr, flush=True)
            if json_file:
                json_file.write_text(json.dumps({"machine": machine, "rows": results}, indent=1), encoding="utf-8")
    print(speed_table(results))


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
        Row("digits", f"digits, ResNet-18 at 32 px, all trained, {_size(digits)}", digits),
    ]
    data = data or _there(REAL / "hymenoptera_data")
    weights = weights or _there(REAL / "weights" / "squeezenet1_1-imagenet.pth")
    if data and weights:
        pictures = Work(
            pictures=str(data.resolve()),
            model="squeezenet1_1",
            image_size=224,
            epochs=1 if quick else 4,
            trials=2 if quick else 4,
            weights=str(weights.resolve()),
            head_only=True,
            random_views=True,
            cpus=cpus,
        )
        rows.append(Row("pictures", f"{data.name}, SqueezeNet 1.1 at 224 px, head only, {_size(pictures)}", pictures))
    else:
        print("no pictures and weights at hand (--data, --weights): that row is left out", file=sys.stderr)
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


def timed(name: str, work: Work, folder: Path) -> dict[str, Any]:
    """One contestant's wall time and score; None for the score when it failed, with the end of what it said."""
    folder.mkdir()
    work_file, score_file = folder / "work.json", folder / "score.json"
    work.save(work_file)
    (folder / "cache").mkdir()
    environment = {**os.environ, **ENVIRONMENT, "TUNEYARD_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "benchmarks.contestant", name, str(work_file), str(folder), str(score_file)]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - started
    if done.returncode or not score_file.exists():
        print(f"{name} failed:\n{done.stderr[-2000:]}", file=sys.stderr)
        return {"wall_s": wall_s, "score": None}
    score = Score(**json.loads(score_file.read_text(encoding="utf-8")))
    if score.trials != work.trials:
        print(f"{name} finished {score.trials} of {work.trials} trials:\n{done.stderr[-2000:]}", file=sys.stderr)
    return {"wall_s": wall_s, "load": round(os.getloadavg()[0], 2), "score": dataclasses.asdict(score)}


def speed_table(results: list[dict[str, Any]]) -> str:
    """Wall seconds (best validation accuracy) of each, and how many times as long as tuneyard the peers took."""
    ours, *peers = NAMES
    head = [
        "work",
        *(f"{name} s" for name in NAMES),
        *(f"{name} ÷ ours" for name in peers),
        "best of each",
    ]
    rows = []
    for entry in results:
        ratios = [entry[name]["wall_s"] / entry[ours]["wall_s"] for name in peers]
        rows.append(
            [
                entry["title"],
                *(f"{entry[name]['wall_s']:.1f}" for name in NAMES),
                *(f"{ratio:.2f}" for ratio in ratios),
                " / ".join(_best(entry[name]["score"]) for name in NAMES),
            ]
        )
    return table(head, rows)


def _best(score: dict[str, Any] | None) -> str:
    return "failed" if score is None else f"{score['best']:.3f}"


def _size(work: Work) -> str:
    return f"{work.trials} trials × {work.epochs} epoch{'s' if work.epochs > 1 else ''}"


def _there(path: Path) -> Path | None:
    return path if path.exists() else None


if __name__ == "__main__":
    main()
