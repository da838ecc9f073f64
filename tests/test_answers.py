"""What a sweep found and how sure that is; the file that trains the winner again; trials gathered by settings."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from report_parts import trial
from reports.answers import answer_of, standard_error, winner_file
from reports.comparisons import categorical_settings, comparison, pair_grid
from reports.ledger import TrialRecord
from reports.results import Results
from reports.sweep import Sweep
from reports.write import write_report
from runs import Planned, make_run
from trainables.settings import TrialSettings
from tuning.setup import short_side
from tuning.spec_file import load_spec


def planned(*values: float, state: str = "complete") -> list[Planned]:
    return [Planned(state, values=[value]) for value in values]


def answer(tmp_path: Path, trials: list[Planned], **options: object):
    sweep = Sweep.open(make_run(tmp_path, trials=trials, **options))
    return answer_of(sweep, sweep.ledger().trials())


def test_the_answer_is_the_best_trial_with_its_noise(tmp_path: Path) -> None:
    found = answer(tmp_path, [*planned(0.75, 0.5, 0.7), *planned(0.9, state="pruned")])
    assert (found.best.number, found.complete, found.gap) == (0, 3, pytest.approx(0.05))
    assert found.pictures == 4  # two of each class
    assert found.noise == standard_error(0.75, pictures=4)
    assert found.within_noise == 1  # 0.7 is, 0.5 is not
    assert found.cheapest is found.best  # of equals the better one
    assert (found.epochs, found.trial_seconds, found.wall_seconds) == (4, 6.0, 31.0)


@pytest.mark.parametrize(
    ("epochs", "cheapest", "said"),
    [
        ([[0.5, 0.75], [0.7], [0.6, 0.7], [0.1]], 1, "2 of the 3 other complete trials lie within that of the best. The"
         " cheapest of them is trial 1: 0.7 after 1.5 s where the best took 3.0 s."),
        ([[0.75], [0.6, 0.7]], 0, "The other complete trial lies within that of the best, and none of them took"
         " less time."),
        ([[0.75, 0.75], [0.1]], 0, "The other complete trial does not lie within that of the best."),
    ],
)  # fmt: skip
def test_the_cheapest_of_those_as_good_is_named(
    tmp_path: Path, epochs: list[list[float]], cheapest: int, said: str
) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=[Planned("complete", values=values) for values in epochs]))
    results = Results.of(sweep)
    assert results.answer.cheapest.number == cheapest
    write_report(sweep, tmp_path / "report")
    assert said in (tmp_path / "report" / "index.html").read_text()
    assert json.loads((tmp_path / "report" / "report.json").read_text())["cheapest_within_noise"] == cheapest


@pytest.mark.parametrize(("share", "pictures"), [(0.5, 100), (0.9, 1000)])
def test_the_standard_error_is_nearly_the_textbook_one(share: float, pictures: int) -> None:
    textbook = math.sqrt(share * (1 - share) / pictures)
    assert standard_error(share, pictures=pictures) == pytest.approx(textbook, rel=0.03)


def test_a_perfect_score_still_has_noise() -> None:
    assert standard_error(1.0, pictures=50) > 0.02


def test_a_loss_has_no_standard_error(tmp_path: Path) -> None:
    found = answer(tmp_path, planned(0.5, 0.4), metric="val_loss")
    assert (found.best.number, found.noise, found.within_noise) == (1, None, None)


@pytest.mark.parametrize("trials", [[], planned(0.5, state="running"), [Planned("failed", error="boom")]])
def test_there_may_be_no_answer(tmp_path: Path, trials: list[Planned]) -> None:
    found = answer(tmp_path, trials)
    assert (found.best, found.complete, found.gap, found.noise, found.within_noise) == (None, 0, None, None, None)


def test_the_winner_file_is_a_sweep_file_of_that_one_trial(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[Planned("complete", {"lr": 0.00012345, "freeze": 2, "nesterov": True}, [0.9])])
    sweep = Sweep.open(run)
    best = sweep.ledger().best()
    path = tmp_path / "elsewhere" / "best.yaml"
    path.parent.mkdir()
    path.write_text(winner_file(sweep, best))
    spec = load_spec(path)
    assert (spec.search.trials, spec.space) == (1, {})
    assert spec.settings_for({}) == TrialSettings(**best.settings)
    assert spec.settings_for({}).lr == 0.00012345


def test_the_winner_file_keeps_pictures_at_the_sweeps_size(tmp_path: Path) -> None:
    """Other trials may have wanted larger ones, and views are cut from what is kept."""
    sweep = Sweep.open(make_run(tmp_path, trials=planned(0.5)))
    own = short_side(load_spec(_written(sweep, tmp_path)))
    sweep.record["data"]["short_side"] = own + 100
    assert short_side(load_spec(_written(sweep, tmp_path))) == own + 100


def _written(sweep: Sweep, folder: Path) -> Path:
    path = folder / "best.yaml"
    path.write_text(winner_file(sweep, sweep.ledger().best()))
    return path


def test_the_winner_file_finds_pictures_and_weights_from_anywhere(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=planned(0.5)))
    best = sweep.ledger().best()
    pictures = tmp_path / "my pictures: #1"
    sweep.record["spec"]["data"] |= {"source": "folder", "path": pictures.name}
    weights = {"kind": "file", "path": str(tmp_path / "w.pth"), "digest": "0" * 64, "note": ""}
    sweep.record["weights"] = {"none": {"resnet18": weights}}
    path = tmp_path / "best.yaml"
    path.write_text(winner_file(sweep, best))
    spec = load_spec(path)
    assert spec.data.path == str(pictures)
    assert spec.settings_for({}).weights == str(tmp_path / "w.pth")


def test_the_winner_file_finds_the_pictures_of_a_table_and_shares_as_much(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path, trials=planned(0.5)))
    best = sweep.ledger().best()
    sweep.record["spec"]["data"] |= {"source": "csv", "path": "table.csv", "root": "pictures"}
    for given, recorded, expected in (
        ("auto", 18_446_744_073, 18_446_744_073),
        (1.5, 7, 1_500_000_000),
        ("auto", 0, 0),
    ):
        sweep.record["spec"]["resources"]["shared_gb"] = given
        sweep.record["sharing_bytes"] = recorded
        path = tmp_path / "elsewhere.yaml"
        path.write_text(winner_file(sweep, best))
        spec = load_spec(path)
        assert int(spec.resources.shared_gb * 10**9) == expected
    assert (spec.data.path, spec.data.root) == (str(tmp_path / "table.csv"), str(tmp_path / "pictures"))


# comparisons


def test_comparison_tells_what_was_trained() -> None:
    trials = [
        trial(0, values=[0.5], params={"freeze": "none"}, trainable=1000, parameters=1000),
        trial(1, values=[0.7], params={"freeze": "layer2"}, trainable=100, parameters=1000),
        trial(2, values=[0.8], params={"freeze": "layer2"}, trainable=300, parameters=1000),
        trial(3, "failed", params={"freeze": "layer2"}),
    ]
    table = comparison(trials, "freeze", mode="max")
    assert table.columns[-2:] == ("trainable", "trainable_share")
    assert [(row[0], row[-2], row[-1]) for row in table.rows] == [("layer2", 200, 0.2), ("none", 1000, 1.0)]


def test_without_the_number_of_all_parameters_no_share_is_known() -> None:
    table = comparison([trial(0, values=[0.5], params={"freeze": "layer2"}, trainable=100)], "freeze", mode="max")
    assert table.columns[-1] == "trainable"


def test_trials_to_which_a_setting_does_not_apply_are_left_out_and_counted() -> None:
    trials = [
        trial(0, values=[0.5], params={"freeze": "none", "gamma": 0.3}),
        trial(1, values=[0.7], params={"freeze": "layer2", "gamma": 0.3}),
        *(_with_default(trial(n, values=[0.9], params={"gamma": 0.3}), "freeze", "none") for n in (2, 3)),
    ]
    table = comparison(trials, "freeze", mode="max")
    assert table.title == "By freeze (does not apply to 2 of 4 trials)"
    assert [row[:6] for row in table.rows] == [("layer2", 1, 1, 0, 0, 0.7), ("none", 1, 1, 0, 0, 0.5)]
    grid = pair_grid(trials, "freeze", "gamma", mode="max")
    assert (grid.row_labels, grid.left_out) == (("none", "layer2"), 2)
    assert [cell.best for (cell,) in grid.cells if cell] == [0.5, 0.7]
    assert comparison(trials[:2], "freeze", mode="max").title == "By freeze"
    assert pair_grid(trials[:2], "freeze", "gamma", mode="max").left_out == 0


def _with_default(record: TrialRecord, setting: str, value: object) -> TrialRecord:
    return dataclasses.replace(record, settings={**record.settings, setting: value})


def test_a_grid_of_two_choices_counts_every_trial_once() -> None:
    trials = [
        trial(n, state, values=[value], params={"freeze": freeze, "lr": lr})
        for n, (freeze, lr, state, value) in enumerate(
            [
                ("none", 0.1, "complete", 0.5), ("none", 0.1, "complete", 0.9),
                ("layer2", 0.1, "pruned", 0.9), (2, 0.01, "complete", 0.3),
            ]
        )
    ]  # fmt: skip
    grid = pair_grid(trials, "freeze", "lr", mode="max")
    assert (grid.row_labels, grid.column_labels) == (("none", "layer2", 2), (0.01, 0.1))
    assert grid.cells[0][0] is None
    assert (grid.cells[0][1].trials, grid.cells[0][1].best, grid.cells[0][1].median) == (2, 0.9, 0.7)
    assert (grid.cells[1][1].trials, grid.cells[1][1].complete, grid.cells[1][1].best) == (1, 0, None)
    assert sum(cell.trials for row in grid.cells for cell in row if cell) == len(trials)


def test_a_number_of_many_values_is_cut_into_ranges_of_equal_counts() -> None:
    trials = [trial(n, values=[0.5], params={"lr": 10 ** (-5 + n / 10), "freeze": "none"}) for n in range(40)]
    grid = pair_grid(trials, "lr", "freeze", mode="max")
    assert [row[0].trials for row in grid.cells] == [10, 10, 10, 10]
    assert grid.row_labels[0] == "1e-05 – 7.943e-05"
    assert grid.column_labels == ("none",)


@pytest.mark.parametrize(
    ("values", "ranges"),
    [
        ([1, 2, *[3] * 20, 4, 5, 6, 7, 8, 9], {"1 – 3": 22, "4 – 9": 6}),
        ([*range(1, 9), *[9] * 12], {"1 – 5": 5, "6 – 9": 15}),
        ([*[1] * 12, *range(2, 10)], {1: 12, "2 – 4": 3, "5 – 9": 5}),
    ],
)
def test_equal_values_are_in_one_range(values: list[int], ranges: dict[object, int]) -> None:
    trials = [trial(n, values=[0.5], params={"gamma": value, "freeze": "none"}) for n, value in enumerate(values)]
    grid = pair_grid(trials, "gamma", "freeze", mode="max")
    counts = [cell.trials for (cell,) in grid.cells if cell]
    assert dict(zip(grid.row_labels, counts, strict=True)) == ranges


def test_grids_go_down_for_a_loss() -> None:
    trials = [trial(n, values=[value], params={"freeze": "none", "lr": 0.1}) for n, value in enumerate([0.5, 0.2])]
    assert pair_grid(trials, "freeze", "lr", mode="min").cells[0][0].best == 0.2
    assert categorical_settings(trials) == ["freeze"]
