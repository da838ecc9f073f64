"""The report's page as text: all sections there, no text of a user's taken for markup, nothing loaded from anywhere."""

import dataclasses
import io
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from big_run import make_big_run
from report_parts import SECTIONS, add_predictions, trial
from reports.best_section import _class_table
from reports.charts import MOST_BARS, MOST_CURVES, MOST_POINTS, curves_of, history_of, timeline_of
from reports.comparison_section import add_comparisons
from reports.evaluation import ClassMeasures
from reports.leaderboard_section import failures
from reports.ledger import Ledger
from reports.markup import Markup, bdi, chart_text, definitions, html_table, safe_json, tag, whole_text
from reports.page import Page
from reports.predictions import written
from reports.record_section import warnings
from reports.results import Results
from reports.study_charts import MOST_DOTS, MOST_JUDGED, MOST_LINES, MOST_TRIALS, sampled_study
from reports.sweep import Sweep
from reports.tables import Table
from reports.thumbnails import thumbnails
from reports.write import write_report
from runs import HOSTILE, TRIALS, Planned, make_run
from trainables.errors import UserError
from trainables.models.init import InitReport
from tuning.progress import ended_line
from tuning.space import Float
from tuning.spec import Spec

_VOID = {"meta", "link", "input", "img", "br", "!doctype"}


class Reader(HTMLParser):
    """What a browser sees of a page: elements, attributes, the text by section, the data in its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self.scripts: dict[str, str] = {}
        self._section = self._script = ""
        self.feed(html)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, name: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(name)
        self.attributes += [(name, key, value or "") for key, value in attributes]
        if name not in _VOID:
            self.open.append(name)
        said = dict(attributes)
        if name == "section":
            self._section = said["id"] or ""
            self.sections[self._section] = ""
        self._script = (said.get("id") or "code") if name == "script" else ""

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name
        if name == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        elif self._section:
            self.sections[self._section] += data

    def data(self, name: str):
        return json.loads(self.scripts[name])


def page_of(run: Path) -> Reader:
    return Reader(html_of(run))


def html_of(run: Path) -> str:
    write_report(Sweep.open(run), run / "report")
    return (run / "report" / "index.html").read_text(encoding="utf-8")


def task_of(run: Path, task: str) -> None:
    record = json.loads((run / "sweep.json").read_text())
    (run / "sweep.json").write_text(json.dumps({**record, "task": task}))


def test_an_interrupted_sweep_says_why_and_has_paused_trials_everywhere(tmp_path: Path) -> None:
    trials = [Planned("complete", values=[0.5, 0.7]), Planned("running", values=[0.6])]
    html = html_of(make_run(tmp_path, trials=trials, outcome="hours"))
    page = Reader(html)
    assert "interrupted</span> (its hours are used up) · 2 of 4 trials begun (1 complete, 1 paused)" in html
    names = {trace["name"] for figure in page.data("figures").values() for trace in figure["data"] if "name" in trace}
    assert "paused" in names
    assert "running" not in names


# the pieces


@pytest.mark.parametrize("text", HOSTILE)
def test_pieces_escape_what_comes_from_outside(text: str) -> None:
    for piece in (
        bdi(text),
        tag("p", text),
        definitions([("name", text)]),
        html_table(Table(text, (text,), ((text,),))),
    ):
        reader = Reader(piece)
        assert "script" not in reader.tags
        assert set(reader.tags) <= {
            "bdi",
            "p",
            "dl",
            "dt",
            "dd",
            "div",
            "table",
            "caption",
            "thead",
            "tbody",
            "tr",
            "th",
            "td",
        }
        assert "\u202e" not in piece
        assert "\x1b" not in piece
    ((_, _, value),) = Reader(tag("p", attributes={"title": text})).attributes
    assert value == "".join(c for c in text if c.isprintable() or c == "\n")


@pytest.mark.parametrize("text", [*HOSTILE, "</script><script>alert(1)</script>", "<!--", "\u2028 \u2029", "&lt;"])
def test_data_in_a_script_element_cannot_end_it(text: str) -> None:
    found = safe_json({text: [text, float("nan"), 0.1 + 0.2, True]})
    assert not re.search(r"[<>&\u2028\u2029]", found)
    assert json.loads(found) == {text: [text, None, 0.3, True]}


@pytest.mark.parametrize(
    ("value", "text"),
    [("<b>", "&lt;b&gt;"), ("@best", "&#64;best"), ("x" * 99, "x" * 39 + "…"), (0.5, "0.5"), (None, "")],
)
def test_labels_of_charts_are_neither_markup_nor_colours(value: object, text: str) -> None:
    assert chart_text(value) == text


def test_markup_is_taken_as_it_is_and_nothing_else() -> None:
    assert tag("p", Markup("<b>x</b>"), "<b>") == "<p><b>x</b>&lt;b&gt;</p>"
    assert whole_text("a: 1\n\tb: <x>\x1b\u202e") == "a: 1\n    b: &lt;x&gt;"


def test_a_page_without_charts_has_no_chart_library() -> None:
    page = Page(title="<b>", lead=tag("p", "x"))
    page.section("one", "One", tag("p", "text"))
    html = page.html()
    assert len(html) < 40_000
    assert Reader(html).sections == {"one": "Onetext"}


# the report


def test_a_report_has_every_section_and_its_tables(tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path, outcome="trials"))
    assert list(page.sections) == SECTIONS
    assert all(len(text) > 40 for text in page.sections.values())
    assert "0.95" in page.sections["answer"]
    assert "equals it" in page.sections["answer"]
    assert "best.yaml" in page.sections["answer"]
    assert "2 of the 2 other complete trials lie within" in page.sections["answer"]
    assert "alert(1)" in page.sections["leaderboard"]  # the failed trials' reasons, as text
    assert "By freeze" in page.sections["comparisons"]
    assert "freeze × nesterov" in page.sections["comparisons"]
    assert "tune export" in page.sections["model"]
    assert "f" * 64 in page.sections["record"]
    assert "5 of 10 trials failed" in page.sections["record"]
    links = [value for name, key, value in page.attributes if (name, key) == ("a", "href")]
    assert links == [f"#{name}" for name in SECTIONS]


@pytest.mark.parametrize(
    ("model", "pictures"),
    [
        ({"trial": 1, "measured": {"val": {"pictures": 4}, "test": {"pictures": 40, "accuracy": 0.875}}}, 40),
        ({"trial": 0, "measured": {"test": {"pictures": 40, "accuracy": 0.875}}}, None),  # of another trial
        ({"trial": 1, "measured": {"missing": "gone"}}, None),
        ({"trial": 1, "measured": {"test": {"pictures": True, "accuracy": "0.875"}}}, None),
        ([], None),
    ],
)
def test_the_test_score_stands_beside_the_best_one(tmp_path: Path, model: object, pictures: int | None) -> None:
    run = make_run(tmp_path)
    (run / "best").mkdir()
    (run / "best" / "model.json").write_text(json.dumps(model))
    said = page_of(run).sections["answer"]
    assert ("0.875 ± 0.055test_accuracy of its exported model, on 40 pictures" in said) == (pictures is not None)
    assert ("test_accuracy" in said) == (pictures is not None)
    listed = (run / "report" / "leaderboard.md").read_text()
    assert ("\n- test_accuracy 0.875 on 40 pictures that chose nothing\n" in listed) == (pictures is not None)
    found = json.loads((run / "report" / "report.json").read_text())["test"]
    assert (found and found["pictures"]) == pictures


def test_what_reading_the_pictures_took_is_told_where_it_is_recorded(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    assert "reading the pictures" not in page_of(run).sections["trials"]
    record = json.loads((run / "sweep.json").read_text())
    record["data"]["reading_s"] = 75.2
    (run / "sweep.json").write_text(json.dumps(record))
    said = "Before the first trial, 1 min 15 s went into reading the pictures."
    assert said in page_of(run).sections["trials"]
    assert json.loads((run / "report" / "report.json").read_text())["cost"]["reading_seconds"] == 75.2


def test_large_numbers_are_written_as_people_write_them(tmp_path: Path) -> None:
    trials = [Planned("complete", values=[239041.27, 212345.6]), Planned("complete", values=[248000.5])]
    run = make_run(tmp_path, metric="val_mae", trials=trials)
    page = page_of(run)
    assert "212346" in page.sections["answer"]
    assert "35655 ahead of the second-best" in page.sections["answer"]
    exponent = re.compile(r"\de[+]")
    for text in (*page.sections.values(), (run / "report" / "leaderboard.md").read_text()):
        assert not exponent.search(text)
    hovers = re.findall(r'"hovertemplate": ?"([^"]+)"', json.dumps(page.data("figures")))
    assert [hover for hover in hovers if re.search(r":[.\d]*g}", hover)] == []
    assert any(":.4~r}" in hover for hover in hovers)
    (first, _) = Sweep.open(run).ledger().trials()
    assert "val_mae 212346 (epoch 2 of 2)" in ended_line(first, metric="val_mae")


def test_one_is_no_plural(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[Planned("complete", values=[0.5])], classes=("ants",))
    record = json.loads((run / "sweep.json").read_text())
    record["spec"]["search"] |= {"trials": 1, "hours": 1}
    record["spec"]["trial"]["epochs"] = 1
    record["data"]["counts"] = {"train": {"ants": 1}, "val": {"ants": 1}}
    (run / "sweep.json").write_text(json.dumps(record))
    said = " ".join(page_of(run).sections.values()) + (run / "report" / "leaderboard.md").read_text()
    assert "1 of 1 trial begun of up to 1 epoch, 1 hour" in said
    assert re.findall(r"\b1 (?:complete )?(?:trials|epochs|pictures|classes|hours|settings)\b", said) == []


def test_the_leaderboards_data_has_every_trial_and_explored_setting(tmp_path: Path) -> None:
    rows = page_of(make_run(tmp_path)).data("rows")
    names = [column["name"] for column in rows["columns"]]
    assert names == [
        "rank", "trial", "state", "val_accuracy", "best_epoch", "epochs_run", "seconds", "lr", "freeze", "nesterov",
        "error",
    ]  # fmt: skip
    assert len(rows["rows"]) == len(TRIALS)
    assert rows["rows"][0] == [1, 1, "complete", 0.95, 2, 3, 4.5, 0.02, "layer2", False, None]
    assert rows["best"] == 1
    assert rows["rows"][8][-1] == HOSTILE[0]


def test_every_figure_has_its_place_and_the_other_way_round(tmp_path: Path) -> None:
    trials = [
        Planned("complete", {"lr": 0.01 * n, "freeze": freeze, "nesterov": n > 3}, [n / 9])
        for n in range(1, 7)
        for freeze in ("none", "layer2")
    ]
    page = page_of(make_run(tmp_path, trials=trials))
    places = [value for _, key, value in page.attributes if key == "data-figure"]
    figures = page.data("figures")
    assert places == list(figures)
    assert {
        "history-trials", "history-time", "curves-train-accuracy", "curves-val-accuracy", "curves-val-loss", "timeline",
        "time", "importance", "contour-0", "parallel", "slice-lr", "slice-freeze",
    } <= set(places)  # fmt: skip
    colours = set(re.findall(r'"@(\w+)"', json.dumps(figures)))
    css = (Path(__file__).parent.parent / "reports" / "page.css").read_text()
    assert colours <= {*re.findall(r"--(\w+):", css), "series1", "series6"}


def test_the_page_loads_nothing(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_predictions(run, classes=("ants", "bees"))
    page = page_of(run)
    for name, key, value in page.attributes:
        if key in ("src", "href", "srcset", "poster", "action"):
            assert value.startswith(("#", "data:")), f"{name} {key}={value}"
    assert page.tags.count("script") == 4  # two of data, the chart library as text, the page's own
    policy = next(value for name, key, value in page.attributes if key == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert not re.search(r"url\(|@import", (Path(__file__).parent.parent / "reports" / "page.css").read_text())


@pytest.mark.parametrize("name", [*HOSTILE[:2], HOSTILE[2], "x" * 300])
def test_hostile_names_stay_text(tmp_path: Path, name: str) -> None:
    classes = (name, f"other {name}")
    run = make_run(tmp_path, classes=classes)
    record = json.loads((run / "sweep.json").read_text())
    record |= {"file": name, "git": name, "base": f"/{name}", "hardware": {"cpu": name}, "notes": [name]}
    record["data"]["skipped"] = [[f"train/{name}.png", name]]
    record["versions"]["torch"] = name
    (run / "sweep.json").write_text(json.dumps(record))
    add_predictions(run, classes=classes)
    html = html_of(run)
    page = Reader(html)
    assert page.tags.count("script") == 4
    assert "<script>alert" not in html
    assert "[bold]x[/bold]" not in name or "[bold]x[/bold]" in page.sections["record"]
    for text in page.sections.values():
        assert "\u202e" not in text
        assert "\x1b" not in text
    assert "picture left out" in page.sections["record"]
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        ([], "no trial has begun yet"),
        ([Planned("running")], "no trial is complete yet"),
        ([Planned("running", values=[0.5])], "no trial is complete yet"),
        ([Planned("failed", error="boom"), Planned("failed", error="boom")], "no trial is complete yet"),
        ([Planned("pruned", values=[0.5])], "no trial is complete yet"),
        ([Planned("complete", values=[0.5])], "the only complete trial"),
        ([Planned("complete", values=[1.0]), Planned("complete", values=[1.0])], "equals it"),
    ],
)
def test_reports_of_little(tmp_path: Path, trials: list[Planned], said: str) -> None:
    page = page_of(make_run(tmp_path, trials=trials))
    assert list(page.sections) == SECTIONS
    assert said in page.sections["answer"]
    assert all(len(text) > 20 for text in page.sections.values())


@pytest.mark.parametrize(
    ("metric", "task"), [("val_loss", "classification"), ("val_mae", "regression"), ("val_map", "multilabel")]
)
def test_reports_of_every_task(tmp_path: Path, metric: str, task: str) -> None:
    trials = [Planned("complete", {"lr": 0.01 * n, "freeze": "none"}, [n / 9, n / 8]) for n in range(1, 7)]
    run = make_run(tmp_path, trials=trials, metric=metric)
    task_of(run, task)
    add_predictions(run, classes=("ants", "bees"), task=task, number=0 if metric in ("val_loss", "val_mae") else 5)
    page = page_of(run)
    expected = {"classification": "Confusion matrix", "multilabel": "By label", "regression": "RMSE"}[task]
    assert expected in page.sections["model"]
    assert "exported earlier" not in page.sections["model"]
    expected = "somewhat less" if metric == "val_map" else "somewhat worse"
    assert f"also chose the trial and its epoch: expect {expected} on new ones" in page.sections["model"]
    assert "no share of pictures" in page.sections["answer"]
    assert f"expect somewhat {'less' if metric == 'val_map' else 'worse'} on new ones" in page.sections["answer"]


def test_epochs_without_an_accuracy(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[], metric="val_mae")
    ledger = Ledger.open(run, metric="val_mae", mode="min", writable=True)
    number = ledger.study.ask().number
    ledger.record_settings(number, {"model": "resnet18", "weights": "none"})
    epoch = {"epoch": 1, "train_loss": 1.0, "val_loss": 2.0, "val_mae": 0.5, "lr": 0.1, "seconds": 1.0, "elapsed": 2.0}
    ledger.record_epoch(number, epoch)
    ledger.finish(number, "complete")
    figures = page_of(run).data("figures")
    assert {"curves-val-mae", "curves-train-loss"} <= set(figures)
    assert "curves-train-mae" not in figures


def test_reasons_that_differ_in_numbers_alone_are_one(tmp_path: Path) -> None:
    errors = ["diverged in epoch 2 at lr 0.3", "diverged in epoch 1 at lr 1e-05", "CUDA out of memory", ""]
    trials = [Planned("failed", error=error) for error in errors]
    table = failures(Results.of(Sweep.open(make_run(tmp_path, trials=trials))))
    assert table is not None
    assert table.rows == (
        ("diverged in epoch 2 at lr 0.3", 2, "0, 1"),
        ("CUDA out of memory", 1, "2"),
        ("no reason recorded", 1, "3"),
    )


# the best model


def test_the_best_model_is_shown_with_its_mistakes(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_predictions(run, classes=("ants", "bees"))
    pictures = tmp_path / "pictures"
    for place in range(10):
        for split, label in (("train", "ants"), ("val", "bees")):
            folder = pictures / split / label
            folder.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (40, 60), (200, place, 0)).save(folder / f"{place}.png")
    page = page_of(run)
    model = page.sections["model"]
    for text in (
        "Confusion matrix",
        "By class",
        "The most confident mistakes",
        "Where it is least sure",
        "calibration error",
    ):
        assert text in model
    assert "val/1.png" in model  # taken for the other class
    assert "gone" in model  # digits have no such pictures: names have to do
    assert "img" not in page.tags


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (
            {"val": {"pictures": 10, "loss": 0.4, "map": 0.75, "accuracy": 0.625, "f1": 0.5, "auroc": None}},
            "val100.750.6250.5By",
        ),
        ({"val": {"pictures": 10, "map": "<b>", "f1": math.inf}, "test": {"pictures": 7}, "train": 5}, "val10By"),
        ({"missing": "gone"}, None),
        ({"test": {"pictures": 7}}, None),  # of which there are no predictions
    ],
)
def test_measures_over_all_labels_are_those_of_the_export(tmp_path: Path, measured: object, said: str | None) -> None:
    run = make_run(tmp_path, metric="val_map")
    task_of(run, "multilabel")
    add_predictions(run, classes=("ants", "bees"), task="multilabel")
    (run / "best" / "model.json").write_text(json.dumps({"trial": 1, "measured": measured}))
    model = page_of(run).sections["model"]
    table = "MeasuressplitpicturesmAPaccuracymacro F1AUROC"
    assert (table in model) == (said is not None)
    assert said is None or f"{table}{said} label" in model


def test_thumbnails_of_pictures_that_are_there(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    for split in ("train", "val"):
        for label in ("ants", "bees"):
            folder = tmp_path / "pics" / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (400, 300), (200, 30, 0)).save(folder / "1.png")
            (folder / "torn.png").write_bytes(b"no picture")
    record = json.loads((run / "sweep.json").read_text())
    record["spec"]["data"] |= {"source": "folder", "path": "pics"}
    (run / "sweep.json").write_text(json.dumps(record))
    best = run / "best"
    best.mkdir()
    (best / "model.json").write_text('{"trial": 1}')
    with written(best / "predictions.csv", task="classification", classes=("ants", "bees")) as add:
        add("val", "val/ants/1.png", 0, [0.2, 0.8])
        add("val", "val/bees/torn.png", 1, [0.9, 0.1])
        add("val", "val/bees/lost.png", 1, [0.6, 0.4])
    page = page_of(run)
    pictures = [value for name, key, value in page.attributes if (name, key) == ("img", "src")]
    assert len(pictures) == 2  # once among the mistakes, once among the least sure
    assert pictures[0].startswith("data:image/jpeg;base64,")
    assert len(pictures[0]) < 8000
    assert page.sections["model"].count("gone") == 4


def test_a_picture_from_a_stranger_starts_no_other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import EpsImagePlugin

    folder = tmp_path / "pics" / "val" / "ants"
    folder.mkdir(parents=True)
    for split, label in (("train", "ants"), ("train", "bees"), ("val", "bees")):
        (tmp_path / "pics" / split / label).mkdir(parents=True)
        Image.new("RGB", (200, 200)).save(tmp_path / "pics" / split / label / "1.png")
    Image.new("RGB", (200, 200)).save(folder / "1.jpg", "EPS")
    Image.new("RGB", (30, 20)).save(folder / "2.png")
    started: list[object] = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *words, **_: started.append(words))
    sweep = Sweep.open(make_run(tmp_path))
    sweep.record["spec"]["data"] |= {"source": "folder", "path": "pics"}
    assert list(thumbnails(sweep, ["val/ants/1.jpg", "val/ants/2.png"])) == ["val/ants/2.png"]
    assert not started


def test_digits_are_shown_from_scikit_learn(tmp_path: Path) -> None:
    classes = tuple("0123456789")
    run = make_run(tmp_path, classes=classes)
    best = run / "best"
    best.mkdir()
    (best / "model.json").write_text('{"trial": 1}')
    with written(best / "predictions.csv", task="classification", classes=classes) as add:
        add("val", "digits/17", 3, [0.91] + [0.01] * 9)
    assert [key for name, key, _ in page_of(run).attributes if name == "img"].count("src") == 2


def test_an_export_of_another_trial_is_told_apart(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    add_predictions(run, classes=("ants", "bees"), number=0)
    assert "This is of trial 0, exported earlier; the best one now is trial 1" in page_of(run).sections["model"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "split,name\n",
        "split,name,truth,predicted,probability,p:ants,p:bees\nval,a,x,y,z,1,2\n",
        "split,name,truth,predicted,probability,p:ants,p:bees\nval,a,ants,bees,1,0,nan\n",
        "split,name,truth,predicted,probability,p:ants,p:bees\nval,a,ants,bees,1,-0.5,1.5\n",
        "split,name,truth:ants,truth:bees,p:ants,p:bees\nval,a,0,1,0,1\n",
    ],
)
def test_predictions_that_cannot_be_read_cost_no_report(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path)
    add_predictions(run, classes=("ants", "bees"))
    (run / "best" / "predictions.csv").write_text(text)
    page = page_of(run)
    assert "cannot be used" in page.sections["model"]
    assert "tune export" in page.sections["model"]


@pytest.mark.parametrize(
    ("classes", "expected"), [(3, "Confusion matrix"), (30, "The most frequent confusions"), (200, "is not drawn")]
)
def test_confusions_of_many_classes(tmp_path: Path, classes: int, expected: str) -> None:
    names = tuple(f"class {n}" for n in range(classes))
    run = make_run(tmp_path, classes=names)
    add_predictions(run, classes=names)
    page = page_of(run)
    assert expected in page.sections["model"]
    assert ("confusion" in page.data("figures")) == (classes == 30)


def test_a_class_without_pictures_is_not_among_the_worst() -> None:
    empty = [ClassMeasures(f"class {n}", 0, None, None, None) for n in range(100)]
    drawn = _class_table([*empty, ClassMeasures("ants", 3, 0.9, 0.8, 0.85)], head="class")
    assert "the 100 of 101 with the lowest F1" in drawn
    first, second, *_ = re.findall("<tr>.*?</tr>", drawn.split("<tbody>")[1])
    assert "ants" in first
    assert second.endswith('<td class="n">0</td><td class="n"></td><td class="n"></td><td class="n"></td></tr>')


# what was warned of, and comparisons


def test_every_warning_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    record = json.loads((run / "sweep.json").read_text())
    partly = {"kind": "file", "path": "w.pth", "digest": "0" * 64, "head": False}
    whole = InitReport("sparse", ("fc.weight",)).summary()
    kept = InitReport("sparse", ("fc.weight",), (("conv1.weight", "4 dimensions"),)).summary()
    record |= {
        "notes": ["a class has one picture"],
        "initialisation": [f"resnet18, weights none, {whole}", f"resnet18, weights a.pth, {kept}"],
        "weights": {
            "none": record["weights"]["none"],
            "a.pth": {"resnet18": {**partly, "note": "3 missing", "random": ["conv1.weight"], "unused": []}},
            "b.pth": {"resnet18": {**partly, "note": "2 unexpected", "random": [], "unused": ["extra"]}},
            "c.pth": {"resnet18": {**partly, "note": "all fits", "random": [], "unused": []}},
        },
    }
    (run / "sweep.json").write_text(json.dumps(record))
    told = warnings(Results.of(Sweep.open(run)))
    assert told[:4] == [
        "a class has one picture", "3 missing", "2 unexpected", f"resnet18, weights a.pth, {kept}",
    ]  # fmt: skip
    assert not [line for line in told if "all fits" in line or line.endswith(whole)]


def test_two_numbers_have_a_grid_though_there_is_no_choice(tmp_path: Path) -> None:
    space = {"lr": Float(1e-5, 1e-1, log=True), "gamma": Float(0.1, 0.9)}
    results = _exploring(tmp_path, space)
    page = Page(title="", lead=Markup(""))
    add_comparisons(page, results)
    said = Reader(page.html()).sections["comparisons"]
    assert "explores no setting that is a choice" in said
    assert "lr × gamma" in said


def test_grids_are_of_settings_that_apply_together(tmp_path: Path) -> None:
    trials = [
        Planned("complete", {"lr": 0.01 * n, name: value}, [0.5])
        for name, values in (("freeze", ("none", 2)), ("nesterov", (True, False)))
        for n, value in enumerate(values, start=1)
    ]
    said = page_of(make_run(tmp_path, trials=trials)).sections["comparisons"]
    assert "By nesterov (does not apply to 2 of 4 trials)" in said
    assert "freeze by lr (left out: 2 trials to which not both apply)" in said
    assert "freeze × nesterov" not in said


def test_settings_beyond_the_most_that_are_paired_are_named(tmp_path: Path) -> None:
    names = [
        "lr", "gamma", "momentum", "weight_decay", "label_smoothing", "dropout", "mixup", "cutmix", "beta1", "beta2",
    ]  # fmt: skip
    page = Page(title="", lead=Markup(""))
    add_comparisons(page, _exploring(tmp_path, {name: Float(0.1, 0.9) for name in names}))
    assert "Of the first 8 settings; not of beta1, beta2." in Reader(page.html()).sections["comparisons"]


def _exploring(tmp_path: Path, space: dict[str, Float]) -> Results:
    """Results of trials whose settings are such numbers."""
    sweep = Sweep.open(make_run(tmp_path, trials=[]))
    sweep.record["spec"]["space"] = space
    trials = [
        dataclasses.replace(trial(n, values=[n / 10]), params=dict.fromkeys(space, 0.1 + n / 10)) for n in range(4)
    ]
    return dataclasses.replace(Results.of(sweep), trials=trials)


# size and peace


def test_at_ten_thousand_trials_every_chart_is_a_sample_with_the_best_in_it() -> None:
    trials = [
        trial(n, values=[1.0 if n == 7779 else (n % 997) / 1000], params={"lr": 1e-5 + n / 2e6, "freeze": "none"}, at=n)
        for n in range(10_000)
    ]
    history = history_of(trials, mode="max")
    assert len(history.points) == MOST_POINTS
    assert 7779 in {point.number for point in history.points}
    curves = curves_of(trials, metric="val_accuracy", mode="max").curves
    assert (len(curves), curves[0].number) == (MOST_CURVES, 7779)
    assert len(timeline_of(trials).bars) == MOST_BARS
    for most in (MOST_TRIALS, MOST_JUDGED, MOST_LINES, MOST_DOTS):
        sample = sampled_study(trials, mode="max", most=most)
        assert (sample.trials, sample.left_out) == (most, 10_000 - most)
        assert sample.study.best_value == 1.0


def test_a_large_report_is_sampled_and_says_so(tmp_path: Path) -> None:
    run = make_big_run(tmp_path, trials=1800, epochs=3)
    html = html_of(run)
    page = Reader(html)
    assert len(page.data("rows")["rows"]) == 1800
    assert "Sampled evenly" in page.sections["trials"]
    assert "Sampled evenly" in page.sections["settings"]
    assert len(html.encode()) < 6 * 2**20


def test_a_report_changes_nothing_but_its_own_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    run.chmod(0o555)
    try:
        write_report(Sweep.open(run), tmp_path / "out")
    finally:
        run.chmod(0o755)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "best.yaml", "index.html", "leaderboard.csv", "leaderboard.md", "report.json",
    ]  # fmt: skip


def test_a_report_while_the_ledger_grows_by_half_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=[dataclasses.replace(TRIALS[0])])
    whole = page_of(run).data("rows")
    with (run / "journal.log").open("a") as file:
        file.write('{"op_code": 8, "tri')
    assert page_of(run).data("rows") == whole


@pytest.mark.parametrize(
    ("error", "said"),
    [(UserError("no room", where="disk"), "not written: disk: no room"), (KeyError("x"), "tune report")],
)
def test_a_report_that_fails_costs_the_sweep_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    from tuning import driver

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(driver, "write_report", fail)
    console = Console(file=io.StringIO(), width=200)
    assert said in driver._report(Sweep.open(make_run(tmp_path)), console)
    assert ("Traceback" in console.file.getvalue()) == isinstance(error, KeyError)  # type: ignore[attr-defined]


def test_an_export_that_fails_costs_the_sweep_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tuning import driver
    from tuning.runner import Outcome

    asked: list[dict] = []

    def fail(*_: object, **options: object) -> None:
        asked.append(options)
        raise RuntimeError("CUDA is gone")

    monkeypatch.setattr(driver, "export_model", fail)
    sweep = Sweep.open(make_run(tmp_path))
    console = Console(file=io.StringIO(), width=200)
    outcome = Outcome(ended="trials", best=sweep.ledger().best(), counts={"complete": 3})
    spec = Spec.from_json(sweep.record["spec"], base=tmp_path)
    assert driver._conclude(sweep, spec, None, outcome, console) == 0  # type: ignore[arg-type]
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "RuntimeError: CUDA is gone" in said
    assert f"model   not exported; try again: tune export {sweep.folder}" in said
    assert f"report  {sweep.folder / 'report' / 'index.html'}" in said
    assert f"tune resume {sweep.folder}" in said
    assert asked[0]["device"].type == "cpu"


def test_a_page_that_is_no_report_stays(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    with pytest.raises(UserError, match="holds another page"):
        write_report(sweep, tmp_path / "site")
    assert (tmp_path / "site" / "index.html").read_text() == "mine"
    assert len(list((tmp_path / "site").iterdir())) == 1
    write_report(sweep, tmp_path / "own")
    write_report(sweep, tmp_path / "own")


def test_a_report_is_not_written_through_a_link_that_came_with_the_run(tmp_path: Path) -> None:
    sweep = Sweep.open(make_run(tmp_path / "runs"))
    (tmp_path / "elsewhere").mkdir()
    (sweep.folder / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="a link in a run's folder"):
        write_report(sweep, sweep.folder / "report")
    assert not list((tmp_path / "elsewhere").iterdir())
    (tmp_path / "mine").symlink_to(tmp_path / "elsewhere")  # one's own link is one's own choice
    write_report(sweep, tmp_path / "mine")
