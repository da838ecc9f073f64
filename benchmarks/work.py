"""What is trained in a comparison: the same pictures, configurations and epochs for every contestant.

    work = Work(pictures="digits.npz", model="resnet18", image_size=32, epochs=4, trials=8)
    work.configs()          # [{"lr": 0.0123, "batch_size": 32, "freeze": "none", …}, …], the same each time

Neither torch nor anything of tuneyard's is needed to read it, so that the peers stand on their own.
"""

import dataclasses
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BATCH_SIZES = (16, 32, 64)
LR = (1e-3, 3e-2)  # drawn on a logarithmic scale
MOMENTUM = (0.5, 0.95)
GAMMA = (0.1, 0.7)

Config = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Work:
    """One row of the comparison.

    pictures: a folder with `train/` and `val/`, or an `.npz` of small grey pictures: `{train,val}_images`, uint8
        [N, H, W], and `{train,val}_labels`, int64 [N].
    weights: a state dict with a 1000-class head; None starts from random weights.
    freeze: what is frozen, in turn from one configuration to the next: `none`, `backbone` (all but the final layer),
        or a ResNet's `layer2` or `layer3` (it and all before it).
    random_views: random resized crop and mirror in training; else the plain picture.
    cpus: cores of the machine that may be used; one trial gets one of them.
    tuned_peers: whether the peers too compute in channels_last and bf16, which no tutorial does.
    """

    pictures: str
    model: str
    image_size: int
    epochs: int
    trials: int
    weights: str | None = None
    freeze: tuple[str, ...] = ("none",)
    random_views: bool = False
    step_size: int = 3
    seed: int = 0
    cpus: int = 1
    tuned_peers: bool = False

    def configs(self) -> list[Config]:
        """The configurations to try, in order."""
        draw = random.Random(self.seed)
        return [
            {
                "lr": LR[0] * (LR[1] / LR[0]) ** draw.random(),
                "batch_size": draw.choice(BATCH_SIZES),
                "momentum": draw.uniform(*MOMENTUM),
                "gamma": draw.uniform(*GAMMA),
                "freeze": self.freeze[number % len(self.freeze)],
            }
            for number in range(self.trials)
        ]

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Work":
        plain = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**plain, "freeze": tuple(plain["freeze"])})


@dataclass(frozen=True)
class Score:
    """What a contestant made of the work.

    trials: how many finished. best: the best validation accuracy of any epoch, None where nothing is trained.
    trials_s: seconds inside the trials, all together, where that is known. at_once: how many of them ran side by side.
    """

    trials: int
    best: float | None
    trials_s: float | None = None
    at_once: int = 1
