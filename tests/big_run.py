"""Makes a large run's folder in seconds: the journal's lines are written as text, without a study.

run = make_big_run(tmp_path, trials=10_000, epochs=25)
"""

import dataclasses
import json
import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json

from reports.ledger import JOURNAL
from runs import make_epoch, make_run
from tuning.space import Choice, Float, distribution
from tuning.spec import SearchSettings, Spec

SPACE = {
    "lr": Float(1e-5, 1e-1, log=True),
    "momentum": Float(0.5, 0.99),
    "freeze": Choice(("none", "layer2", "layer3", "backbone")),
    "optimizer": Choice(("sgd", "adamw")),
    "batch_size": Choice((16, 32, 64)),
    "gamma": Float(0.1, 0.9),
}
_STUDY_NOTE, _CREATE, _PARAM, _STATE, _VALUE, _NOTE = 2, 4, 5, 6, 7, 8  # op codes of Optuna's journal
_COMPLETE, _PRUNED, _FAIL = 1, 2, 3  # and states of its trials
_BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def make_big_run(runs: Path, *, trials: int, epochs: int, name: str = "big", seed: int = 0) -> Path:
    """A finished sweep of that many trials: most complete, some pruned after a third of the epochs, few failed."""
    run = make_run(runs, name=name, trials=[])
    draw = random.Random(seed)
    spec = Spec(
        trial={"model": "resnet18", "image_size": 32, "epochs": epochs, "weights": "none"},
        space=SPACE,
        search=SearchSettings(trials=trials),
    )
    record = json.loads((run / "sweep.json").read_text(encoding="utf-8"))
    (run / "sweep.json").write_text(json.dumps({**record, "spec": spec.to_json()}), encoding="utf-8")
    distributions = {name: distribution(dimension) for name, dimension in SPACE.items()}
    as_json = {name: distribution_to_json(known) for name, known in distributions.items()}
    with (run / JOURNAL).open("a", encoding="utf-8") as journal:

        def write(op_code: int, **facts: Any) -> None:
            journal.write(json.dumps({"op_code": op_code, "worker_id": "w", **facts}, separators=(",", ":")) + "\n")

        for number in range(trials):
            began = _BEGAN + timedelta(seconds=10 * number)
            write(_CREATE, study_id=0, datetime_start=began.isoformat())
            params: dict[str, Any] = {}
            for name, dimension in SPACE.items():
                if isinstance(dimension, Choice):
                    params[name] = draw.choice(dimension.values)
                else:
                    low, high = (math.log(x) if dimension.log else x for x in (dimension.low, dimension.high))
                    value = draw.uniform(low, high)
                    params[name] = min(dimension.high, math.exp(value)) if dimension.log else value
                internal = distributions[name].to_internal_repr(params[name])
                write(_PARAM, trial_id=number, param_name=name, param_value_internal=internal,
                      distribution=as_json[name])  # fmt: skip
            settings = dataclasses.asdict(spec.settings_for(params))
            write(_NOTE, trial_id=number, user_attr={"settings": settings})
            fate = draw.choices((_COMPLETE, _PRUNED, _FAIL), (0.7, 0.27, 0.03))[0]
            ran = {_COMPLETE: epochs, _PRUNED: max(1, epochs // 3), _FAIL: 1}[fate]
            peak = math.exp(-((math.log10(params["lr"]) + 2.5) ** 2) / 4)
            best = 0.0
            for epoch in range(1, ran + 1):
                accuracy = min(1.0, max(0.0, peak * (1 - 0.7**epoch) + draw.uniform(-0.03, 0.03)))
                best = max(best, accuracy)
                facts = make_epoch(number, epoch, val_accuracy=accuracy, val_loss=1 - accuracy)
                write(_NOTE, trial_id=number, user_attr={f"epoch:{epoch:05d}": facts})
                write(_VALUE, trial_id=number, step=epoch, intermediate_value=best)
            if fate == _FAIL:
                write(_NOTE, trial_id=number, user_attr={"error": f"diverged at lr {params['lr']:.3g}"})
            write(_NOTE, trial_id=number, user_attr={"order": number})
            write(_STATE, trial_id=number, state=fate, values=[best] if fate == _COMPLETE else None,
                  datetime_complete=(began + timedelta(seconds=9)).isoformat())  # fmt: skip
        write(_STUDY_NOTE, study_id=0, user_attr={"outcome": "trials"})
    return run
