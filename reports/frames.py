"""A sweep as pandas data frames, for notebooks and tables.

    from reports.frames import epochs_frame, trials_frame

    trials = trials_frame("runs/resnet18")
    trials[trials.state == "complete"].groupby("freeze").value.max()
    epochs_frame("runs/resnet18").pivot(index="epoch", columns="number", values="val_accuracy")

This is the one module of the three packages that imports pandas.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from reports.ledger import TrialRecord
from reports.sweep import Sweep

TRIAL_COLUMNS = ("number", "state", "value", "best_epoch", "epochs_run", "seconds", "error")
EPOCH_COLUMNS = (
    "number",
    "epoch",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "lr",
    "seconds",
    "elapsed",
    "checkpoint",
)


def trials_frame(run: Sweep | Path | str) -> pd.DataFrame:
    """A row a trial, in the order of their numbers.

    Columns: `number`, `state`, `value` (the best epoch's score), `best_epoch`, `epochs_run`, `seconds` (in recorded
    epochs), `error`, then one for every setting the trials ran with, explored or not.

    Raises:
        UserError: the folder holds no sweep.
    """
    return frame_of_trials(_sweep(run).ledger().trials())


def epochs_frame(run: Sweep | Path | str) -> pd.DataFrame:
    """A row an epoch, by trial number and epoch: its numbers under the names of the record, as far as there are any.

    `lr` is the rate the epoch ran with; `elapsed` the sweep's wall time in seconds when it ended; `checkpoint` a path
    relative to the run's folder.

    Raises:
        UserError: the folder holds no sweep.
    """
    trials = _sweep(run).ledger().trials()
    rows = [{"number": trial.number, **epoch} for trial in trials for epoch in trial.epochs]
    frame = pd.DataFrame(rows, columns=None if rows else pd.Index(EPOCH_COLUMNS))
    first = [name for name in EPOCH_COLUMNS if name in frame.columns]  # a regression has no accuracy
    return frame.reindex(columns=[*first, *(name for name in frame.columns if name not in first)])


def frame_of_trials(trials: Sequence[TrialRecord]) -> pd.DataFrame:
    """`trials_frame` of trials that have been read already."""
    rows = [
        {
            **trial.settings,
            "number": trial.number,
            "state": trial.state,
            "value": trial.value,
            "best_epoch": trial.best_epoch,
            "epochs_run": len(trial.epochs),
            "seconds": trial.seconds,
            "error": trial.error,
        }
        for trial in trials
    ]
    frame = pd.DataFrame(rows)
    settings = [name for name in frame.columns if name not in TRIAL_COLUMNS]
    frame = frame.reindex(columns=[*TRIAL_COLUMNS, *settings])
    return frame.astype({"number": "int64", "best_epoch": "Int64", "epochs_run": "int64", "value": "float64"})


def _sweep(run: Sweep | Path | str) -> Sweep:
    return run if isinstance(run, Sweep) else Sweep.open(Path(run))
