"""The report folder: a pure function of a sweep's folder.

    for path in write_report(Sweep.open(run), run / "report"):
        print(path)

Works while the sweep runs, after a crash, and before its first trial. Each file is replaced whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reports.frames import frame_of_trials
from reports.ledger import TrialRecord
from reports.ranking import gap_to_second, ranked
from reports.sweep import Sweep, standing
from reports.tables import (
    Table,
    categorical_settings,
    comparison,
    escaped,
    headlines,
    leaderboard,
    markdown,
    records,
    shown,
    to_csv,
    varying_settings,
)
from trainables.errors import UserError
from trainables.files import replaced

SCHEMA = 1


def write_report(sweep: Sweep, folder: Path) -> list[Path]:
    """Writes `leaderboard.md`, `leaderboard.csv` and `leaderboard.json`.

    Returns:
        The files' paths.

    Raises:
        UserError: the folder cannot be written.
    """
    results = _Results.of(sweep)
    texts = {
        "leaderboard.md": _markdown(results),
        "leaderboard.csv": _csv(results),
        "leaderboard.json": json.dumps(_document(results), indent=2, ensure_ascii=False) + "\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replaced(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # odd file names
    except OSError as error:
        raise UserError(
            f"the report cannot be written ({error.strerror or error})", where=str(folder), hint="give another folder"
        ) from error
    return [folder / name for name in texts]


@dataclass(frozen=True)
class _Results:
    """All that the files are made of, from one reading of the ledger, so that they agree with each other."""

    sweep: Sweep
    trials: list[TrialRecord]
    standing: dict[str, Any]
    gap: float | None
    comparisons: list[Table]

    @classmethod
    def of(cls, sweep: Sweep) -> "_Results":
        ledger = sweep.ledger()
        trials = ledger.trials()
        frame = frame_of_trials(trials)
        return cls(
            sweep=sweep,
            trials=trials,
            standing=standing(sweep, ledger, trials),
            gap=gap_to_second(trials, mode=sweep.mode),
            comparisons=[comparison(frame, name, mode=sweep.mode) for name in categorical_settings(trials)],
        )


def _markdown(results: _Results) -> str:
    """The leaderboard with the settings that differ, comparisons by choice, and the settings all trials share."""
    sweep, trials = results.sweep, results.trials
    lines = headlines(results.standing, gap=results.gap)
    text = f"# {escaped(shown(sweep.name))}\n\n" + "".join(f"- {escaped(shown(line))}\n" for line in lines)
    if not trials:
        return text
    varying = varying_settings(trials, explored=sweep.record["spec"]["space"])
    shared = {name: value for name, value in trials[0].settings.items() if name not in varying}
    sections = [
        leaderboard(trials, metric=sweep.metric, mode=sweep.mode, settings=varying),
        *results.comparisons,
        Table("The same in all trials", ("setting", "value"), tuple(shared.items())),
    ]
    return text + "".join(f"\n## {escaped(table.title)}\n\n{markdown(table)}" for table in sections)


def _csv(results: _Results) -> str:
    """Every setting of every trial, the explored ones first."""
    sweep, trials = results.sweep, results.trials
    settings = dict.fromkeys(sweep.record["spec"]["space"])
    settings.update(dict.fromkeys(name for trial in trials for name in trial.settings))
    return to_csv(leaderboard(trials, metric=sweep.metric, mode=sweep.mode, settings=list(settings)))


def _document(results: _Results) -> dict[str, Any]:
    return {
        **results.standing,
        "schema": SCHEMA,
        "gap_to_second": results.gap,
        "leaderboard": [
            {
                "rank": rank,
                "number": trial.number,
                "state": trial.state,
                "value": trial.value,
                "best_epoch": trial.best_epoch,
                "epochs_run": len(trial.epochs),
                "seconds": round(trial.seconds, 3),
                "params": trial.params,
                "settings": trial.settings,
                "error": trial.error,
            }
            for rank, trial in enumerate(ranked(results.trials, mode=results.sweep.mode), start=1)
        ],
        "comparisons": {table.columns[0]: records(table) for table in results.comparisons},
    }
