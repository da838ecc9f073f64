"""Makes runs whose trials were really trained, in the order of writes of a sweep's driver, without Ray.

run = train_run(tmp_path, DataSettings(source="digits"), [TrialSettings(model="small_cnn", weights="none")])
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from reports.ledger import JOURNAL, Ledger
from reports.record import METRICS
from runs import make_run
from trainables.data.cache import cache_folder
from trainables.data.catalog import SPLITS
from trainables.data.pixels import build_store
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.transforms import short_side_for
from trainables.files import checkpoint_path
from trainables.finetune import finetune
from trainables.models.weights import Weights
from trainables.settings import TrialSettings
from tuning.space import Choice, Float, distribution


def train_run(
    root: Path,
    data: DataSettings,
    trials: Sequence[TrialSettings],
    *,
    weights_of: Callable[[TrialSettings], Weights] = lambda settings: Weights("none", None, None, "random"),
    metric: str = "val_accuracy",
    params: Sequence[str] = (),
) -> Path:
    """The run's folder, `root/runs/resnet18`: all trials complete, every checkpoint there.

    `params` are the settings that count as explored, of `lr` and `freeze`.
    """
    run = make_run(root / "runs", trials=[], metric=metric)
    short = max(short_side_for(settings.image_size, settings.center_crop) for settings in trials)
    store = build_store(read_catalog(data, base=root), short_side=short, cache=cache_folder(), on_bad_image="error")
    record = json.loads((run / "sweep.json").read_text())
    record |= {
        "task": store.task,
        "classes": list(store.classes),
        "channels": store.channels,
        "weights": {},
        "base": str(root),
        "hardware": {"gpus": [], "fast_bf16": False},
    }
    record["spec"]["data"] = dataclasses.asdict(data)
    record["data"] = {
        "fingerprint": store.fingerprint,
        "short_side": store.short_side,
        "counts": store.counts(),
        "pictures": {split: len(store.indices(split)) for split in SPLITS},
        "normalization": {"mean": store.mean, "std": store.std},
        "skipped": [],
    }
    (run / JOURNAL).unlink()
    ledger = Ledger.create(run, metric=metric, mode=METRICS[metric])  # type: ignore[index]
    stages = tuple(dict.fromkeys(settings.freeze for settings in trials))
    space = {"lr": Float(1e-5, 1e-1, log=True), "freeze": Choice(stages)}
    for settings in trials:
        weights = weights_of(settings)
        record["weights"].setdefault(settings.weights, {})[settings.model] = dataclasses.asdict(weights)
        ledger.study.enqueue_trial({name: getattr(settings, name) for name in params})
        number = ledger.study.ask({name: distribution(space[name]) for name in params}).number
        ledger.record_settings(number, dataclasses.asdict(settings))
        for result in finetune(settings, store=store, data_seed=0, weights=weights):
            checkpoint = checkpoint_path(number, result.epoch)
            result.snapshot().save(run / checkpoint)
            ledger.record_epoch(number, {**result.metrics(), "elapsed": 0.0, "checkpoint": checkpoint})
        ledger.finish(number, "complete")
    (run / "sweep.json").write_text(json.dumps(record))
    return run
