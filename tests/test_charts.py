"""Chart data as data, and the figures drawn from it."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from report_parts import TRIAL_SPACE, trial
from reports.charts import (
    MOST_BARS,
    MOST_CURVES,
    MOST_POINTS,
    Timeline,
    curves_of,
    evenly,
    history_of,
    time_spent,
    timeline_of,
)
from reports.figures import STATES, curves_figure, history_figure, time_figure, timeline_figure
from reports.ledger import TrialRecord
from reports.sections import shared_words
from reports.shared_work import SharedWork, shared_work
from reports.study_charts import (
    FEWEST_TRIALS,
    MOST_TRIALS,
    contour_figure,
    contour_pairs,
    importance_of,
    parallel_figure,
    sampled_study,
    slice_figure,
)
from reports.study_figures import dressed_parallel
from reports.sweep import Sweep
from runs import HOSTILE, Planned, make_run
from tuning.space import Choice, Float, Int, distribution

# history


def test_history_is_the_best_complete_value_so_far() -> None:
    trials = [
        trial(0, values=[0.5], at=10),
        trial(1, "pruned", values=[0.9], at=0),  # better, but never complete
        trial(2, values=[0.4], at=20),
        trial(3, values=[0.7, 0.8], at=2),  # ends before trial 0 does
        trial(4, "failed"),
        trial(5, "running", values=[0.6], at=30),
    ]
    history = history_of(trials, mode="max")
    assert [(p.number, p.state, p.value, p.at_s) for p in history.points] == [
        (0, "complete", 0.5, 11), (1, "pruned", 0.9, 1), (2, "complete", 0.4, 21), (3, "complete", 0.8, 4),
        (5, "running", 0.6, 31),
    ]  # fmt: skip
    assert history.over_trials == ((0, 0.5), (3, 0.8), (5, 0.8))  # the line goes on to the last trial
    assert history.over_time == ((4, 0.8), (31, 0.8))
    assert history.left_out == 0


def test_history_goes_down_for_a_loss() -> None:
    history = history_of([trial(n, values=[value]) for n, value in enumerate([0.5, 0.7, 0.2])], mode="min")
    assert history.over_trials == ((0, 0.5), (2, 0.2))


def test_history_of_nothing() -> None:
    assert history_of([], mode="max").points == ()
    assert history_of([trial(0, "running")], mode="max").over_trials == ()


def test_a_long_history_is_sampled_but_its_best_line_is_whole() -> None:
    trials = [trial(n, values=[n / 10_000], at=n) for n in range(5000)]
    history = history_of(trials, mode="max")
    assert len(history.points) == MOST_POINTS
    assert history.left_out == 5000 - MOST_POINTS
    assert {history.points[0].number, history.points[-1].number} == {0, 4999}
    assert len(history.over_trials) == 5000


@pytest.mark.parametrize(("count", "most"), [(0, 5), (5, 5), (6, 5), (1000, 7)])
def test_even_samples(count: int, most: int) -> None:
    some = evenly(range(count), most=most)
    assert len(some) == min(count, most)
    assert len(set(some)) == len(some)
    assert not count or (some[0], some[-1]) == (0, count - 1)


@pytest.mark.parametrize("keep", [0, 1, 17, 499, 998, 999])
def test_even_samples_keep_one_place(keep: int) -> None:
    some = evenly(range(1000), most=7, keep=keep)
    assert keep in some
    assert some == sorted(set(some))
    assert len(some) <= 7
    assert (some[0], some[-1]) == (0, 999)


@pytest.mark.parametrize(("mode", "best"), [("max", 613), ("min", 100)])
def test_samples_keep_the_best_trial(mode: str, best: int) -> None:
    values = {613: 0.99, 100: 0.001}
    trials = [
        trial(n, values=[values.get(n, 0.2 + (n % 97) / 1000)], params={"lr": 0.01 + n / 1e5}) for n in range(800)
    ]
    trials.append(trial(800, "pruned", values=[1.0 if mode == "max" else 0.0]))
    sample = sampled_study(trials, mode=mode, most=90)
    assert sample.trials in (89, 90)  # the best may stand in the place of one that is there already
    assert sample.study.best_value == values[best]
    assert trials[best].params["lr"] in {kept.params["lr"] for kept in sample.study.trials}


@pytest.mark.parametrize("mode", ["max", "min"])
def test_of_equal_trials_the_best_is_that_with_the_lower_loss(mode: str) -> None:
    trials = [trial(n, values=[0.5], params={"lr": 0.01 + n / 1e5}, val_loss=0.4) for n in range(2000)]
    trials[613] = trial(613, values=[0.5], params={"lr": 0.05}, val_loss=0.3)
    assert 613 in {point.number for point in history_of(trials, mode=mode).points}
    sample = sampled_study(trials, mode=mode, most=90)
    figure = dressed_parallel(parallel_figure(sample), metric="val_accuracy")
    best = figure["data"][-1]
    assert (best["customdata"][1], best["line"]["color"]) == (["lr", "0.05"], "@best")
    assert [line["line"]["color"] for line in figure["data"]].count("@best") == 1


def test_history_figure_has_a_trace_for_each_state_that_is_there() -> None:
    trials = [trial(0, values=[0.5]), trial(1, "pruned", values=[0.4]), trial(2, values=[0.6], at=600)]
    figure = history_figure(history_of(trials, mode="max"), metric="val_accuracy", over="time")
    assert [trace["name"] for trace in figure["data"]] == ["complete", "pruned", "best so far"]
    assert figure["data"][0]["x"] == [1 / 60, 601 / 60]
    assert figure["layout"]["xaxis"]["title"]["text"] == "wall time, minutes"
    assert figure["data"][2]["line"]["shape"] == "hv"


# learning curves


def test_curves_come_best_first_with_train_beside_val() -> None:
    trials = [trial(0, values=[0.5, 0.6]), trial(1, "pruned", values=[0.9]), trial(2, values=[0.7, 0.8])]
    curves = curves_of(trials, metric="val_accuracy", mode="max")
    assert curves.name == "accuracy"
    assert [(c.number, c.rank, c.state) for c in curves.curves] == [
        (2, 0, "complete"),
        (0, 1, "complete"),
        (1, 2, "pruned"),
    ]
    assert curves.curves[0].val == (0.7, 0.8)
    assert curves.curves[0].train == (0.35, 0.4)
    figure = curves_figure(curves, side="val")
    assert [trace["name"] for trace in figure["data"]] == ["pruned", "best 2", "best"]
    assert figure["data"][0]["opacity"] < 0.5 < figure["data"][2]["opacity"]
    assert figure["data"][2]["y"] == [0.7, 0.8, None]  # a gap after each trial's line


def test_curves_of_a_metric_that_epochs_lack_or_that_is_no_number() -> None:
    curves = curves_of([trial(0, values=[0.5], val_mae=math.nan)], metric="val_mae", mode="min")
    assert curves.curves[0].val == (None,)
    assert curves.curves[0].train == (None,)
    json.dumps(curves_figure(curves, side="val"), allow_nan=False)


def test_one_diverged_trial_does_not_press_the_others_flat() -> None:
    trials = [trial(0, values=[0.5]), trial(1, "pruned", values=[0.5], val_loss=1e17)]
    figure = curves_figure(curves_of(trials, metric="val_loss", mode="min"), side="val")
    assert figure["layout"]["yaxis"]["range"][1] < 1


def test_many_curves_are_sampled_with_the_best_kept() -> None:
    trials = [trial(n, values=[n / 1000]) for n in range(900)]
    curves = curves_of(trials, metric="val_accuracy", mode="max")
    assert len(curves.curves) == MOST_CURVES
    assert curves.left_out == 900 - MOST_CURVES
    assert [c.number for c in curves.curves[:50]] == list(range(899, 849, -1))
    assert curves.curves[-1].number == 0


# workers and time


def test_timeline_gives_trials_that_ran_at_once_lanes_of_their_own() -> None:
    trials = [trial(0, values=[0.5] * 4, at=0), trial(1, values=[0.5] * 2, at=1), trial(2, values=[0.5], at=3.1)]
    timeline = timeline_of([*trials, trial(3, "failed")])
    assert [(b.number, b.start_s, b.end_s, b.lane) for b in timeline.bars] == [
        (0, 0, 4, 0), (1, 1, 3, 1), (2, pytest.approx(3.1), pytest.approx(4.1), 1),
    ]  # fmt: skip
    assert timeline.lanes == 2
    figure = timeline_figure(timeline)
    assert figure["data"][0]["base"] == [0, 1, pytest.approx(3.1)]
    assert figure["data"][0]["y"] == [1, 2, 2]


def test_of_a_long_timeline_the_last_part_is_shown() -> None:
    timeline = timeline_of([trial(n, values=[0.5], at=2 * n) for n in range(2000)])
    assert (len(timeline.bars), timeline.left_out, timeline.lanes) == (MOST_BARS, 2000 - MOST_BARS, 1)
    assert [bar.number for bar in timeline.bars] == list(range(2000 - MOST_BARS, 2000))
    assert timeline_figure(timeline)["layout"]["xaxis"]["range"][0] > 0


def test_where_the_time_went() -> None:
    plain = [trial(0, values=[0.5] * 3)]
    assert time_spent(plain, wall_seconds=4, lanes=1).parts == {"train and validate": 3, "idle, engine and start-up": 1}
    told = [trial(0, values=[0.5] * 2, seconds_sharing=0.25, seconds_validating=0.5)]
    spent = time_spent(told, wall_seconds=4, lanes=2)
    assert spent.parts == {"shared features": 0.5, "validate": 1, "train": 0.5, "idle, engine and start-up": 6}
    assert spent.workers_s == 8
    assert [trace["name"] for trace in time_figure(spent)["data"]] == [
        "shared features 6%", "validate 12%", "train 6%", "idle, engine and start-up 75%",
    ]  # fmt: skip
    assert time_spent([], wall_seconds=4, lanes=1).parts == {}


def shared(number: int, model: str, *epochs: tuple[str, float]) -> TrialRecord:
    record = trial(number, values=[0.5] * len(epochs))
    told = ({"shared": stage, "seconds_sharing": seconds} for stage, seconds in epochs)
    both = tuple(e | t for e, t in zip(record.epochs, told, strict=True))
    return dataclasses.replace(record, epochs=both, settings={"model": model, "image_size": 32})


@pytest.mark.parametrize(
    ("trials", "found", "said"),
    [
        ([trial(0, values=[0.5])], SharedWork(1, 0, 0, 0, 0, 0, {}), []),
        ([shared(0, "resnet18", ("nothing", 0.0))], SharedWork(1, 0, 0, 0, 0, 0, {}), []),
        (
            [
                shared(0, "resnet18", ("layer2", 4.0), ("layer2", 0.0), ("nothing (no room)", 0.0)),
                shared(1, "resnet18", ("layer2", 2.0), ("layer2", 0.0), ("layer3", 10.0)),
                shared(2, "alexnet", ("layer2", 0.0), ("views (mixed pictures)", 0.0), ("nothing (no room)", 0.0)),
            ],
            SharedWork(9, 4, 3, 16.0, 6.0, 2, {"no room": 2, "mixed pictures": 1}),
            [
                "In 4 of 9 epochs the work that trials share (frozen layers, views of the pictures) was done already; 3"
                " spent 16 s on it. At that pace this saved about 6.0 s in 2 epochs. For 2 it was done before this"
                " sweep, in a time that is not recorded.",
                "In 2 epochs frozen layers were part of the training, not shared: no room.",
                "In 1 epoch frozen layers were part of the training, not shared: mixed pictures.",
            ],
        ),
    ],
)
def test_what_trials_took_from_each_other(trials: list[TrialRecord], found: SharedWork, said: list[str]) -> None:
    assert shared_work(trials) == found
    assert shared_words(found) == said


def test_every_state_of_a_trial_has_its_colour() -> None:
    css = (Path(__file__).parent.parent / "reports" / "page.css").read_text(encoding="utf-8")
    assert all(f"--{state}:" in css and f".state.{state}::before" in css for state in STATES)
    assert timeline_figure(Timeline((), 0))["data"] == []


# what Optuna says


def varied(count: int) -> list[TrialRecord]:
    """Trials whose value follows from lr."""
    return [
        trial(
            n, values=[n / count], params={"lr": 1e-5 * 10 ** (4 * n / count), "freeze": ("none", "layer2", 2)[n % 3]}
        )
        for n in range(count)
    ]


def test_a_sample_has_complete_trials_alone_and_names_for_choices() -> None:
    trials = [*varied(6), trial(6, "pruned", values=[0.3]), trial(7, "failed")]
    sample = sampled_study(trials, mode="max")
    assert (sample.trials, sample.left_out, sample.settings) == (6, 0, ("lr", "freeze"))
    assert {t.params["freeze"] for t in sample.study.trials} == {"none", "layer2", "2"}
    assert sampled_study(varied(MOST_TRIALS + 50), mode="max").left_out == 50


def test_choices_that_look_alike_stay_apart_and_hostile_ones_are_harmless() -> None:
    space = Choice((2, "2", *HOSTILE))
    trials = [trial(n, values=[0.5 + n / 100], params={"freeze": value}) for n, value in enumerate(space.values)]
    for record in trials:
        record.distributions["freeze"] = distribution(space)  # type: ignore[index]
    sample = sampled_study(trials, mode="max")
    names = [t.params["freeze"] for t in sample.study.trials]
    assert len(set(names)) == len(space.values)
    assert names[:3] == ["2", "2′", "&lt;script&gt;alert(1)&lt;/script&gt;"]
    assert "<" not in json.dumps(slice_figure(sample, "freeze")).replace("<br", "").replace("<extra", "").replace(
        "</extra", ""
    )


def test_a_space_that_was_changed_on_the_way_covers_all_trials() -> None:
    trials = varied(6)
    for record in trials[:3]:
        record.distributions["lr"] = distribution(Float(1e-2, 1e-1, log=True))  # type: ignore[index]
        record.distributions["freeze"] = distribution(Choice(("none",)))  # type: ignore[index]
    sample = sampled_study(trials, mode="max")
    assert sample.trials == 6
    low, high = (getattr(sample.study.trials[0].distributions["lr"], name) for name in ("low", "high"))
    assert (low, high) == (1e-5, 1e-1)
    assert {t.params["freeze"] for t in sample.study.trials} == {"none", "layer2", "2"}


def test_importance_adds_up_and_finds_what_mattered() -> None:
    importance = importance_of(sampled_study(varied(40), mode="max"))
    assert sum(importance.shares.values()) == pytest.approx(1)
    assert importance.shares["lr"] > 0.8
    assert contour_pairs(importance) == [("lr", "freeze")]
    assert importance == importance_of(sampled_study(varied(40), mode="max"))  # the same twice


@pytest.mark.parametrize("lr", [Float(1e-5, 1e-1, log=True), Int(1, 10**4, log=True)])
def test_importance_sees_a_log_scale_as_one(lr: Float | Int) -> None:
    sample = sampled_study([shaped(lr, n) for n in range(150)], mode="max")
    shares = importance_of(sample).shares
    assert list(shares) == ["lr", "gamma"]
    assert shares["lr"] > 0.85  # of the variance it makes 95 %
    assert sample.study.trials[0].distributions["lr"] == distribution(lr)  # the charts keep the scale


def shaped(lr: Float | Int, number: int) -> TrialRecord:
    """A trial of evenly spread settings, whose value grows over the lower half of lr, and a little with gamma."""
    place, gamma = number * 0.6180339887 % 1, 0.1 + 0.8 * (number * 0.7548776662 % 1)
    rate = lr.low * (lr.high / lr.low) ** place
    params = {"lr": round(rate) if isinstance(lr, Int) else rate, "gamma": gamma}
    record = trial(number, values=[min(place, 0.5) + 0.15 * gamma], params=params)
    return dataclasses.replace(record, distributions={**record.distributions, "lr": distribution(lr)})


def test_importance_says_which_settings_it_cannot_judge() -> None:
    trials = varied(8)
    trials[0].params["gamma"], trials[0].distributions["gamma"] = 0.5, distribution(TRIAL_SPACE["gamma"])  # type: ignore[index]
    importance = importance_of(sampled_study(trials, mode="max"))
    assert importance.left_out == ("gamma",)


@pytest.mark.parametrize(
    "trials",
    [
        [],
        varied(FEWEST_TRIALS - 1),
        [trial(n, values=[0.5], params={"lr": 0.01 * (n + 1)}) for n in range(9)],
        [trial(n, values=[0.1 * n]) for n in range(9)],
    ],
)
def test_importance_of_too_little(trials: list[TrialRecord]) -> None:
    assert importance_of(sampled_study(trials, mode="max")).shares == {}


def test_optunas_figures_are_plain_data() -> None:
    sample = sampled_study(varied(12), mode="min")
    for figure in (parallel_figure(sample), slice_figure(sample, "lr"), contour_figure(sample, "lr", "freeze")):
        assert json.loads(json.dumps(figure)) == figure
        assert figure["data"]


def test_charts_of_a_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[Planned("complete", values=[0.5, 0.9]), Planned("pruned", values=[0.4])])
    trials = Sweep.open(run).ledger().trials()
    assert history_of(trials, mode="max").over_time == ((2.0, 0.9), (11.0, 0.9))
    assert timeline_of(trials).lanes == 1
