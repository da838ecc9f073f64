"""Reading YAML: what scalars become, which line a key stands on, and what the command line changes."""

import math
from pathlib import Path

import pytest

from trainables.errors import UserError
from tuning.overrides import apply_sets, put
from tuning.yaml_file import YamlFile, dotted, parse, read_yaml


def load(text: str) -> YamlFile:
    data, lines = parse(text, name="my.yaml")
    return YamlFile("my.yaml", data, lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("1.", 1.0),
        (".5", 0.5),
        ("-3", -3),
        ("+3", 3),
        ("010", 10),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("False", False),
        ("no", "no"),
        ("off", "off"),
        ("yes", "yes"),
        ("on", "on"),
        ("y", "y"),
        ("~", None),
        ("null", None),
        ("none", "none"),
        ("", None),
        ("'1'", "1"),
        ('"true"', "true"),
        ("-.inf", -math.inf),
        ("1" * 50, 1e50 / 9),
        ("= x", "= x"),
    ],
)
def test_scalars(text, value):
    got = load(f"a: {text}\n").data["a"]
    assert type(got) is type(value)
    assert got == value or math.isclose(got, value)


def test_not_a_number():
    assert math.isnan(load("a: .nan").data["a"])


def test_lines_of_keys_and_items():
    file = load(
        "# header\ntrial:\n  lr: 1\nspace:\n  lr: {low: 1,\n       high: 2}\n  freeze:\n    - none\n    - stem\n"
    )
    assert file.data == {"trial": {"lr": 1}, "space": {"lr": {"low": 1, "high": 2}, "freeze": ["none", "stem"]}}
    wanted = {("trial",): 2, ("trial", "lr"): 3, ("space", "lr", "high"): 6, ("space", "freeze", 1): 9}
    assert {key: file.lines[key] for key in wanted} == wanted
    assert file.where(("space", "freeze", 1)) == "my.yaml:9"
    assert file.where(("trial", "momentum")) == "my.yaml:3".replace("3", "2")  # what holds it
    assert file.where(("search", "trials")) == "my.yaml:2"  # the file's first entry


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xef\xbb\xbftrial:\r\n  lr: 1e-3\r\n")
    file = read_yaml(path)
    assert file.data == {"trial": {"lr": 0.001}}
    assert file.lines["trial", "lr"] == 2


def test_dotted():
    assert dotted(("space", "batch_size", 1)) == "space.batch_size[1]"


FILE = "trial:\n  momentum: 0.5\n  epochs: 3\nspace:\n  lr: {low: 0.1, high: 0.2}\n"


@pytest.mark.parametrize(
    ("option", "data"),
    [
        (
            "lr=0.01",
            {"trial": {"momentum": 0.5, "epochs": 3, "lr": 0.01}, "space": {}},
        ),
        (
            "trial.lr=1e-2",
            {"trial": {"momentum": 0.5, "epochs": 3, "lr": 0.01}, "space": {}},
        ),
        (
            "space.momentum=[0.1, 0.9]",
            {"trial": {"epochs": 3}, "space": {"lr": {"low": 0.1, "high": 0.2}, "momentum": [0.1, 0.9]}},
        ),
        (
            "space.lr.high=0.3",
            {"trial": {"momentum": 0.5, "epochs": 3}, "space": {"lr": {"low": 0.1, "high": 0.3}}},
        ),
        (
            "search.trials=5",
            {
                "trial": {"momentum": 0.5, "epochs": 3},
                "space": {"lr": {"low": 0.1, "high": 0.2}},
                "search": {"trials": 5},
            },
        ),
        (
            "data.path=a=b",
            {
                "trial": {"momentum": 0.5, "epochs": 3},
                "space": {"lr": {"low": 0.1, "high": 0.2}},
                "data": {"path": "a=b"},
            },
        ),
    ],
)
def test_an_option_changes_the_file(option, data):
    file = load(FILE)
    changed = apply_sets(file, [option], base=Path())
    assert changed.data == data
    assert file.data == load(FILE).data  # the first is as it was


def test_an_option_is_named_in_place_of_a_line():
    file = apply_sets(load(FILE), ["lr=2", "space.gamma={low: 0, high: 1}", "lr=3"], base=Path())
    assert file.data["trial"]["lr"] == 3
    assert file.where(("trial", "lr")) == "--set lr=3"
    assert file.where(("space", "gamma", "low")) == "--set space.gamma={low: 0, high: 1}"
    assert file.where(("trial", "epochs")) == "my.yaml:3"


def test_all_options_that_are_wrong_are_told():
    with pytest.raises(UserError) as error:
        apply_sets(load(FILE), ["lrr=3", "momentum=0.5", "batch_sise=3"], base=Path())
    first, second = str(error.value).splitlines()
    assert first.startswith("--set lrr=3: no such section or trial setting")
    assert second.startswith("--set batch_sise=3: no such section or trial setting")
    assert second.endswith("did you mean 'batch_size'?")


def test_a_setting_that_is_fixed_leaves_the_trials_to_begin_with():
    first = "search: {first: [{lr: 1, gamma: 2}, {lr: 2}, {gamma: 2, lr: 3}, {gamma: 4}]}\n"
    file = load("space: {lr: [1, 2, 3], gamma: [2, 4]}\n" + first)
    assert apply_sets(file, ["lr=2"], base=Path()).data["search"] == {"first": [{"gamma": 2}, {"gamma": 4}]}
    assert apply_sets(file, ["lr=2", "gamma=2"], base=Path()).data["search"] == {"first": []}
    assert apply_sets(file, ["space.lr=[1, 2]"], base=Path()).data["search"] == file.data["search"], "it is explored"


def test_put_makes_the_section_it_needs():
    file = put(load("trial: {}\n"), ("search", "hours"), 1, option="--hours 1")
    assert file.data["search"] == {"hours": 1}
    assert file.where(("search", "hours")) == "--hours 1"


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_yaml(tmp_path / "none.yaml")
