"""What Optuna's own tools say of a sweep: importance, parallel coordinates, slices, contours.

    sample = sampled_study(trials, mode="max")
    importance_of(sample).shares                     # {"lr": 0.71, "freeze": 0.2}: they add up to 1
    parallel_figure(sample), slice_figure(sample, "lr"), contour_figure(sample, "lr", "momentum")   # for plotly

Optuna draws, `reports.figures` only gives its figures the page's dress. All of them see complete trials alone, and a
sample of them where there are thousands. A choice is named by a text that is safe to show.
"""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from reports.charts import best_place, evenly
from reports.ledger import TrialRecord
from reports.markup import chart_text
from reports.ranking import ranked

MOST_TRIALS = 600  # beyond that the pictures are no clearer, and Optuna takes long
MOST_JUDGED = 250  # trials that importance is computed from, in a second
MOST_LINES = 150  # of parallel coordinates
MOST_DOTS = 90  # of a contour plot, which has a cell for each pair of their values
FEWEST_TRIALS = 4


@dataclass(frozen=True)
class Sample:
    """A study in memory with a sweep's complete trials, or some of them.

    `settings` are those that were explored, `ranks` the trials' own in the study's order; 0 is the best one's.
    """

    study: optuna.Study
    settings: tuple[str, ...]
    ranks: tuple[int, ...]
    trials: int
    left_out: int = 0


@dataclass(frozen=True)
class Importance:
    """The share of the variation that a setting explains by itself and with others (fANOVA); they add up to 1.

    `left_out` are settings that not every trial had, of which it can say nothing.
    """

    shares: dict[str, float] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def sampled_study(trials: Sequence[TrialRecord], *, mode: str, most: int = MOST_TRIALS) -> Sample:
    """The complete trials, or `most` of them with the best among them, as a study of Optuna's."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.value is not None and trial.params]
    some = evenly(complete, most=most, keep=best_place(complete, mode=mode))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    names = dict.fromkeys(name for trial in complete for name in trial.params)
    labels = {name: _labels(complete, name) for name in names}
    known = {name: _covering(complete, name, labels[name]) for name in names}
    for trial in some:
        params = {name: labels[name].get(repr(value), value) for name, value in trial.params.items()}
        distributions = {name: known[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.value))
    varied = [name for name in names if len({repr(trial.params.get(name)) for trial in some}) > 1]
    places = {trial.number: place for place, trial in enumerate(ranked(some, mode=mode))}
    ranks = tuple(places[trial.number] for trial in some)
    return Sample(study, tuple(varied), ranks, trials=len(some), left_out=len(complete) - len(some))


def importance_of(sample: Sample) -> Importance:
    """Empty where there are too few trials, or all of them are equally good, or alike."""
    values = {trial.value for trial in sample.study.get_trials(deepcopy=False)}
    if sample.trials < FEWEST_TRIALS or len(values) < 2 or not sample.settings:
        return Importance()
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that some settings are not in every trial: `left_out` says so
        found = optuna.importance.get_param_importances(_with_logarithms(sample.study), evaluator=evaluator)
    shares = {name: float(share) for name, share in found.items() if name in sample.settings}
    return Importance(shares, tuple(name for name in sample.settings if name not in shares))


def parallel_figure(sample: Sample) -> dict[str, Any]:
    """Optuna's parallel coordinates of all explored settings, a line a trial, the best last."""
    from optuna.visualization import plot_parallel_coordinate

    figure = _plain(plot_parallel_coordinate(sample.study, params=list(sample.settings)))
    lines = (trace for trace in figure["data"] if trace["mode"] == "lines")  # in the order of the trials
    ordered = sorted(zip(sample.ranks, lines, strict=True), key=lambda pair: -pair[0])
    return {**figure, "data": [line for _, line in ordered]}


def slice_figure(sample: Sample, setting: str) -> dict[str, Any]:
    """Optuna's slice plot: values over one setting."""
    from optuna.visualization import plot_slice

    return _plain(plot_slice(sample.study, params=[setting]))


def contour_figure(sample: Sample, first: str, second: str) -> dict[str, Any]:
    """Optuna's contour plot of two settings."""
    from optuna.visualization import plot_contour

    return _plain(plot_contour(sample.study, params=[first, second]))


def contour_pairs(importance: Importance, *, most: int = 3) -> list[tuple[str, str]]:
    """The pairs of the most important settings, the most important pair first."""
    names = list(importance.shares)[:most]
    return [(first, second) for place, second in enumerate(names) for first in names[:place]]


def _with_logarithms(study: optuna.Study) -> optuna.Study:
    """The study with the logarithms of settings on a log scale, which fANOVA would take as evenly spread."""
    changed = optuna.create_study()
    for trial in study.get_trials(deepcopy=False):
        params, distributions = dict(trial.params), dict(trial.distributions)
        for name, known in trial.distributions.items():
            if isinstance(known, (FloatDistribution, IntDistribution)) and known.log:
                params[name] = math.log(trial.params[name])
                distributions[name] = FloatDistribution(math.log(known.low), math.log(known.high))
        changed.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=trial.value))
    return changed


def _plain(figure: Any) -> dict[str, Any]:
    """A figure of plotly's as plain values, its arrays as lists."""
    return json.loads(figure.to_json(engine="json"))


def _labels(trials: Sequence[TrialRecord], name: str) -> dict[str, str]:
    """For a choice its values by repr with a text for each, no two the same; empty for a number."""
    choices: dict[str, Any] = {}
    for trial in trials:
        distribution = trial.distributions.get(name)
        if isinstance(distribution, CategoricalDistribution):
            choices.update({repr(choice): choice for choice in distribution.choices})
    if not choices:
        return {}
    choices.update({repr(trial.params[name]): trial.params[name] for trial in trials if name in trial.params})
    labels: dict[str, str] = {}
    for key, choice in choices.items():
        text = chart_text(choice)
        while text in labels.values():
            text += "′"
        labels[key] = text
    return labels


def _covering(trials: Sequence[TrialRecord], name: str, labels: Mapping[str, str]) -> BaseDistribution:
    """One distribution for all trials' values of a setting: a sweep's space may have been changed on the way."""
    if labels:
        return CategoricalDistribution(tuple(labels.values()))
    values = [trial.params[name] for trial in trials if name in trial.params]
    given = [trial.distributions[name] for trial in trials if name in trial.distributions]
    limits = [limit for known in given for limit in (known.low, known.high)]  # type: ignore[attr-defined]
    low, high, log = min(values + limits), max(values + limits), all(getattr(known, "log", False) for known in given)
    if all(isinstance(known, IntDistribution) for known in given):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)
