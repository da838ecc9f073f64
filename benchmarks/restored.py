"""The peer of the kill test: plain `Tuner` + `OptunaSearch` + `ASHAScheduler`, taken up again by `Tuner.restore`.

    python -m benchmarks.restored work.json FOLDER RAY_FOLDER       # starts the sweep, or goes on with it

As Ray's documentation has it: a checkpoint is reported with every epoch, and a trial that is started again loads its
last one. The sampler has a seed, and one trial runs at a time. For the test alone, each epoch and each trial's end adds
a line to `FOLDER/observed.jsonl`, and the end of the sweep writes `FOLDER/result.json`.
"""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from benchmarks.peers import space_of, train_one
from benchmarks.work import Config, Work

EXPERIMENT = "peer"


def key_of(config: Config) -> str:
    """A trial by its configuration: Ray gives one that it starts anew another identifier."""
    return json.dumps({name: config[name] for name in sorted(space_of(Work(**config["work"])))})


def observe(folder: str, **facts: Any) -> None:
    with (Path(folder) / "observed.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts) + "\n")


def trainable(config: Config) -> None:
    """A trial that goes on from its last checkpoint."""
    torch.set_num_threads(1)
    work, state = Work(**config["work"]), None
    if checkpoint := tune.get_checkpoint():
        with checkpoint.as_directory() as saved:
            state = torch.load(Path(saved) / "state.pt", weights_only=True)
    for metrics, after in train_one(config, work, state):
        observe(config["folder"], event="epoch", key=key_of(config), epoch=after["epoch"], **metrics)
        with tempfile.TemporaryDirectory() as folder:
            torch.save(after, Path(folder) / "state.pt")
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))


class Observer(tune.Callback):
    """Notes the end of each trial, be it complete or stopped early."""

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **info: Any) -> None:
        observe(trial.config["folder"], event="end", key=key_of(trial.config))


def one_core() -> Any:
    return tune.with_resources(trainable, {"cpu": 1})


def new_tuner(work: Work, folder: Path) -> tune.Tuner:
    return tune.Tuner(
        one_core(),
        param_space={"work": dataclasses.asdict(work), "folder": str(folder)},
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=work.trials,
            max_concurrent_trials=1,
            search_alg=OptunaSearch(space_of(work), metric="val_accuracy", mode="max", seed=work.seed),
            scheduler=ASHAScheduler(max_t=work.epochs, grace_period=1, reduction_factor=3),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str(folder),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            callbacks=[Observer()],
            verbose=0,
        ),
    )


def _row(result: tune.Result) -> list[Any]:
    metrics = result.metrics or {}
    return [key_of(result.config or {}), metrics.get("training_iteration"), metrics.get("val_accuracy")]


def main() -> None:
    work, folder, ray_folder = Work.load(Path(sys.argv[1])), Path(sys.argv[2]).resolve(), sys.argv[3]
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=ray_folder)
    experiment = str(folder / EXPERIMENT)
    begun = tune.Tuner.can_restore(experiment)
    tuner = tune.Tuner.restore(experiment, one_core(), resume_errored=True) if begun else new_tuner(work, folder)
    results = tuner.fit()
    rows = [_row(results[number]) for number in range(len(results))]
    (folder / "result.json").write_text(json.dumps(rows), encoding="utf-8")
    ray.shutdown()


if __name__ == "__main__":
    main()
