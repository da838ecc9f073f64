"""Ray Tune executes, the conductor decides: the adapter between the two.

    engine = Engine(conductor, job_config=…, resources={"CPU": 1}, scratch=folder, logs=run / "logs")
    engine.run(must_end=lambda: False)        # returns when the conductor has no more to do

Ray sees three small objects: a searcher that hands out the conductor's jobs, a scheduler that brings it their
results, and a stopper that asks whether to end. A Ray trial is a place to work at, not a trial of the sweep: it has a
process, and when a trial of the sweep ends there it is handed the next one. So a trial costs Ray two messages, however
many there were before. Ray's own experiment state is written to a scratch folder and never read.
"""

import os
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from trainables.ray_worker import REPORT_FIELDS, Worker
from tuning.conductor import NODE_LOST, Conductor, Job, NoJob

# Ray trials in all; the conductor ends the sweep, so this only must be large.
_MANY = 2**31

_ENVIRONMENT = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # signals are the runner's
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # nothing reads Ray's snapshots
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # All places to work at are made at once; by itself Ray asks for one more than it has room for.
    "TUNE_MAX_PENDING_TRIALS_PG": str(_MANY),
}

# A worker's reports come one by one, for the answer to one may be another trial.
_ALWAYS = {"TUNE_RESULT_BUFFER_LENGTH": "1"}


class Engine:
    """Runs a conductor's jobs on the Ray cluster this process is connected to.

    Args:
        job_config: the whole config of a job's Ray trial.
        resources: of one trial, such as `{"CPU": 1, "GPU": 0.5}`.
        scratch: a folder that Ray may fill; of no use afterwards.
        logs: where tracebacks of failed trials are written.
        worker: what a Ray trial is.
    """

    def __init__(
        self,
        conductor: Conductor,
        *,
        job_config: Callable[[Job], dict[str, Any]],
        resources: Mapping[str, float],
        scratch: Path,
        logs: Path,
        worker: type[Worker] = Worker,
    ) -> None:
        self._conductor, self._job_config = conductor, job_config
        self._resources, self._scratch, self._logs, self._worker = dict(resources), scratch, logs, worker

    def run(self, *, must_end: Callable[[], bool]) -> None:
        """Works until the conductor is done. `must_end` is asked about ten times a second; True ends it at once."""
        fault = _Fault()
        with _environment(_ENVIRONMENT, always=_ALWAYS):
            tuner = tune.Tuner(
                tune.with_resources(self._worker, self._resources),
                tune_config=tune.TuneConfig(
                    search_alg=_LedgerSearcher(self._conductor, self._job_config, fault=fault),
                    scheduler=_LedgerScheduler(self._conductor, self._job_config, logs=self._logs, fault=fault),
                    num_samples=_MANY,
                    reuse_actors=True,
                ),
                run_config=tune.RunConfig(
                    name="scratch",
                    storage_path=str(self._scratch),
                    stop=_Ending(must_end, fault=fault),
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a trial makes its own
                    verbose=0,
                ),
            )
            tuner.fit()
        if fault.error is not None:
            raise fault.error


class _Fault:
    """An error in our own code, inside a call from Ray, which would only log it or blame the trial."""

    error: BaseException | None = None

    @contextmanager
    def kept(self):
        """Keeps the first error. After it nothing more is asked of the conductor: the sweep ends at the next step."""
        try:
            yield
        except Exception as error:
            self.error = self.error or error


class _Unsaved:
    """Ray pickles whole experiments on its own schedule; of our objects there is nothing to save."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _LedgerSearcher(_Unsaved, Searcher):
    """Hands Ray the first job of each place to work at."""

    def __init__(self, conductor: Conductor, job_config: Callable[[Job], dict[str, Any]], *, fault: _Fault) -> None:
        super().__init__()
        self._conductor, self._job_config, self._fault = conductor, job_config, fault

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:  # type: ignore[override]
        if self._fault.error is not None:
            return Searcher.FINISHED
        with self._fault.kept():
            job = self._conductor.next_job(cold=True)
            if isinstance(job, Job):
                return self._job_config(job)
            return Searcher.FINISHED if job is NoJob.DONE else None
        return Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing: the scheduler hears of it first."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all state is the ledger's."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its ledger, not from Ray's state")

    def get_state(self) -> dict:
        return {}


class _LedgerScheduler(_Unsaved, FIFOScheduler):
    """Brings the conductor what trials report, and the workers what to do next."""

    def __init__(
        self, conductor: Conductor, job_config: Callable[[Job], dict[str, Any]], *, logs: Path, fault: _Fault
    ) -> None:
        super().__init__()
        self._conductor, self._job_config, self._logs, self._fault = conductor, job_config, logs, fault

    def on_trial_result(self, controller, trial, result: dict[str, Any]) -> str:
        if self._fault.error is not None:
            return TrialScheduler.STOP
        with self._fault.kept():
            if result["number"] != trial.config["number"]:
                return TrialScheduler.CONTINUE  # of a trial that this place has left
            if self._goes_on(trial.config["number"], result):
                return TrialScheduler.CONTINUE
            job = self._conductor.next_job()
            if isinstance(job, Job):
                trial.set_config(self._job_config(job))
                # Its process takes calls in the order in which they are made, and Ray's next one is `train`.
                trial.temporary_state.ray_actor.reset_config.remote(trial.config)
                return TrialScheduler.CONTINUE
        return TrialScheduler.STOP

    def _goes_on(self, number: int, result: dict[str, Any]) -> bool:
        """Takes a report in. Returns whether its trial is to be gone on with."""
        if "epoch" in result:
            return self._conductor.epoch_done(number, {key: result[key] for key in REPORT_FIELDS if key in result})
        if "storage" in result:
            self._conductor.storage_failed(result["storage"])
        elif "failure" in result:
            if "traceback" in result:
                self._keep_traceback(number, result["traceback"])
            if "out_of_memory" in result:
                self._conductor.out_of_gpu_memory(number, result["failure"])
            else:
                self._conductor.trial_failed(number, result["failure"])
        return False

    def on_trial_complete(self, controller, trial, result: dict[str, Any]) -> None:
        """The whole sweep ends. The conductor knows, unless Ray ended it of itself."""
        self._lost(trial, "Ray stopped it")

    def on_trial_error(self, controller, trial) -> None:
        self._lost(trial, _reason(trial))

    def _lost(self, trial, reason: str) -> None:
        if self._fault.error is None:
            with self._fault.kept():
                self._conductor.worker_lost(trial.config["number"], reason)

    def _keep_traceback(self, number: int, text: str) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        (self._logs / f"trial-{number}.txt").write_text(text, encoding="utf-8")


class _Ending(_Unsaved, Stopper):
    """Asks, at each of Ray's steps, whether the sweep ends now."""

    def __init__(self, must_end: Callable[[], bool], *, fault: _Fault) -> None:
        self._must_end, self._fault = must_end, fault

    def __call__(self, trial_id: str, result: dict) -> bool:
        return False

    def stop_all(self) -> bool:
        with self._fault.kept():
            return self._must_end() or self._fault.error is not None
        return True


def _reason(trial) -> str:
    """Why Ray gave up on an attempt, in a few words."""
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        text = ""
    if "low on memory" in text:
        return "out of memory: the machine ran short and its process was ended; use fewer workers or smaller batches"
    if "its node has died" in text or "The actor is temporarily unavailable" in text:
        return NODE_LOST
    if "process has died" in text or "died unexpectedly" in text:
        return "its process died (killed, or out of memory)"
    lines = [line for line in text.splitlines() if line.strip()]
    places = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    # Behind a traceback, an error's first line: CUDA's go on for several, about what to set for debugging.
    told = (line for line in lines[places[-1] + 1 :] if not line.startswith(" ")) if places else reversed(lines)
    return next(told, "reason unknown").strip()


@contextmanager
def _environment(values: Mapping[str, str], *, always: Mapping[str, str]):
    """Environment variables for a while; what the user set himself stays, but for those in `always`."""
    set_now = {**{name: value for name, value in values.items() if name not in os.environ}, **always}
    before = {name: os.environ.get(name) for name in set_now}
    os.environ.update(set_now)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
