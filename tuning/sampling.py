"""Which settings a trial gets, and which trials are cut short: functions of the ledger alone.

    study.sampler, study.pruner = build_sampler(search), build_pruner(search)
    params = suggest(study.ask(), spec.space)

Neither the sampler nor the pruner remembers anything between two calls. A suggestion depends on the sweep's seed, the
trial's number, the setting's name and the recorded history; a pruning decision on the recorded history. So both are the
same after a crash as without one.
"""

import bisect
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, BruteForceSampler, RandomSampler, TPESampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from reports.history import History, trial_of
from trainables.seeding import derive
from tuning.space import Space, distribution, is_active
from tuning.spec import SearchSettings
from tuning.window import Window


def suggest(trial: Trial, space: Space) -> dict[str, Any]:
    """A value for each setting of the space that applies. Settings suggested before a crash keep their values."""
    params: dict[str, Any] = {}
    for name, dimension in space.items():
        if is_active(dimension, params):
            params[name] = _suggest(trial, name, distribution(dimension))
    return params


def _suggest(trial: Trial, name: str, domain: BaseDistribution) -> Any:
    if isinstance(domain, CategoricalDistribution):
        return trial.suggest_categorical(name, domain.choices)
    if isinstance(domain, IntDistribution):
        return trial.suggest_int(name, domain.low, domain.high, step=domain.step, log=domain.log)
    assert isinstance(domain, FloatDistribution)
    return trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)


class SeededSampler(BaseSampler):
    """A sampler made anew, with a seed of its own, for each trial and each setting.

    A sampler that is seeded once repeats its first draws after a restart.

    Args:
        make: builds the underlying sampler from a seed below 2**32.
        seed: the sweep's seed.
        startup: how many ended trials the sampler waits for before it learns.
    """

    def __init__(self, make: Callable[[int], BaseSampler], *, seed: int, startup: int = 0) -> None:
        self._make, self._seed, self._startup = make, seed, startup
        self._joint: tuple[int, BaseSampler] | None = None
        self._window: Window | None = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._for_joint(trial).infer_relative_search_space(self._seen(study), trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._for_joint(trial).sample_relative(self._seen(study), trial, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        sampler = self._make(derive(self._seed, "sampler", trial.number, param_name) % 2**32)
        return sampler.sample_independent(self._seen(study), trial, param_name, param_distribution)

    def _for_joint(self, trial: FrozenTrial) -> BaseSampler:
        """One sampler for the two calls that draw a trial's joint suggestion, since the first prepares the second."""
        if self._joint is None or self._joint[0] != trial.number:
            self._joint = (trial.number, self._make(derive(self._seed, "sampler", trial.number) % 2**32))
        return self._joint[1]

    def _seen(self, study: Study) -> Study:
        """The study, as far as a sampler looks."""
        if self._window is None or self._window.study is not study:
            self._window = Window(study, least=self._startup)
        return cast("Study", self._window)


class SuccessiveHalving(BasePruner):
    """Asynchronous successive halving (Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020).

    After `grace`, `grace · factor`, `grace · factor²`, … epochs a trial goes on only when its value is among the
    best 1/`factor` of all that got there so far. Optuna's own pruner of this name writes its rungs into the trial
    while it decides, so a crash between that and the decision's record would lose the decision; this one only reads.
    """

    def __init__(self, *, grace: int, factor: int) -> None:
        self._grace, self._factor = grace, factor
        self._history: History | None = None
        self._arrived: dict[int, list[float]] = {}  # rung → values of ended trials, in order

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or not self._is_rung(step):
            return False
        sign = 1 if study.direction == StudyDirection.MAXIMIZE else -1
        history = self._look(study, sign=sign)
        value = sign * trial.intermediate_values[step]
        ended = self._arrived.get(step, [])
        going_on = [sign * t.intermediate_values[step] for t in history.open.values() if step in t.intermediate_values]
        better = len(ended) - bisect.bisect_right(ended, value) + sum(other > value for other in going_on)
        return better >= max(1, (len(ended) + len(going_on)) // self._factor)

    def _look(self, study: Study, *, sign: int) -> History:
        """Takes in what the trials that have ended since had at each rung: read from the study, kept sorted."""
        if self._history is None or self._history.study is not study:
            self._history, self._arrived = History(study), {}
        for trial in self._history.news():
            for step, value in trial.intermediate_values.items():
                if self._is_rung(step):
                    bisect.insort(self._arrived.setdefault(step, []), sign * value)
        return self._history

    def _is_rung(self, step: int) -> bool:
        rung = self._grace
        while rung < step:
            rung *= self._factor
        return rung == step


def build_sampler(search: SearchSettings) -> BaseSampler:
    """The sampler of a sweep, by its name."""
    make = partial(SAMPLERS[search.sampler], search)
    return SeededSampler(make, seed=search.seed, startup=search.startup_trials)


def build_pruner(search: SearchSettings) -> BasePruner:
    """The pruner of a sweep, by its name."""
    return PRUNERS[search.pruner](search)


def should_prune(study: Study, number: int) -> bool:
    """Whether the study's pruner would cut this trial after its last recorded epoch."""
    trial = trial_of(study, number)
    return trial.state == TrialState.RUNNING and bool(trial.intermediate_values) and study.pruner.prune(study, trial)


def _quietly(make: Callable[..., BaseSampler], **options: Any) -> BaseSampler:
    """A sampler, without the word that something of it is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return make(**options)


def _tpe(search: SearchSettings, seed: int) -> BaseSampler:
    """With joint and grouped sampling, as conditional spaces need both."""
    return _quietly(
        TPESampler,
        seed=seed,
        n_startup_trials=search.startup_trials,
        multivariate=True,
        group=True,
        constant_liar=True,
    )


SAMPLERS: dict[str, Callable[[SearchSettings, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda search, seed: RandomSampler(seed=seed),
    "grid": lambda search, seed: _quietly(BruteForceSampler, seed=seed),
}

PRUNERS: dict[str, Callable[[SearchSettings], BasePruner]] = {
    "asha": lambda search: SuccessiveHalving(grace=search.grace_epochs, factor=search.reduction_factor),
    "median": lambda search: MedianPruner(n_startup_trials=search.startup_trials, n_warmup_steps=search.grace_epochs),
    "none": lambda search: NopPruner(),
}
