"""A sweep file as a spec: defaults, options, round trips, and a file broken at random."""

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from trainables.data.sources import DataSettings
from trainables.errors import UserError
from trainables.settings import TrialSettings, setting_docs
from tuning.checking import checked, hints_of
from tuning.crosschecks import _ONLY_WITH, advice
from tuning.ready import ready_files
from tuning.space import Choice, Float
from tuning.spec import ResourceSettings, SearchSettings, Spec
from tuning.spec_file import load_spec

SMALL = "space:\n  lr: {low: 0.001, high: 0.1, log: true}\n"
FULL = """\
# every section
data:
  source: folder
  path: pictures
  val: 0.25
trial:
  model: squeezenet1_1
  image_size: 64
  optimizer: sgd
  epochs: 3
space:
  lr: {low: 1e-5, high: 1e-1, log: true}
  batch_size: [16, 32, 64]
  momentum: {low: 0.5, high: 0.9, step: 0.1}
  freeze: [none, fire2, 3, backbone]
  nesterov:
    choices: [true, false]
    when: {freeze: [none, 3]}
search:
  trials: 12
  metric: val_loss
  pruner: median
  hours: 1.5
resources:
  cpus_per_trial: 1
  gpus_per_trial: 0.5
"""


@pytest.fixture
def load(tmp_path):
    def load_text(text: str, **options) -> Spec:
        path = tmp_path / "sweep.yaml"
        path.write_text(text)
        return load_spec(path, **options)

    return load_text


def test_what_is_not_given_has_its_default(load, tmp_path):
    spec = load(SMALL)
    assert spec.data == DataSettings()
    assert spec.trial == {}
    assert spec.space == {"lr": Float(0.001, 0.1, log=True)}
    assert spec.search == SearchSettings(metric="val_accuracy")
    assert spec.resources == ResourceSettings()
    assert spec.base == tmp_path
    assert spec.settings_for({"lr": 0.05}) == TrialSettings(lr=0.05)


def test_every_section_is_read(load):
    spec = load(FULL)
    assert spec.data == DataSettings(source="folder", path="pictures", val=0.25)
    assert spec.trial == {"model": "squeezenet1_1", "image_size": 64, "optimizer": "sgd", "epochs": 3}
    assert spec.search == SearchSettings(trials=12, metric="val_loss", pruner="median", hours=1.5)
    assert spec.search.mode == "min"
    assert spec.resources == ResourceSettings(cpus_per_trial=1.0, gpus_per_trial=0.5)
    assert type(spec.resources.cpus_per_trial) is float
    got = spec.settings_for({"lr": 0.01, "batch_size": 16, "momentum": 0.5, "freeze": "fire2"})
    assert got == TrialSettings(
        model="squeezenet1_1", image_size=64, epochs=3, lr=0.01, batch_size=16, momentum=0.5, freeze="fire2"
    )
    assert got.nesterov is False  # its condition is not met: the documented default


def test_the_command_line_wins(load):
    spec = load(FULL, sets=["lr=0.01", "data.val=0.5"], trials=2, epochs=1, hours=0.5, workers=3)
    assert spec.trial["lr"] == 0.01
    assert "lr" not in spec.space
    assert spec.data.val == 0.5
    assert (spec.search.trials, spec.trial["epochs"], spec.search.hours, spec.resources.workers) == (2, 1, 0.5, 3)


def test_an_option_out_of_range_is_named(load):
    with pytest.raises(UserError, match=r"^--trials 0: search.trials: out of range: got 0, expected whole number ≥ 1$"):
        load(FULL, trials=0)


def test_one_trial_needs_nothing_to_explore(load):
    assert load("trial:\n  lr: 0.1\n", trials=1).space == {}


def test_paths_on_the_command_line_are_seen_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "my.yaml").write_text(FULL)
    monkeypatch.chdir(tmp_path)
    path = Path("sweeps/my.yaml")
    spec = load_spec(path)
    assert spec.base / spec.data.path == Path("sweeps/pictures")
    spec = load_spec(path, sets=["data.path=other", "weights=net.pth"])
    assert (spec.base / spec.data.path).resolve() == tmp_path / "other"
    assert (spec.base / spec.trial["weights"]).resolve() == tmp_path / "net.pth"
    choices = load_spec(path, sets=["space.weights=[none, net.pth, 's3://bucket/best']"]).space["weights"].values
    assert choices == ("none", "../net.pth", "s3://bucket/best")
    first = load_spec(path, sets=["space.weights=[none, net.pth]", "search.first=[{weights: net.pth}]"]).search.first
    assert first == [{"weights": "../net.pth"}]
    conditional = "space.weights={choices: [none, net.pth], when: {optimizer: sgd}}"
    assert load_spec(path, sets=[conditional]).space["weights"].values == ("none", "../net.pth")
    assert load_spec(path, sets=["weights=none", "data.path=/pics"]).trial["weights"] == "none"
    assert load_spec(path, sets=["data.path=/pics"]).data.path == "/pics"


@pytest.mark.parametrize("path", ready_files().values(), ids=ready_files().keys())
def test_a_ready_file_is_valid_and_seen_from_the_current_folder(path):
    spec = load_spec(path)
    assert spec.base == Path()
    assert advice(spec) == []
    header = "".join(itertools.takewhile(lambda line: line.startswith("#"), path.open(encoding="utf-8")))
    assert f"tune search --space {path.name}" in header
    assert "Measured:" in header


def test_the_record_is_plain_json_and_gives_the_same_spec_again(load):
    spec = load(FULL)
    again = Spec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)), base=spec.base)
    assert again == spec
    assert repr(again) == repr(spec)
    assert str(spec.base) not in json.dumps(spec.to_json())


def test_the_record_keeps_the_defaults_of_its_time(load):
    plain = load(SMALL).to_json()
    plain["defaults"]["momentum"] = 0.5  # as if an earlier version had had another default
    assert Spec.from_json(plain).settings_for({"lr": 0.1}) == TrialSettings(lr=0.1, momentum=0.5)


@pytest.mark.parametrize("record", [DataSettings, TrialSettings, SearchSettings, ResourceSettings])
def test_every_setting_is_documented(record):
    docs = setting_docs(record)
    assert [doc.name for doc in docs] == [field.name for field in dataclasses.fields(record)]
    assert all(doc.text.endswith(".") for doc in docs)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "space: {freeze: [none, layer1]}\n",
            "search.trials: 24 trials, but the space has 2 different ones",
        ),
        (
            f"{SMALL}search: {{trials: 5}}\n",
            "search.startup_trials: all 5 trials are random; tpe learns after 10",
        ),
        (
            f"{SMALL}trial: {{epochs: 1}}\n",
            "search.grace_epochs: asha never stops a trial: 1 of at most 1 epoch",
        ),
        (
            f"{SMALL}  momentum: {{low: 0.1, high: 0.9}}\ntrial: {{optimizer: adam}}\n",
            "space.momentum: does nothing with optimizer adam",
        ),
        (
            f"{SMALL}  gamma: {{low: 0.1, high: 0.9}}\n  schedule: [step, cosine]\n",
            "space.gamma: does nothing in some trials; add `when: {schedule: [step]}`",
        ),
        (
            f"{SMALL}  beta2: {{low: 0.9, high: 0.99}}\n  optimizer: [sgd, lbfgs, adamw, adam]\n",
            "space.beta2: does nothing in some trials; add `when: {optimizer: [adamw, adam]}`",
        ),
        (
            f"{SMALL}  label_smoothing: [0, 0.1]\n  loss: [auto, nll, kl_div]\n",
            "space.label_smoothing: does nothing in some trials; add `when: {loss: [auto, kl_div]}`",
        ),
        (
            f"{SMALL}  focal_gamma: {{low: 1, high: 3}}\n",
            "space.focal_gamma: does nothing with loss cross_entropy",
        ),
        (
            f"{SMALL}  milestones: ['8, 9', 9]\ntrial: {{schedule: multistep, epochs: 8}}\n",
            "milestones: 8 of 8 epochs: the learning rate never falls, whatever gamma is",
        ),
        (
            f"{SMALL}  gamma: {{low: 0.1, high: 0.9}}\ntrial: {{warmup_epochs: 2, epochs: 8}}\n",
            "step_size: 7 of 6 epochs: the learning rate never falls, whatever gamma is",
        ),
        (
            f"{SMALL}trial: {{schedule: cosine, warmup_epochs: 8, epochs: 8}}\n",
            "warmup_epochs: 8 of 8 epochs: the trial ends before its schedule begins",
        ),
        (
            f"{SMALL}  warmup_epochs: [0, 2]\n",
            "search.grace_epochs: asha compares trials after 1 epoch, when the learning rate of some has yet to rise"
            " (warmup_epochs) and they are stopped for that; set it to 2",
        ),
        (
            f"{SMALL}  schedule: [step, one_cycle]\nsearch: {{grace_epochs: 2, pruner: median}}\n",
            "search.grace_epochs: median compares trials after 2 epochs, when the learning rate of some has yet to rise"
            " (schedule) and they are stopped for that; set it to 3",
        ),
        (
            f"{SMALL}  warmup_epochs: [0, 7]\ntrial: {{schedule: one_cycle}}\n",
            "search.grace_epochs: asha compares trials after 1 epoch, when the learning rate of some has yet to rise"
            " (warmup_epochs) and they are stopped for that; set search.pruner: none",
        ),
        (
            f"data: {{source: csv, path: table.csv, task: regression}}\n{SMALL}trial: {{loss: margin_ranking}}\n",
            "loss: margin_ranking learns an order and no numbers, which val_mae measures; set search.metric: val_loss",
        ),
        (
            f"{SMALL}  freeze: [none, layer1]\ntrial: {{epochs: 3, freeze_epochs: 3}}\n",
            "freeze_epochs: 3 of 3 epochs: nothing is thawed before the trial ends",
        ),
        (f"{SMALL}trial: {{freeze_epochs: 3}}\n", "freeze_epochs: does nothing with freeze none"),
        (
            f"{SMALL}  init: [default, sparse]\n",
            "init: sparse takes linear layers only; convolutions start as by default",
        ),
        (
            f"{SMALL}  init_mode: [fan_in, fan_out]\ntrial: {{init: orthogonal}}\n",
            "space.init_mode: does nothing with init orthogonal",
        ),
        (
            f"{SMALL}trial: {{loss: mse, label_smoothing: 0.1}}\n",
            "trial.label_smoothing: does nothing with loss mse",
        ),
        (
            f"{SMALL}  optimizer: [adamw, adam]\ntrial: {{nesterov: true}}\n",
            "trial.nesterov: does nothing with optimizer adamw or adam",
        ),
        (
            f"{SMALL}trial: {{optimizer: rprop, schedule: cosine}}\n",
            "trial.schedule: does nothing with optimizer rprop",
        ),
        (
            f"{SMALL}trial: {{optimizer: rprop, warmup_epochs: 2}}\n",
            "trial.warmup_epochs: does nothing with optimizer rprop",
        ),
        (
            f"{SMALL}  schedule: [step, cosine]\ntrial: {{optimizer: rprop}}\n",
            "space.schedule: does nothing with optimizer rprop",
        ),
        (f"{SMALL}trial: {{schedule: constant, gamma: 0.1}}\n", "trial.gamma: does nothing with schedule constant"),
        (
            f"{SMALL}  loss: [auto, focal]\nsearch: {{metric: val_loss}}\n",
            "search.metric: val_loss is each trial's own loss, and loss may differ: such numbers do not compare; set"
            " search.metric: val_accuracy",
        ),
        (
            f"{SMALL}  label_smoothing: [0, 0.1]\nsearch: {{metric: val_loss}}\n",
            "search.metric: val_loss is each trial's own loss, and label_smoothing may differ: such numbers do not"
            " compare; set search.metric: val_accuracy",
        ),
        (
            f"data: {{source: csv, path: table.csv, task: regression}}\n{SMALL}  loss: [mse, margin_ranking]\n",
            "loss: margin_ranking learns an order and no numbers, which val_mae measures; give it a sweep of its own",
        ),
        (
            f"{SMALL}  model: [resnet18, squeezenet1_1]\ntrial: {{loss: bce}}\n",
            "loss: bce wants outputs below zero, which squeezenet1_1 does not give in classification",
        ),
    ],
)
def test_advice(load, text, line):
    assert advice(load(text)) == [line]


@pytest.mark.parametrize(
    "text",
    [
        "  schedule: [step, cosine]\n  gamma: {low: 0.1, high: 0.9, when: {schedule: step}}\n",
        "  optimizer: [sgd, adam, lbfgs]\n  beta2: {low: 0.9, high: 0.99, when: {optimizer: adam}}\n",
        "  label_smoothing: [0, 0.1]\n",  # of the loss that `auto` is
        "  loss: [auto, kl_div]\n  label_smoothing: [0, 0.1]\n",
        "  optimizer: [sgd, adamw]\ntrial: {nesterov: true}\n",  # of use in the first
        "trial: {optimizer: lbfgs, weight_decay: 0, layer_decay: 1, clip_grad_norm: 0.0, nesterov: false}\n",
        "  loss: [auto, cross_entropy]\nsearch: {metric: val_loss}\n",  # one and the same
        "  weight_decay: [0, 0.1]\ntrial: {loss: focal, label_smoothing: 0}\nsearch: {metric: val_loss}\n",
        "  warmup_epochs: [0, 2]\nsearch: {grace_epochs: 2}\n",
        "  warmup_epochs: [0, 2]\nsearch: {pruner: none}\n",
        "trial: {schedule: one_cycle, warmup_epochs: 2}\n",  # the same in all
        "  eta_plus: [1.1, 1.2]\ntrial: {optimizer: rprop, schedule: constant, warmup_epochs: 0}\n",
    ],
)
def test_advice_is_silent_where_conditions_are_right(load, text):
    assert advice(load(SMALL + text)) == []


def test_what_needs_what_is_said_in_settings_that_there_are():
    hints = hints_of(TrialSettings)
    for name, (parent, values) in _ONLY_WITH.items():
        assert name in hints
        assert all(checked(value, hints[parent]) == value for value in values)


def test_a_large_space_is_checked_quickly(load):
    many = "[" + ", ".join(str(number) for number in range(1, 201)) + "]"
    text = (
        f"space:\n  batch_size: {many}\n  step_size: {many}\n  seed: {many}\n  epochs: {many}\n  workers: [0, 1, 2]\n"
    )
    started = time.perf_counter()
    load(text)
    assert time.perf_counter() - started < 2


def test_many_wrong_combinations_are_told_quickly_and_once(load):
    models = ", ".join(f"model{number}" for number in range(900))
    started = time.perf_counter()
    with pytest.raises(UserError) as caught:
        load(f"space:\n  model: [{models}]\n  freeze: [{', '.join(str(number) for number in range(100))}]\n")
    assert time.perf_counter() - started < 2
    assert str(caught.value).count("\n") == 0


def test_advice_does_not_go_through_countless_combinations(load):
    many = "[" + ", ".join(str(number) for number in range(2, 202)) + "]"
    spec = load(f"space:\n  epochs: {many}\n  freeze_epochs: {many}\n  freeze: [none, 1, 2, 3, 4]\n")
    started = time.perf_counter()
    advice(spec)
    assert time.perf_counter() - started < 2


def test_reading_a_sweep_file_imports_neither_torch_nor_ray():
    code = "import sys; import tuning.spec, tuning.cli.check, tuning.cli.init; print(*sys.modules)"
    root = Path(__file__).parent.parent
    modules = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root)
    assert not {"torch", "torchvision", "ray", "pandas", "sklearn"} & set(modules.stdout.split())


# ---- round trip of any valid file -----------------------------------------------------------------------------------

_fixed = {
    "lr": st.floats(1e-8, 999, allow_nan=False),
    "momentum": st.floats(0.01, 0.99),
    "nesterov": st.booleans(),
    "batch_size": st.integers(1, 4096),
    "epochs": st.integers(1, 500),
    "freeze": st.sampled_from(["none", "layer1", "backbone", 0, 2, 5]),
    "optimizer": st.sampled_from(["sgd", "adam", "adamw", "rmsprop"]),
    "weights": st.sampled_from(["auto", "none", "my weights.pth", "é/ü.safetensors", "1.5", "no", "~", "a: b"]),
    "seed": st.integers(0, 2**31 - 1),
}


@st.composite
def sweep_files(draw):
    """Valid sweep files as data."""
    trial, space = {}, {}
    for name, values in _fixed.items():
        place = draw(st.sampled_from(["trial", "space", "neither"]))
        if place == "trial":
            trial[name] = draw(values)
        elif place == "space":
            # By type and value: true is not 1, and 1.0 and 1 are the same learning rate.
            space[name] = draw(
                st.lists(values, min_size=2, max_size=5, unique_by=lambda value: (str(type(value)), value))
            )
    if not space:
        trial.pop("gamma", None)
        space["gamma"] = {"low": 0.1, "high": draw(st.floats(0.2, 1.0))}
    explored = [name for name, entry in space.items() if isinstance(entry, list)]
    if explored:
        parent = draw(st.sampled_from(explored))
        when = {parent: draw(st.lists(st.sampled_from(space[parent]), min_size=1, max_size=2))}
        space["weight_decay"] = {"low": 1e-6, "high": draw(st.floats(1e-5, 1)), "log": True, "when": when}
    search = draw(st.fixed_dictionaries({}, optional={"trials": st.integers(1, 99), "hours": st.floats(0.1, 99)}))
    return {"trial": trial, "space": space, "search": search}


@settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sweep_files(), st.booleans())
def test_yaml_to_spec_to_json_and_back(tmp_path, data, flow):
    path = tmp_path / "sweep.yaml"
    path.write_text(
        yaml.safe_dump(data, default_flow_style=flow, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    spec = load_spec(path)
    assert spec.trial == data["trial"]
    assert {name: list(entry.values) for name, entry in spec.space.items() if isinstance(entry, Choice)} == {
        name: entry for name, entry in data["space"].items() if isinstance(entry, list)
    }
    again = Spec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))
    assert again == spec
    assert repr(again.space) == repr(spec.space)


# ---- files broken at random -----------------------------------------------------------------------------------------

_VALID = [FULL, SMALL, *(path.read_text(encoding="utf-8") for path in ready_files().values())]
_JUNK = st.one_of(
    st.sampled_from(
        [
            ":", ": ", "\t", "  ", "\n", "- ", "[", "]", "{", "}", ",", "&a ", "*a", "!!python/name:os.system ", "!x ",
            "|", ">", "%", "@", "`", "'", '"', "#", "---\n", "...\n", "? ", "<<: ", "\x00", "\ufeff", "\u2028", "\x85",
            "null", "true", "-1", "0", "1e999", ".nan", "-.inf", "9" * 400, "%YAML 9.9\n", '"\\x00"', '"\\UFFFFFFFF"',
            '"\\ud83d"', "when: {lr: 1}", "{low: 1, high: 0}", "[[[[[[[[[[", "space:", "trial:", "é", "\U0001f600",
        ]
    ),
    st.text(max_size=6),
)  # fmt: skip
_EDIT = st.tuples(
    st.sampled_from(["delete", "double", "swap", "insert", "scalar", "cut", "indent"]), st.floats(0, 1), _JUNK
)


def _edited(text: str, edit: tuple[str, float, str]) -> str:
    """One edit, at a place given as a share of the text."""
    kind, where, junk = edit
    lines = text.splitlines(keepends=True) or [""]
    row, column = int(where * (len(lines) - 1)), int(where * len(text))
    if kind == "delete":
        del lines[row]
    elif kind == "double":
        lines.insert(row, lines[row])
    elif kind == "swap":
        lines[row], lines[-1 - row] = lines[-1 - row], lines[row]
    elif kind == "scalar":
        key, colon, _ = lines[row].partition(":")
        lines[row] = f"{key}{colon} {junk}\n"
    elif kind == "indent":
        lines[row] = f" {lines[row]}"
    elif kind == "cut":
        return text[:column]
    else:
        return text[:column] + junk + text[column:]
    return "".join(lines)


@settings(
    derandomize=True, deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(_VALID), st.lists(_EDIT, min_size=1, max_size=6))
@example(SMALL, [("scalar", 0.9, "{low: 1e-5, high: 1e-300, log: true}")])
def test_a_file_broken_at_random_is_a_spec_or_told_in_lines(tmp_path, text, edits):
    for edit in edits:
        text = _edited(text, edit)
    path = tmp_path / "sweep.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        spec = load_spec(path)
    except UserError as error:
        _is_told_well(error, path)
    else:
        assert Spec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False))) == spec
        spec.settings_for({})
        advice(spec)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)))
def test_any_bytes_are_a_spec_or_told_in_lines(tmp_path, raw):
    path = tmp_path / "sweep.yaml"
    path.write_bytes(raw)
    with pytest.raises(UserError) as caught:
        load_spec(path)
    _is_told_well(caught.value, path)


@settings(
    derandomize=True, deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(["lr", "trial.model", "space.lr", "space.lr.low", "search.hours", "data.path", "x.y"]), _JUNK)
def test_any_option_is_taken_or_told_in_lines(tmp_path, name, value):
    path = tmp_path / "sweep.yaml"
    path.write_text(FULL)
    try:
        load_spec(path, sets=[f"{name}={value}"])
    except UserError as error:
        for line in str(error).split("\n"):
            assert line.isprintable() or "\xa0" in line, line


def _is_told_well(error: UserError, path: Path) -> None:
    """Each line stands for one mistake, names the file, and is short enough to read."""
    lines = str(error).split("\n")
    assert len(lines) == len(getattr(error, "errors", [error])) or lines[-1].startswith("… and")
    for line in lines:
        assert line.startswith((str(path), "… and")), line
        assert len(line.splitlines()) == 1
        assert len(line) < 800
