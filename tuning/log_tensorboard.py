"""A sweep's trials as TensorBoard reads them: a folder a trial, under `logs/tensorboard` of the run.

    log = TensorBoardLog(sweep)
    log.write(ledger.trials())          # again and again: what is new
    log.close()

    tensorboard --logdir runs/resnet18/logs/tensorboard

An event file can only be added to, and one that a killed driver left may end anywhere. So a trial that has ended is
marked and never touched again, and any other is written anew by the driver that goes on with it.
"""

import shutil
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports.folders import refuse_links
from reports.ledger import ENDED, TrialRecord
from reports.sweep import Sweep

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "logs/tensorboard"
_DONE = ".complete"


class TensorBoardLog:
    """Scalars by the ledger's names (`val_loss`, `lr`, …), a step an epoch; hyperparameters with the trial's value.

    Args:
        sweep: the sweep; its driver is the only writer.

    Raises:
        UserError: the folder is a link, which a run from a stranger might hold.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._folder = sweep.folder / FOLDER
        refuse_links(sweep.folder, FOLDER)
        self._metric = sweep.metric
        self._created = datetime.fromisoformat(sweep.record["created"]).timestamp()
        self._writers: dict[int, SummaryWriter] = {}
        self._epochs: dict[int, int] = {}  # of each open trial: how many are written
        self._done: set[int] = set()

    def write(self, trials: Sequence[TrialRecord]) -> None:
        for trial in trials:
            if trial.number not in self._done:
                self._write(trial)

    def close(self) -> None:
        for writer in self._writers.values():
            writer.close()

    def _write(self, trial: TrialRecord) -> None:
        folder = self._folder / f"trial-{trial.number:05d}"
        if trial.number not in self._writers:
            if (folder / _DONE).exists():
                self._done.add(trial.number)
                return
            self._writers[trial.number] = _fresh(folder)
        writer = self._writers[trial.number]
        written = self._epochs.get(trial.number, 0)
        for epoch in trial.epochs[written:]:
            for name, value in epoch.items():
                if name not in ("epoch", "elapsed") and _is_number(value):
                    writer.add_scalar(name, value, epoch["epoch"], walltime=self._created + epoch["elapsed"])
        self._epochs[trial.number] = len(trial.epochs)
        if trial.state in ENDED:
            self._add_hparams(writer, trial)
            writer.close()
            (folder / _DONE).touch()
            self._done.add(trial.number)
            del self._writers[trial.number]
        elif len(trial.epochs) > written:
            writer.flush()

    def _add_hparams(self, writer: "SummaryWriter", trial: TrialRecord) -> None:
        """What `SummaryWriter.add_hparams` does, but in the trial's own folder and not in one below it."""
        from torch.utils.tensorboard.summary import hparams

        metrics = {} if trial.value is None else {f"best_{self._metric}": trial.value}
        at = self._created + (trial.epochs[-1]["elapsed"] if trial.epochs else 0.0)
        known = {name: v if isinstance(v, bool | int | float) else str(v) for name, v in trial.params.items()}
        for summary in hparams({**known, "state": trial.state}, metrics):
            writer.file_writer.add_summary(summary, walltime=at)  # type: ignore[attr-defined]
        for name, value in metrics.items():
            writer.add_scalar(name, value, trial.best_epoch, walltime=at)


def _fresh(folder: Path) -> "SummaryWriter":
    """A writer on an empty folder; what a killed driver left there is written again."""
    from torch.utils.tensorboard import SummaryWriter

    if folder.exists():
        shutil.rmtree(folder)
    return SummaryWriter(str(folder))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
