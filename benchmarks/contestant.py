"""Runs one contestant on one piece of work, in a process of its own.

    python -m benchmarks.contestant ray-tune work.json FOLDER score.json

So each pays its own imports and start of Ray, and none finds anything warm that another left.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.work import Score, Work

NAMES = ("tuneyard", "ray-tune", "optuna")
FLOOR = "arithmetic"


def contest(name: str, work: Work) -> Callable[[Work, Path], Score]:
    """The function that does the work as this contestant; a work of no model is trials that do nothing. Work with one
    is no contestant's here but `tune search`'s (`benchmarks.ours`), where it is tuneyard's."""
    if name == "tuneyard":
        from benchmarks.nothing import nothing_with_tuneyard

        return nothing_with_tuneyard
    if name == FLOOR:
        from benchmarks.floor import floor

        return floor
    from benchmarks import peers

    if name == "ray-tune":
        return peers.with_ray_tune if work.model else peers.nothing_with_ray_tune
    return peers.with_optuna if work.model else peers.nothing_with_optuna


def main() -> None:
    name, work_file, folder, score_file = sys.argv[1:]
    work = Work.load(Path(work_file))
    score = contest(name, work)(work, Path(folder))
    Path(score_file).write_text(json.dumps(dataclasses.asdict(score)), encoding="utf-8")


if __name__ == "__main__":
    main()
