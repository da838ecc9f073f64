"""The Ray edge: a process that runs the trials of a sweep, one after the other.

tune.Tuner(tune.with_resources(Worker, {"CPU": 1}), …)      # config: its first `TrialJob`, as a plain dict
"""

from collections.abc import Generator
from typing import Any

from ray import tune

from trainables.tasks import EPOCH_FIELDS

# The keys that an epoch's report may have.
REPORT_FIELDS = (*EPOCH_FIELDS, "gpu_share", "checkpoint")


class Worker(tune.Trainable):
    """One Ray trial, which stands for a place to work at: after a trial of the sweep it is given the next one.

    Each call of Ray's `train` is one report of `run_trial`, with the trial's number.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._take(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leaves the trial it is at, if any, and takes another. Called between two reports."""
        self._reports.close()
        self._take(new_config)
        return True

    def step(self) -> dict[str, Any]:
        report = next(self._reports, None)
        if report is None:
            raise RuntimeError("the trial ended without a word")
        return {"number": self._number, **report}

    def cleanup(self) -> None:
        self._reports.close()

    def _take(self, config: dict[str, Any]) -> None:
        self._number = config["number"]
        self._reports = self.run(config)

    @staticmethod
    def run(config: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """The reports of one trial."""
        from trainables.ray_trial import run_trial  # loads torch, which the driver's side of the engine does without

        return run_trial(config)
