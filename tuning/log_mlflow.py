"""A sweep's trials as runs of MLflow: on the server that `MLFLOW_TRACKING_URI` names, else in the run's own folder.

    log = MLflowLog(sweep)
    log.write(ledger.trials())          # again and again: what is new
    log.close()

    mlflow ui --backend-store-uri sqlite:///runs/resnet18/logs/mlflow.db

The experiment has the sweep's name. A trial's run is found again by its tags, also by another driver on another
machine, and is asked which steps of which metrics it has: no number is written twice.
"""

import hashlib
import math
import os
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from reports.folders import refuse_links
from reports.ledger import TrialRecord
from reports.sweep import Sweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "logs/mlflow.db"
SWEEP_TAG, TRIAL_TAG, STATE_TAG = "tuneyard.sweep", "tuneyard.trial", "tuneyard.state"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
_PAGE = 1000  # runs, and numbers in one request, that a server allows
_LONGEST = 500  # characters of a parameter


class MLflowLog:
    """Metrics by the ledger's names (`val_loss`, `lr`, …), a step an epoch; all settings of a trial as parameters.

    Args:
        sweep: the sweep; its driver is the only writer.

    Raises:
        UserError: the database or its folder is a link, which a run from a stranger might hold.
    """

    def __init__(self, sweep: Sweep) -> None:
        refuse_links(sweep.folder, DATABASE, *(DATABASE + suffix for suffix in ("-journal", "-wal", "-shm")))
        self._sweep = sweep
        self._created_ms = int(datetime.fromisoformat(sweep.record["created"]).timestamp() * 1000)
        # A sweep may be renamed and moved; when it was made, and from which file, stays.
        content = f"{sweep.record['created']} {sweep.record['file']}"
        self._sweep_id = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._runs: dict[int, Any] = {}
        self._steps: dict[int, dict[str, int]] = {}  # of a trial: each metric's last step there
        self._described: set[int] = set()  # trials whose parameters this driver has written
        self._done: set[int] = set()

    def write(self, trials: Sequence[TrialRecord]) -> None:
        client = self._client or self._connect()
        for trial in trials:
            if trial.number not in self._done:
                self._write(client, trial)

    def close(self) -> None:
        pass

    def _connect(self) -> "MlflowClient":
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # else MLflow tells its makers of its use
        from mlflow import MlflowClient

        local = self._sweep.folder.resolve() / DATABASE
        server = os.environ.get("MLFLOW_TRACKING_URI")
        if not server:
            local.parent.mkdir(exist_ok=True)
        client = MlflowClient(tracking_uri=server or f"sqlite:///{local}")
        experiment = client.get_experiment_by_name(self._sweep.name)
        # Nothing is put there, but without a server MLflow would note the current folder.
        artifacts = None if server else local.with_name("mlflow").as_uri()
        self._experiment = (
            experiment.experiment_id if experiment else client.create_experiment(self._sweep.name, artifacts)
        )
        self._find_runs(client)
        self._client = client
        return client

    def _find_runs(self, client: "MlflowClient") -> None:
        """The runs that an earlier driver made of this sweep's trials."""
        token = None
        while True:
            page = client.search_runs(
                [self._experiment], f"tags.`{SWEEP_TAG}` = '{self._sweep_id}'", max_results=_PAGE, page_token=token
            )
            for run in page:
                number = int(run.data.tags[TRIAL_TAG])
                self._runs[number] = run.info.run_id
                if run.info.status != "RUNNING" and STATE_TAG in run.data.tags:
                    self._done.add(number)
                else:
                    self._steps[number] = {
                        name: max(point.step for point in client.get_metric_history(run.info.run_id, name))
                        for name in run.data.metrics
                    }
            token = page.token
            if not token:
                return

    def _write(self, client: "MlflowClient", trial: TrialRecord) -> None:
        from mlflow.entities import Metric, Param

        run = self._runs.get(trial.number) or self._begin(client, trial)
        if trial.number not in self._described:  # the same again does no harm
            params = [Param(name, str(value)[:_LONGEST]) for name, value in trial.settings.items()]
            client.log_batch(run, params=params)
            self._described.add(trial.number)
        steps = self._steps.setdefault(trial.number, {})
        points = [
            Metric(name, value, self._created_ms + int(epoch["elapsed"] * 1000), epoch["epoch"])
            for epoch in trial.epochs
            for name, value in epoch.items()
            if _is_metric(name, value) and epoch["epoch"] > steps.get(name, 0)
        ]
        best = f"best_{self._sweep.metric}"
        if trial.state in _STATUS and trial.value is not None and trial.best_epoch is not None and best not in steps:
            points.append(Metric(best, trial.value, self._created_ms, trial.best_epoch))
        for start in range(0, len(points), _PAGE):
            client.log_batch(run, metrics=points[start : start + _PAGE])
        steps.update({point.key: point.step for point in points})
        if trial.state in _STATUS:
            self._end(client, run, trial)

    def _begin(self, client: "MlflowClient", trial: TrialRecord) -> str:
        tags = {SWEEP_TAG: self._sweep_id, TRIAL_TAG: str(trial.number)}
        started = datetime.fromisoformat(trial.started) if trial.started else datetime.now()
        name = f"trial-{trial.number:05d}"
        run = client.create_run(self._experiment, int(started.timestamp() * 1000), tags=tags, run_name=name)
        self._runs[trial.number] = run.info.run_id
        return run.info.run_id

    def _end(self, client: "MlflowClient", run: str, trial: TrialRecord) -> None:
        if trial.error:
            client.set_tag(run, "tuneyard.error", trial.error[:_LONGEST])
        client.set_tag(run, STATE_TAG, trial.state)
        ended = datetime.fromisoformat(trial.ended) if trial.ended else datetime.now()
        client.set_terminated(run, _STATUS[trial.state], end_time=int(ended.timestamp() * 1000))
        self._done.add(trial.number)


def _is_metric(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and name not in ("epoch", "elapsed")
