"""All that a sweep is told, as a typed, frozen record; `spec_file` reads one from a sweep file and checks it.

spec.settings_for({"batch_size": 32}).lr                    # a whole TrialSettings
Spec.from_json(spec.to_json()) == spec
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from reports.record import METRICS
from trainables.data.sources import DataSettings
from trainables.settings import TrialSettings
from trainables.tasks import Metric, metric_for
from tuning import space as spaces
from tuning.space import Space

LoggerName = Literal["tensorboard", "mlflow"]


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """The `search:` section: how many trials, judged by what, chosen and stopped how."""

    trials: Annotated[int, Ge(1), Doc("Trials in all; failed ones count.")] = 24
    metric: Annotated[
        Literal["auto", Metric],
        Doc(
            "What is made best, on the validation pictures. Classification: `val_accuracy`, `val_top5`,"
            " `val_balanced_accuracy` (mean recall of the classes), `val_f1` (mean of the classes), `val_auroc` (one"
            " class against the rest). Multilabel: `val_map` (mean average precision), `val_accuracy` (of single"
            " labels), `val_f1`, `val_auroc`. Regression: `val_mae`, `val_rmse` (lowest; of several values the mean,"
            " each in its own units), `val_r2`. Any: `val_loss` (lowest). `auto`: the first of its task. Of equals the"
            " lower validation loss is best."
        ),
    ] = "auto"
    first: Annotated[
        list[dict[str, Any]] | None,
        Doc(
            "Trials to begin with, such as the settings in use so far: `- {lr: 0.001, freeze: none}`, one a line. The"
            " pruner stops them as any other."
        ),
    ] = None
    sampler: Annotated[
        Literal["tpe", "random", "grid"],
        Doc(
            "How trials are chosen: `tpe` learns from those before, `random` does not; `grid` is random, but takes no"
            " combination twice, and so needs choices or steps."
        ),
    ] = "tpe"
    pruner: Annotated[
        Literal["asha", "median", "none"],
        Doc("How poor trials are stopped early: `asha` (successive halving), `median` of the others, or `none`."),
    ] = "asha"
    grace_epochs: Annotated[int, Ge(1), Doc("Epochs that every trial gets before it may be stopped.")] = 1
    reduction_factor: Annotated[int, Ge(2), Doc("Of this many trials at a rung, `asha` lets one go on.")] = 3
    startup_trials: Annotated[
        int, Ge(0), Doc("Trials at random before `tpe` learns, and in full before `median` stops one.")
    ] = 10
    seed: Annotated[int, Ge(0), Doc("Seed of the sampler.")] = 0
    hours: Annotated[
        Annotated[float, Gt(0)] | None,
        Doc("Stop after this many hours of work, all runs together; trials then at work can be gone on with."),
    ] = None
    retries: Annotated[int, Ge(0), Doc("How often a trial whose process died is gone on with.")] = 3
    keep: Annotated[int, Ge(1), Doc("The best so many trials keep the weights of their best epoch.")] = 5
    max_same_errors: Annotated[
        int, Ge(1), Doc("The sweep stops after this many trials in a row fail with the same error.")
    ] = 5
    storage: Annotated[
        str | None,
        Doc(
            "A database that keeps the record, in place of the run's `journal.log`: `postgresql://user@host/name`,"
            " `mysql://…` or `sqlite:///file`. Its password comes from the environment, as `TUNEYARD_STORAGE_PASSWORD`"
            " or in the database's own way."
        ),
    ] = None
    logging: Annotated[
        list[LoggerName] | None,
        Doc(
            "Other tools to log the trials to as well: `tensorboard` (in `logs/tensorboard` of the run), `mlflow`"
            " (where `MLFLOW_TRACKING_URI` says, else `logs/mlflow.db` of the run)."
        ),
    ] = None

    @property
    def mode(self) -> Literal["max", "min"]:
        """Whether the metric is best when highest or when lowest."""
        return METRICS[self.metric]


@dataclass(frozen=True, kw_only=True)
class ResourceSettings:
    """The `resources:` section: what one trial is given, and how many run at once."""

    cpus_per_trial: Annotated[float, Gt(0), Doc("CPU cores of one trial; torch uses as many threads.")] = 1.0
    gpus_per_trial: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Le(1)],
        Doc(
            "GPUs of one trial: `auto`, 0, a share such as 0.5, or 1. `auto` is one where there is one, until a trial's"
            " memory has been measured; then as many trials share it as fit and have CPUs."
        ),
    ] = "auto"
    shared_gb: Annotated[
        Literal["auto"] | Annotated[float, Ge(0)],
        Doc(
            "Disk for what trials share, in GB (10⁹ bytes): their views of the pictures, and what frozen layers make of"
            " them. `auto` is a tenth of what was free when the sweep began, at most 20; 0 shares nothing."
        ),
    ] = "auto"
    workers: Annotated[
        Annotated[int, Ge(1)] | None, Doc("Most trials at once; empty for as many as the machine has room for.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A sweep, ready to run.

    trial: the settings that the file fixes, in their own types. defaults: those of the version that read the file, so
    that a resume under a later one does the same. base: the folder that a relative `data.path` or path of `weights` is
    seen from; it is no part of the record, nor of equality.
    """

    data: DataSettings = field(default_factory=DataSettings)
    trial: Mapping[str, Any] = field(default_factory=dict)
    space: Space = field(default_factory=dict)
    search: SearchSettings = field(default_factory=SearchSettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    defaults: Mapping[str, Any] = field(default_factory=lambda: dataclasses.asdict(TrialSettings()))
    base: Path = field(default=Path(), compare=False)

    def __post_init__(self) -> None:
        """Settles which metric `auto` is."""
        metric = metric_for(self.search.metric, task=self.data.task)
        object.__setattr__(self, "search", dataclasses.replace(self.search, metric=metric))

    def settings_for(self, params: Mapping[str, Any]) -> TrialSettings:
        """The settings of a trial that was given `params`; an explored setting not among them has its default."""
        return TrialSettings(**{**self.defaults, **self.trial, **params})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON without `base`; `from_json` gives an equal spec."""
        return {
            "data": dataclasses.asdict(self.data),
            "trial": dict(self.trial),
            "space": spaces.to_json(self.space),
            "search": dataclasses.asdict(self.search),
            "resources": dataclasses.asdict(self.resources),
            "defaults": dict(self.defaults),
        }

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> "Spec":
        """That of a run, by its `sweep.json`."""
        return cls.from_json(record["spec"], base=Path(record["base"]))

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], *, base: Path = Path()) -> "Spec":
        """The inverse of `to_json`; the caller knows `base`."""
        return cls(
            data=DataSettings(**plain["data"]),
            trial=plain["trial"],
            space=spaces.from_json(plain["space"]),
            search=SearchSettings(**plain["search"]),
            resources=ResourceSettings(**plain["resources"]),
            defaults=plain["defaults"],
            base=base,
        )
