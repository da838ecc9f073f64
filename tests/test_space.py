"""The search space: order, conditions, Optuna's form of it, JSON, combinations."""

import json
import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.space import (
    Choice,
    Float,
    Int,
    combinations,
    contains,
    distribution,
    draw,
    from_json,
    is_active,
    to_json,
    with_parents,
)
from tuning.spec_file import load_spec


@pytest.fixture
def load(tmp_path):
    def load_space(text: str, *sets: str):
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path, sets=sets).space

    return load_space


def test_every_form_of_an_entry(load):
    space = load(
        """
space:
  lr: {low: 1e-5, high: 1, log: true}
  momentum: {low: 0, high: 0.9, step: 0.3}
  batch_size: {low: 8, high: 64, step: 8}
  step_size: {low: 1, high: 7, log: true}
  freeze: [none, 1, layer2]
  optimizer: {choices: [sgd, adam]}
  gamma: [1, 0.5]
  nesterov: {choices: [true, false], when: {optimizer: sgd}}
trial: {epochs: 1e1}
search: {trials: 3}
""".replace("low: 0, high: 0.9, step: 0.3", "low: 0.3, high: 0.9, step: 0.3")
    )
    assert space == {
        "lr": Float(1e-5, 1.0, log=True),
        "momentum": Float(0.3, 0.9, step=0.3),
        "batch_size": Int(8, 64, step=8),
        "step_size": Int(1, 7, log=True),
        "freeze": Choice(("none", 1, "layer2")),
        "optimizer": Choice(("sgd", "adam")),
        "gamma": Choice((1.0, 0.5)),
        "nesterov": Choice((True, False), when={"optimizer": ("sgd",)}),
    }
    assert [type(value) for value in space["freeze"].values] == [str, int, str]
    assert all(type(value) is float for value in space["gamma"].values)


def test_parents_come_first_and_the_files_order_is_kept_else(load):
    space = load("""
space:
  nesterov: {choices: [true, false], when: {optimizer: sgd}}
  lr: [0.1, 0.2]
  momentum: {low: 0.1, high: 0.9, when: {nesterov: true}}
  optimizer: [sgd, adam]
""")
    assert list(space) == ["lr", "optimizer", "nesterov", "momentum"]


MOMENTUM = "  momentum: {low: 0.1, high: 0.9, when: {optimizer: [sgd, rmsprop]}}\n"


def test_a_condition_on_a_fixed_setting_is_settled(load):
    space = load(f"trial:\n  optimizer: rmsprop\nspace:\n{MOMENTUM}")
    assert space == {"momentum": Float(0.1, 0.9)}


def test_a_condition_on_a_default_is_settled(load):
    assert load(f"space:\n{MOMENTUM}") == {"momentum": Float(0.1, 0.9)}


def test_an_entry_that_the_command_line_makes_pointless_is_left_out(load):
    text = f"""
space:
  optimizer: [sgd, rmsprop, adam]
  nesterov: {{choices: [true, false], when: {{optimizer: sgd}}}}
  gamma: {{low: 0.1, high: 0.9, when: {{nesterov: true}}}}
  lr: [0.1, 0.2]
{MOMENTUM}"""
    assert set(load(text)) == {"optimizer", "nesterov", "gamma", "lr", "momentum"}
    assert set(load(text, "optimizer=adam")) == {"lr"}
    assert set(load(text, "optimizer=rmsprop")) == {"lr", "momentum"}


def test_active_means_every_condition_is_met_by_type_and_value():
    dimension = Float(0, 1, when={"nesterov": (True,), "freeze": ("none", 1)})
    assert is_active(dimension, {"nesterov": True, "freeze": 1})
    assert not is_active(dimension, {"nesterov": 1, "freeze": 1})
    assert not is_active(dimension, {"nesterov": True, "freeze": True})
    assert not is_active(dimension, {"nesterov": True})
    assert is_active(Float(0, 1), {})


def test_contains_keeps_types_apart():
    assert contains((1, "a"), 1)
    assert not contains((1, "a"), True)
    assert not contains((1, "a"), 1.0)


@pytest.mark.parametrize(
    ("dimension", "wanted"),
    [
        (Float(0.1, 0.2), optuna.distributions.FloatDistribution(0.1, 0.2)),
        (Float(1e-5, 0.2, log=True), optuna.distributions.FloatDistribution(1e-5, 0.2, log=True)),
        (Float(0.1, 0.3, step=0.1), optuna.distributions.FloatDistribution(0.1, 0.3, step=0.1)),
        (Int(8, 64, step=8), optuna.distributions.IntDistribution(8, 64, step=8)),
        (Int(1, 64, log=True), optuna.distributions.IntDistribution(1, 64, log=True)),
        (Choice(("none", 1)), optuna.distributions.CategoricalDistribution(("none", 1))),
    ],
)
def test_distributions_are_optunas(dimension, wanted):
    assert distribution(dimension) == wanted


def test_combinations_respect_conditions_and_show_only_what_was_asked():
    space = {
        "lr": Float(0.1, 0.2),
        "optimizer": Choice(("sgd", "adam", "adamw")),
        "nesterov": Choice((False, True), when={"optimizer": ("sgd",)}),
        "freeze": Int(0, 2),
    }
    assert list(combinations(space, {"optimizer", "nesterov"})) == [
        {"optimizer": "sgd", "nesterov": False},
        {"optimizer": "sgd", "nesterov": True},
        {"optimizer": "adam"},
        {"optimizer": "adamw"},
    ]
    assert list(combinations(space, {"nesterov"})) == [{"nesterov": False}, {"nesterov": True}, {}]
    assert list(combinations(space, {"freeze"})) == [{"freeze": 0}, {"freeze": 1}, {"freeze": 2}]
    assert list(combinations(space, {"lr"})) == [{"lr": 0.1}, {"lr": 0.2}]
    assert list(combinations(space, {"epochs"})) == [{}]
    assert with_parents(space, {"nesterov", "epochs"}) == {"nesterov", "optimizer"}


finite = st.floats(1e-9, 1e6, allow_nan=False)
values = st.one_of(st.booleans(), st.integers(-100, 100), finite, st.text(max_size=5))


@st.composite
def spaces(draw_one):
    """Any space at all, with conditions on earlier choices."""
    space = {}
    parents = []
    for number in range(draw_one(st.integers(0, 6))):
        when = None
        if parents and draw_one(st.booleans()):
            parent = draw_one(st.sampled_from(parents))
            when = {parent: tuple(draw_one(st.lists(st.sampled_from(space[parent].values), min_size=1, max_size=2)))}
        name = f"setting{number}"
        kind = draw_one(st.sampled_from(["float", "log", "int", "steps", "choice"]))
        low, high = sorted(draw_one(st.tuples(finite, finite)))
        if kind in ("float", "log"):
            space[name] = Float(low, high, log=kind == "log", when=when)
        elif kind == "int":
            space[name] = Int(int(low) + 1, int(high) + 2, log=draw_one(st.booleans()), when=when)
        elif kind == "steps":
            step = draw_one(st.sampled_from([0.1, 0.25, 3.0]))
            space[name] = Float(low, low + step * draw_one(st.integers(1, 9)), step=step, when=when)
        else:
            choices = draw_one(st.lists(values, min_size=2, max_size=4, unique_by=lambda value: (type(value), value)))
            space[name] = Choice(tuple(choices), when=when)
            parents.append(name)
    return space


@settings(derandomize=True, deadline=None)
@given(spaces())
def test_json_gives_the_same_space_again(space):
    again = from_json(json.loads(json.dumps(to_json(space))))
    assert again == space
    assert list(again) == list(space)
    assert repr(again) == repr(space)  # types too: True is not 1


@settings(derandomize=True, deadline=None)
@given(spaces(), st.integers(0, 1000))
def test_what_is_drawn_lies_within_the_space(space, seed):
    params = draw(space, random.Random(seed))
    assert params == draw(space, random.Random(seed))
    for name, dimension in space.items():
        assert (name in params) == is_active(dimension, params)
        if name not in params:
            continue
        if isinstance(dimension, Choice):
            assert contains(dimension.values, params[name])
        else:
            assert dimension.low <= params[name] <= dimension.high * (1 + 1e-12)
            assert type(params[name]) is (int if isinstance(dimension, Int) else float)
