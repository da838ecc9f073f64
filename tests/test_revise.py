"""A sweep taken up with changes: what is taken over, what is refused, and that nothing of the history is lost."""

import json
import shutil
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from reports.record import RECORD
from reports.sweep import Sweep
from simulation import Simulation
from trainables.data.pixels import build_store
from trainables.errors import UserError
from tuning import setup
from tuning.cli.main import main
from tuning.edited import as_written
from tuning.ready import ready_files
from tuning.revise import Revision, is_wider, revise
from tuning.setup import create_sweep, open_sweep
from tuning.space import Choice, Float, Int
from tuning.spec import Spec
from tuning.spec_file import load_spec, read_spec
from tuning.yaml_file import YamlFile

QUIET = Console(quiet=True)
FILE = """\
data: {source: digits}
trial: {model: squeezenet1_1, weights: none, image_size: 24, center_crop: 1.0, augment: none, epochs: 9}
space:
  lr: {low: 1e-3, high: 1e-2, log: true}
  momentum: {low: 0.1, high: 0.8}
  freeze: [none, fire5]
search: {trials: 6, pruner: none}
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with six trials of history."""
    file = tmp_path / "small.yaml"
    file.write_text(FILE)
    spec = load_spec(file)
    folder = create_sweep(spec, text=FILE, name="small", runs=tmp_path / "runs", console=QUIET).folder
    _drive(folder)
    return folder


def _drive(folder: Path) -> None:
    """Runs what is left to do, with the simulation's formula in place of training."""
    sweep, spec, _ = open_sweep(folder, console=QUIET)
    Simulation(sweep.folder, spec).drive()


def _revised(run: Path, revision: Revision) -> list[str]:
    """Makes the changes, as a resume does; what they were."""
    revised = revise(run, revision)
    open_sweep(run, spec=revised.spec, console=QUIET)
    revised.keep()
    return revised.lines


def _edit(run: Path, old: str, new: str) -> None:
    file = run / "sweep.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def _history(run: Path) -> list[dict]:
    trials = Sweep.open(run).ledger().trials()
    return [
        {"params": t.params, "epochs": t.epochs, "state": t.state, "value": t.value, "ended": t.ended} for t in trials
    ]


def test_what_reading_the_pictures_took_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(*args, **options):
        time.sleep(0.05)
        return build_store(*args, **options)

    monkeypatch.setattr(setup, "build_store", slowly)
    file = tmp_path / "small.yaml"
    file.write_text(FILE)
    began = time.monotonic()
    sweep = create_sweep(load_spec(file), text=FILE, name="small", runs=tmp_path / "runs", console=QUIET)
    assert 0.05 <= sweep.record["data"]["reading_s"] <= time.monotonic() - began


def _own_run(tmp_path: Path, picture_folder) -> tuple[Path, Path]:
    """A folder of pictures, and a new run on it."""
    pictures = picture_folder({"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    file = tmp_path / "own.yaml"
    text = FILE.replace("{source: digits}", f"{{source: folder, path: {pictures}}}")
    file.write_text(text)
    run = create_sweep(load_spec(file), text=text, name="own", runs=tmp_path / "runs", console=QUIET).folder
    return pictures, run


def test_nothing_changed_says_nothing(run: Path) -> None:
    before = (run / RECORD).read_bytes()
    assert _revised(run, Revision()) == []
    assert (run / RECORD).read_bytes() == before


def test_advice_that_no_longer_holds_goes(run: Path) -> None:
    random = "search.startup_trials: all 6 trials are random; tpe learns after 10"
    assert random in Sweep.open(run).record["notes"]
    _revised(run, Revision(trials=8))
    notes = Sweep.open(run).record["notes"]
    assert random.replace("6", "8") in notes
    assert random not in notes
    _revised(run, Revision(trials=20))
    assert not any(note.startswith("search.startup_trials") for note in Sweep.open(run).record["notes"])


def test_more_trials_extend_it(run: Path) -> None:
    history = _history(run)
    assert _revised(run, Revision(trials=10)) == ["search.trials was 6, is 10"]
    _drive(run)
    assert len(_history(run)) == 10
    assert _history(run)[:6] == history
    assert _revised(run, Revision()) == [], "a change is said once"


def test_a_setting_that_was_not_there_is_said_so(run: Path) -> None:
    assert _revised(run, Revision(hours=1.5)) == ["search.hours was nothing, is 1.5"]


def test_fewer_trials_than_there_are(run: Path) -> None:
    with pytest.raises(UserError, match="the sweep has more trials than that: got 3, expected ≥ 6"):
        _revised(run, Revision(trials=3))


def test_a_wider_choice_is_taken_over(run: Path) -> None:
    history = _history(run)
    _edit(run, "[none, fire5]", "[none, fire5, backbone]")
    _edit(run, "high: 1e-2", "high: 2e-2")
    lines = _revised(run, Revision(trials=30))
    assert "space.freeze was [none, fire5], is [none, fire5, backbone]" in lines
    assert "space.lr was 0.001 to 0.01, log scale, is 0.001 to 0.02, log scale" in lines
    assert _history(run) == history
    _drive(run)
    assert _history(run)[:6] == history
    assert {"none", "fire5", "backbone"} == {t["params"]["freeze"] for t in _history(run)[6:]}


def test_a_sweep_that_stopped_over_errors_goes_on_wider(run: Path) -> None:
    ledger = Sweep.open(run).ledger(writable=True)
    ledger.record_outcome("errors")
    ledger.record_elapsed(7000.0)
    _edit(run, "high: 1e-2", "high: 2e-2")
    _revised(run, Revision(trials=8))
    after = Sweep.open(run).ledger()
    assert after.forgiven() == 6, "they count no more"
    assert after.elapsed_s() == 7000.0, "hours count as before"


def test_a_crash_while_the_history_is_widened_leaves_it_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, journal = _history(run), (run / "journal.log").read_bytes()
    _edit(run, "high: 1e-2", "high: 2e-2")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("optuna.study.Study.add_trial", killed)  # its first trial is not there yet
        with pytest.raises(KeyboardInterrupt):
            _revised(run, Revision())
    assert (run / "journal.log").read_bytes() == journal
    assert len(_revised(run, Revision(trials=8))) == 2
    assert _history(run) == history
    _drive(run)
    assert len(_history(run)) == 8


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("model: squeezenet1_1", "model: squeezenet1_0", "trial.model was squeezenet1_1, is squeezenet1_0"),
        ("epochs: 9", "epochs: 5", "trial.epochs was 9, is 5"),
        ("[none, fire5]", "[none, fire6]", "space.freeze was [none, fire5], is [none, fire6]"),
        ("low: 0.1, high: 0.8", "low: 0.2, high: 0.8", "space.momentum was 0.1 to 0.8, is 0.2 to 0.8"),
        (
            "low: 1e-3, high: 1e-2, log: true",
            "low: 1e-3, high: 1e-2",
            "space.lr was 0.001 to 0.01, log scale, is 0.001 to 0.01",
        ),
        ("  freeze: [none, fire5]\n", "", "space.freeze was [none, fire5], is not explored"),
        ("pruner: none", "pruner: asha", "search.pruner was none, is asha"),
        ("trials: 6", "trials: 6, metric: val_loss", "search.metric was val_accuracy, is val_loss"),
    ],
)
def test_what_would_make_the_history_worthless_is_refused(run: Path, old: str, new: str, where: str) -> None:
    record, journal = (run / RECORD).read_bytes(), (run / "journal.log").read_bytes()
    _edit(run, old, new)
    with pytest.raises(UserError) as caught:
        _revised(run, Revision())
    assert where in str(caught.value)
    assert "--name" in str(caught.value)
    assert (run / RECORD).read_bytes() == record
    assert (run / "journal.log").read_bytes() == journal


def test_options_of_the_time_stay_in_force(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(FILE)
    spec = load_spec(file, sets=("momentum=0.7",), trials=2)
    run = create_sweep(spec, text=FILE, name="small", runs=tmp_path / "runs", console=QUIET).folder
    _edit(run, "trials: 6", "trials: 6, keep: 1")
    assert _revised(run, Revision()) == ["search.keep was 5, is 1"]
    revised = open_sweep(run, console=QUIET)[1]
    assert (revised.search.trials, revised.trial["momentum"]) == (2, 0.7)
    assert "momentum" not in revised.space


def test_an_edit_is_checked_together_with_the_options_of_the_time(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    text = FILE.replace("squeezenet1_1", "resnet18").replace("fire5", "backbone")
    file.write_text(text)
    spec = load_spec(file, sets=("model=squeezenet1_1",))
    run = create_sweep(spec, text=text, name="small", runs=tmp_path / "runs", console=QUIET).folder
    _edit(run, "[none, backbone]", "[none, backbone, layer2]")
    with pytest.raises(UserError, match=rf"{run}/sweep\.yaml:6: space\.freeze: squeezenet1_1 has no such stage"):
        revise(run, Revision())
    _edit(run, "layer2", "fire5")
    assert _revised(run, Revision()) == ["space.freeze was [none, backbone], is [none, backbone, fire5]"]


def test_a_file_that_is_whole_with_its_options_alone(tmp_path: Path, picture_folder) -> None:
    pictures = picture_folder({"train/a": 3, "train/b": 3, "val/a": 2, "val/b": 2})
    file = tmp_path / "own.yaml"
    text = FILE.replace("{source: digits}", "{source: folder}")
    file.write_text(text)
    spec = load_spec(file, sets=(f"data.path={pictures}",))
    run = create_sweep(spec, text=text, name="own", runs=tmp_path / "runs", console=QUIET).folder
    _edit(run, "trials: 6", "trials: 8")
    assert _revised(run, Revision()) == ["search.trials was 6, is 8"]
    assert open_sweep(run, console=QUIET)[1].data.path == str(pictures)


@pytest.mark.parametrize(
    ("old", "new", "error"),
    [
        ("image_size: [20, 24]", "image_size: [20, 24, 48]", "kept at a smaller size"),
        ("weights: [none, auto]", "weights: [none, auto, typo.pth]", "typo.pth"),
    ],
)
def test_what_cannot_be_done_leaves_the_sweep_as_it_was(tmp_path: Path, old: str, new: str, error: str) -> None:
    file = tmp_path / "small.yaml"
    text = FILE.replace(" weights: none, image_size: 24,", "")
    text = text.replace("space:\n", "space:\n  image_size: [20, 24]\n  weights: [none, auto]\n")
    file.write_text(text)
    run = create_sweep(load_spec(file), text=text, name="small", runs=tmp_path / "runs", console=QUIET).folder
    _drive(run)
    record, history = (run / RECORD).read_bytes(), _history(run)
    _edit(run, old, new)
    with pytest.raises(UserError, match=error):
        _revised(run, Revision())
    assert (run / RECORD).read_bytes() == record
    assert _history(run) == history
    _edit(run, new, old)
    assert _revised(run, Revision(trials=7)) == ["search.trials was 6, is 7"]


def test_another_way_to_write_the_same_is_no_change(run: Path) -> None:
    _edit(run, "  freeze: [none, fire5]", "  freeze: {choices: [none, fire5]}")
    _edit(run, "epochs: 9", "epochs: 9.0")
    assert _revised(run, Revision()) == []


@pytest.mark.parametrize("odd", ["resources: 5", "resources: [1]", "resurces: {workers: 2}", "search: 0"])
def test_what_is_no_section_is_told(run: Path, odd: str) -> None:
    file = run / "sweep.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith(odd.partition(":")[0])]
    file.write_text("\n".join([*lines, odd, ""]).replace("epochs: 9", "epochs: 10"))
    with pytest.raises(UserError, match=rf"sweep\.yaml:{len(lines) + 1}: "):
        revise(run, Revision())


@pytest.mark.parametrize(
    "dimension",
    [
        Float(1.0, 10.0, step=1.0),
        Float(1.0, 1.9, step=0.1),
        Float(1e-4, 0.1, log=True),
        Float(0.1, 0.5, when={"optimizer": ("sgd", "adam")}),
    ],
)
def test_a_range_written_as_its_file_has_it_is_the_same(dimension: Float) -> None:
    spec = Spec(space={"optimizer": Choice(("sgd", "adam")), "head_lr_factor": dimension})
    assert read_spec(YamlFile(Path("again.yaml"), as_written(spec), {}), base=Path()).space == spec.space


@pytest.mark.parametrize("dimension", [Int(1, 9), Int(2, 8, step=2), Int(1, 64, log=True), Choice((1, 2, 8))])
def test_whole_numbers_too(dimension: Int | Choice) -> None:
    spec = Spec(space={"batch_size": dimension})
    assert read_spec(YamlFile(Path("again.yaml"), as_written(spec), {}), base=Path()).space == spec.space


def test_first_trials_are_history(tmp_path: Path) -> None:
    """A range that is narrowed past them is told as that."""
    text = FILE.replace("trials: 6", "first: [{lr: 0.001}], trials: 6")
    file = tmp_path / "small.yaml"
    file.write_text(text)
    run = create_sweep(load_spec(file), text=text, name="small", runs=tmp_path / "runs", console=QUIET).folder
    _edit(run, "low: 1e-3", "low: 2e-3")
    with pytest.raises(UserError, match=r"space\.lr was 0\.001 to 0\.01, log scale, is 0\.002"):
        revise(run, Revision())
    _edit(run, "low: 2e-3", "low: 1e-4")
    assert len(_revised(run, Revision())) == 1
    assert Sweep.open(run).record["spec"]["search"]["first"] == [{"lr": 0.001}]


def test_a_sweep_that_explores_nothing_has_one_trial(tmp_path: Path) -> None:
    text = "data: {source: digits}\ntrial: {model: small_cnn, weights: none, image_size: 32}\nsearch: {trials: 1}\n"
    file = tmp_path / "one.yaml"
    file.write_text(text)
    run = create_sweep(load_spec(file), text=text, name="one", runs=tmp_path / "runs", console=QUIET).folder
    with pytest.raises(UserError, match="nothing is explored"):
        revise(run, Revision(trials=2))


def test_check_tells_what_a_resume_would_make_of_an_edit(run: Path) -> None:
    said = CliRunner().invoke(main, ["check", str(run)])
    assert "nothing differs" in said.output, said.output
    _edit(run, "trials: 6", "trials: 8")
    before = (run / RECORD).read_bytes()
    said = CliRunner().invoke(main, ["check", str(run / "sweep.yaml")])
    assert said.exit_code == 0
    assert said.output.splitlines()[-2:] == ["search.trials was 6, is 8", f"Go on with it: tune resume {run}"]
    assert (run / RECORD).read_bytes() == before
    assert CliRunner().invoke(main, ["check", str(run), "--set", "lr=1"]).exit_code == 2


def test_a_file_in_another_encoding_is_told(run: Path) -> None:
    (run / "sweep.yaml").write_bytes(FILE.encode() + "# für später".encode("latin-1"))
    with pytest.raises(UserError, match=r"sweep\.yaml:8: not UTF-8 text"):
        revise(run, Revision())


@pytest.mark.parametrize("name", list(ready_files()))
def test_a_sweep_written_as_its_file_says_the_same(name: str) -> None:
    spec = load_spec(ready_files()[name])
    file = YamlFile(Path("again.yaml"), as_written(Spec.from_json(json.loads(json.dumps(spec.to_json())))), {})
    assert read_spec(file, base=Path()) == spec


def test_a_broken_edit_names_its_line_and_leaves_the_record(run: Path) -> None:
    record = (run / RECORD).read_bytes()
    _edit(run, "trials: 6", "trials: many")
    with pytest.raises(UserError, match=r"sweep\.yaml:7"):
        _revised(run, Revision())
    assert (run / RECORD).read_bytes() == record
    assert not list(run.glob(".sweep.yaml*"))


def test_another_version_of_torch_is_said_once(run: Path) -> None:
    record = json.loads((run / RECORD).read_text())
    record["versions"]["torch"] = "2.0.0"
    (run / RECORD).write_text(json.dumps(record))
    (line,) = _revised(run, Revision())
    assert line.startswith("torch was 2.0.0, is ")
    assert _revised(run, Revision()) == []


def test_other_pictures_are_refused(tmp_path: Path, picture_folder) -> None:
    pictures, run = _own_run(tmp_path, picture_folder)
    open_sweep(run, console=QUIET)
    (pictures / "train/a/0.png").unlink()
    with pytest.raises(UserError, match="the pictures are not those the sweep began with"):
        open_sweep(run, console=QUIET)


def test_moved_pictures_and_a_moved_run_are_found_again(tmp_path: Path, picture_folder) -> None:
    pictures, run = _own_run(tmp_path, picture_folder)
    moved_pictures = tmp_path / "elsewhere" / "pictures"
    shutil.move(pictures, moved_pictures)
    moved = Path(shutil.move(run, tmp_path / "moved"))
    with pytest.raises(UserError, match=r"data\.path"):
        open_sweep(moved, console=QUIET)
    _edit(moved, str(pictures), str(moved_pictures))
    _revised(moved, Revision())
    _drive(moved)
    assert len(_history(moved)) == 6


@pytest.mark.parametrize(
    ("old", "new", "wider"),
    [
        (Choice((1, 2)), Choice((2, 1, 3)), True),
        (Choice((1, True)), Choice((1, 1.0)), False),
        (Choice((1, 2)), Choice((1,)), False),
        (Float(0.1, 1.0), Float(0.1, 2.0), True),
        (Float(0.1, 1.0), Float(0.1, 2.0, log=True), False),
        (Int(1, 9, step=2), Int(1, 11, step=2), True),
        (Int(3, 9, step=2), Int(0, 11, step=2), False),
        (Float(0.3, 0.9, step=0.1), Float(0.1, 0.9, step=0.1), True),
        (Float(0.3, 0.9, step=0.1), Float(0.15, 0.9, step=0.1), False),
        (Int(1, 9), Float(1, 9), False),
        (Float(1, 9), Float(1, 9, step=1.0), False),
        (Int(1, 9, when={"a": (1,)}), Int(1, 9), False),
    ],
)
def test_wider(old, new, wider: bool) -> None:
    assert is_wider(old, new) is wider


@pytest.mark.parametrize("name", ["", ".hidden", "../elsewhere", "a/b"])
def test_a_name_that_is_none(tmp_path: Path, name: str) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(FILE)
    with pytest.raises(UserError, match="not a name for a folder"):
        create_sweep(load_spec(file), text=FILE, name=name, runs=tmp_path / "runs", console=QUIET)
    assert not (tmp_path / "runs").exists()
