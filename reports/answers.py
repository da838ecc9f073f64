"""What a sweep found, how sure that is, and what it cost: a pure function of its trials.

answer = answer_of(sweep, trials)
answer.best.settings, answer.gap, answer.within_noise
print(winner_file(sweep, answer.best))                # a sweep file that trains the winner again
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reports.ledger import TrialRecord, best_of
from reports.modelfile import DESCRIPTION
from reports.ranking import gap_to_second
from reports.sweep import Sweep
from trainables.data.sources import DataSettings
from trainables.files import expanded
from trainables.settings import TrialSettings

# Metrics that are a share of pictures, each right or wrong: their noise follows from the number of pictures.
_SHARES = ("val_accuracy", "val_top5")


@dataclass(frozen=True)
class Answer:
    """The best complete trial, and how sure it is the best.

    Attributes:
        best: the trial itself; None while none is complete.
        complete: how many trials are complete.
        gap: by how much its value beats the second's.
        pictures: of the validation split, which chose trial and epoch.
        noise: the value's standard error, for a metric that is a share of the pictures.
        within_noise: how many other complete trials are no further away than that.
        cheapest: of these and the best the one whose epochs took the least time.
        epochs, trial_seconds, wall_seconds: what all trials cost, summed, and the sweep's wall time.
    """

    best: TrialRecord | None
    complete: int
    gap: float | None
    pictures: int
    noise: float | None
    within_noise: int | None
    cheapest: TrialRecord | None
    epochs: int
    trial_seconds: float
    wall_seconds: float


def answer_of(sweep: Sweep, trials: Sequence[TrialRecord], *, wall_seconds: float | None = None) -> Answer:
    """The answer of trials that have been read already.

    Args:
        sweep: whose record says how many pictures validated.
        trials: of its ledger.
        wall_seconds: of `Ledger.elapsed_s`; the last epoch's when left out.
    """
    best = best_of(trials, mode=sweep.mode)
    others = [t for t in trials if t.state == "complete" and t.value is not None and t is not best]
    pictures = pictures_of(sweep, "val")
    noise = cheapest = None
    near: list[TrialRecord] = []
    if best is not None and best.value is not None:
        noise = noise_of(best.value, sweep=sweep, pictures=pictures)
    if best is not None and noise is not None:
        near = [trial for trial in others if abs(trial.value - best.value) <= noise + 1e-12]  # type: ignore[operator]
        cheapest = min([best, *near], key=lambda trial: trial.seconds)
    if wall_seconds is None:
        wall_seconds = max((e.get("elapsed", 0.0) for t in trials for e in t.epochs[-1:]), default=0.0)
    return Answer(
        best=best,
        complete=len(others) + (best is not None),
        gap=gap_to_second(trials, mode=sweep.mode),
        pictures=pictures,
        noise=noise,
        within_noise=None if noise is None else len(near),
        cheapest=cheapest,
        epochs=sum(len(trial.epochs) for trial in trials),
        trial_seconds=sum(trial.seconds for trial in trials),
        wall_seconds=wall_seconds,
    )


def pictures_of(sweep: Sweep, split: str) -> int:
    """How many pictures a split has. (In the counts by label, one picture may stand several times or never.)"""
    data = sweep.record["data"]
    return data["pictures"].get(split, 0) if "pictures" in data else sum(data["counts"].get(split, {}).values())


def noise_of(value: float, *, sweep: Sweep, pictures: int) -> float | None:
    """The standard error of a value of the sweep's metric on so many pictures; None where it is no share of them."""
    share = sweep.task == "classification" and sweep.metric in _SHARES
    return standard_error(value, pictures=pictures) if share and pictures else None


def standard_error(share: float, *, pictures: int) -> float:
    """The binomial standard error of a share of so many pictures, above 0 even where all of them are right.

    By the adjustment of Agresti and Coull ("Approximate is better than exact for interval estimation of binomial
    proportions", 1998): as if four more pictures had been seen, two of them right.
    """
    seen = pictures + 4
    adjusted = (share * pictures + 2) / seen
    return math.sqrt(adjusted * (1 - adjusted) / seen)


def winner_file(sweep: Sweep, trial: TrialRecord) -> str:
    """A sweep file of one trial that has this one's settings, pictures, starting weights and seeds.

    What is left out has this version's default. Paths are absolute, so the file can lie anywhere on the machine that
    ran the sweep.
    """
    spec = sweep.record["spec"]
    base = Path(sweep.record["base"])
    data = _changed(spec["data"], DataSettings())
    data |= {name: str(_absolute(data[name], base=base)) for name in ("path", "root") if data.get(name)}
    data["keep_px"] = sweep.record["data"]["short_side"]
    settings = {**trial.settings, "weights": _weights(sweep, trial.settings, base=base)}
    document = {
        "data": {"source": spec["data"]["source"], **data},
        "trial": {"model": trial.settings["model"], **_changed(settings, TrialSettings())},
        "search": {"trials": 1, "metric": sweep.metric, "pruner": "none", "seed": spec["search"].get("seed", 0)},
        "resources": _resources(sweep),
    }
    version = sweep.record["versions"].get("tuneyard")
    head = f"# one trial on its own, as trial {trial.number} of its sweep was (tuneyard {version})\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=False, width=100)


def _changed(values: Mapping[str, Any], defaults: object) -> dict[str, Any]:
    """The values that are not the defaults; some settings may only be given where they mean something."""
    return {name: value for name, value in values.items() if value != getattr(defaults, name, None)}


def _resources(sweep: Sweep) -> dict[str, Any]:
    """What a trial was given. `auto` for what trials share depends on the disk's free room, so the record's stands."""
    given = sweep.record["spec"]["resources"]
    kept = {name: given[name] for name in ("cpus_per_trial", "gpus_per_trial", "shared_gb") if name in given}
    shared = sweep.record.get("sharing_bytes")
    if kept.get("shared_gb") == "auto" and shared is not None:
        gigabytes = shared / 10**9
        # Read back, it is cut to whole bytes: the next number up where a rounded one would lack one.
        kept["shared_gb"] = gigabytes if int(gigabytes * 10**9) == shared else math.nextafter(gigabytes, math.inf)
    return kept


def _weights(sweep: Sweep, settings: Mapping[str, Any], *, base: Path) -> str:
    """What the trial's weights came to, so that `auto` is not decided anew.

    Where the head was taken too, it is the folder that is named: a file by itself is taken without its head.
    """
    known = sweep.starting_weights(settings)
    if known["kind"] != "file":
        return known["kind"]
    path = _absolute(known["path"] or settings["weights"], base=base)
    return str(path.parent if known.get("head") and (path.parent / DESCRIPTION).is_file() else path)


def _absolute(path: str, *, base: Path) -> Path:
    return base / expanded(path)
