"""The report folder: a pure function of a sweep's folder.

    for path in write_report(Sweep.open(run), run / "report"):
        print(path)

Works while the sweep runs, after a crash, and before its first trial. Each file is replaced whole.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.answers import winner_file
from reports.best_section import add_best_model
from reports.comparison_section import add_comparisons
from reports.folders import refuse_link
from reports.json_text import json_text
from reports.leaderboard_section import add_leaderboard
from reports.page import Page
from reports.picture_sections import add_settings, add_trials
from reports.ranking import ranked
from reports.record_section import add_record
from reports.results import Results
from reports.sections import add_answer, lead
from reports.sweep import Sweep
from reports.tables import (
    Table,
    escaped,
    headlines,
    leaderboard,
    markdown,
    records,
    shown,
    to_csv,
    varying_settings,
)
from reports.tested import score_on_test
from trainables.errors import UserError
from trainables.files import replaced
from trainables.wording import counted

SCHEMA = 1
PAGE, DATA, WINNER = "index.html", "report.json", "best.yaml"


def write_report(sweep: Sweep, folder: Path) -> list[Path]:
    """Writes `index.html`, `leaderboard.md`, `leaderboard.csv`, `report.json` and, once a trial is complete,
    `best.yaml`: a sweep file that trains the best trial again.

    Returns:
        The files' paths.

    Raises:
        UserError: the folder cannot be written, holds a page that is no report, or is a link in the sweep's.
    """
    refuse_link(folder, run=sweep.folder)
    refuse_other_page(folder, beside=DATA)
    results = Results.of(sweep)
    best = results.answer.best
    texts = {
        PAGE: _page(results, folder),
        "leaderboard.md": _markdown(results),
        "leaderboard.csv": _csv(results),
        DATA: json_text(_document(results)) + "\n",
    }
    if best is not None:
        texts[WINNER] = winner_file(sweep, best)
    write_texts(folder, texts)
    return [folder / name for name in texts]


def refuse_other_page(folder: Path, *, beside: str) -> None:
    """Raises UserError where a folder has a page without the file that we would have written beside it."""
    page = folder / PAGE
    try:
        other = page.exists() and not (folder / beside).exists()
    except OSError as error:
        raise _unwritable(folder, error) from error
    if other:
        raise UserError("the folder holds another page", where=str(page), hint="give another folder with -o")


def write_texts(folder: Path, texts: dict[str, str]) -> None:
    """Writes text files into a folder, each whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with replaced(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace")  # odd file names
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"the report cannot be written ({error.strerror or error})", where=str(folder), hint="give another folder"
    )


def _page(results: Results, folder: Path) -> str:
    page = Page(title=results.sweep.name, lead=lead(results))
    add_answer(page, results, reproduce=_reproduce(results, folder))
    add_leaderboard(page, results)
    add_comparisons(page, results)
    add_trials(page, results)
    add_settings(page, results)
    add_best_model(page, results)
    add_record(page, results)
    return page.html()


def _reproduce(results: Results, folder: Path) -> str | None:
    best = results.answer.best
    if best is None:
        return None
    name = f"{results.sweep.name}-trial-{best.number}"
    # Where the folder is a working copy's, few who read the page have it.
    file = WINNER if results.sweep.home else str(folder / WINNER)
    return f"tune search --space {shlex.quote(file)} --name {shlex.quote(name)}"


def _markdown(results: Results) -> str:
    """The leaderboard with the settings that differ, comparisons by choice, and the settings all trials share."""
    sweep, trials = results.sweep, results.trials
    lines = headlines(results.standing, gap=results.answer.gap)
    if results.answer.best is not None and (tested := score_on_test(sweep, results.answer.best)):
        lines.append(
            f"{tested.metric} {shown(tested.value)} on {counted(tested.pictures, 'picture')} that chose nothing"
        )
    text = f"# {escaped(shown(sweep.name))}\n\n" + "".join(f"- {escaped(shown(line))}\n" for line in lines)
    if not trials:
        return text
    varying = varying_settings(trials, explored=sweep.record["spec"]["space"])
    shared = {name: value for name, value in trials[0].settings.items() if name not in varying}
    sections = [
        _leaderboard(results, settings=varying),
        *results.comparisons,
        Table("The same in all trials", ("setting", "value"), tuple(shared.items())),
    ]
    return text + "".join(f"\n## {escaped(table.title)}\n\n{markdown(table)}" for table in sections)


def _csv(results: Results) -> str:
    """Every setting of every trial, the explored ones first."""
    settings = dict.fromkeys(results.sweep.record["spec"]["space"])
    settings.update(dict.fromkeys(name for trial in results.trials for name in trial.settings))
    return to_csv(_leaderboard(results, settings=list(settings)))


def _leaderboard(results: Results, *, settings: Sequence[str]) -> Table:
    return leaderboard(results.sweep, results.trials, settings=settings, sweep_state=results.standing["state"])


def _document(results: Results) -> dict[str, Any]:
    answer = results.answer
    tested = None if answer.best is None else score_on_test(results.sweep, answer.best)
    return {
        **results.standing,
        "schema": SCHEMA,
        "gap_to_second": answer.gap,
        "standard_error": answer.noise,
        "within_noise": answer.within_noise,
        "cheapest_within_noise": None if answer.cheapest is None else answer.cheapest.number,
        "test": None if tested is None else dataclasses.asdict(tested),
        "collapsed": results.collapsed and results.collapsed.to_json(),
        "cost": {
            "epochs": answer.epochs,
            "trial_seconds": answer.trial_seconds,
            "wall_seconds": answer.wall_seconds,
            "reading_seconds": results.sweep.record["data"].get("reading_s"),
        },
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
