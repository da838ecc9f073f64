"""The report in a real browser: no error, every chart drawn, the table sorts and filters, nothing hostile runs.

A script is added to a copy of the page; it does what a user would do, and leaves what it saw in the page's own text.
"""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from report_parts import SECTIONS, add_predictions
from reports.compare import compare_sweeps, write_comparison
from reports.sweep import Sweep
from reports.write import write_report
from runs import HOSTILE, Planned, make_run

pytestmark = pytest.mark.browser

_PLAIN = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--no-first-run", "--enable-logging=stderr",
)  # fmt: skip
_FLAGS = (*_PLAIN, "--virtual-time-budget=600000")
# Time is the browser's own, and leaps while nothing of the page's waits but for a timer. What works on another thread,
# such as the unpacking of the charts' library, takes true time: so it is waited for in many small steps.
_WAIT = """
const seen = {};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ready = async () => { while (!("ready" in document.documentElement.dataset)) await pause(5); };
const tell = () => {
  const pre = document.createElement("pre");
  pre.id = "seen";
  pre.textContent = JSON.stringify(seen);
  document.body.append(pre);
};
const $ = (selector) => document.querySelector(selector);
const $$ = (selector) => [...document.querySelectorAll(selector)];
"""


@pytest.fixture(scope="session")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here (apt-get install chromium)")


def run_browser(
    chromium: str, page: Path, *flags: str, profile: Path, usual: tuple[str, ...] = _FLAGS
) -> tuple[str, list[str]]:
    """The page's text once its scripts have run, and what they wrote to the console."""
    command = [chromium, *usual, f"--user-data-dir={profile}", *flags, "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def with_script(page: Path, script: str, *, name: str) -> Path:
    """A copy of the page with one script more, which its policy is told of; all else stays in force."""
    text = page.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text, policies = re.subn("script-src ", f"script-src 'sha256-{digest}' ", text, count=1)
    assert policies == 1
    copy = page.with_name(name)
    copy.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    return copy


def act(chromium: str, page: Path, script: str, tmp_path: Path, *flags: str) -> dict:
    """What a script saw that ran in a copy of the page. Nothing may be written to the console."""
    copy = with_script(page, f"{_WAIT}(async () => {{ await ready(); {script} tell(); }})();", name="acted.html")
    dom, console = run_browser(chromium, copy, *flags, profile=tmp_path / "profile")
    assert console == []
    found = re.search(r'<pre id="seen">(.*?)</pre>', dom, re.DOTALL)
    assert found, "the script did not come to its end"
    return json.loads(html.unescape(found[1]))


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """The page of a sweep of 60 trials, with an export's predictions."""
    trials = [
        Planned(
            "complete",
            {"lr": 0.001 * (n + 1), "freeze": ("none", "layer2", 2)[n % 3], "nesterov": n % 2 == 0},
            [n / 99, n / 80],
        )
        for n in range(52)
    ]
    trials += [Planned("pruned", values=[0.1])] * 3 + [Planned("failed", values=[0.1], error=text) for text in HOSTILE]
    run = make_run(tmp_path, trials=trials, outcome="trials")
    add_predictions(run, classes=("ants", "bees"), number=51)
    write_report(Sweep.open(run), run / "report")
    return run / "report" / "index.html"


def test_the_page_has_loaded_when_all_is_drawn(chromium: str, report: Path, tmp_path: Path) -> None:
    """A browser that takes the page as soon as it has loaded, to print or photograph it, has the charts in it."""
    dom, console = run_browser(chromium, report, profile=tmp_path / "profile", usual=_PLAIN)
    assert console == []
    assert dom.count("data-figure=") == len(re.findall(r'data-drawn="', dom)) > 10
    assert "<iframe" not in dom


def test_charts_are_drawn_in_a_frame_that_lets_scripts_alone_in(chromium: str, report: Path, tmp_path: Path) -> None:
    """As notebooks and tools show pages that others made: what is inside a frame may not be reached there."""
    tells = """
    const wait = () => {
      if (!("ready" in document.documentElement.dataset)) { setTimeout(wait, 5); return; }
      parent.postMessage(document.querySelectorAll("[data-drawn]").length, "*");
    };
    wait();
    """
    # The host has loaded when it has heard of the charts.
    hears = """
    const held = document.createElement("iframe");
    document.body.append(held);
    held.contentDocument.open();
    addEventListener("message", (event) => {
      document.body.append(`heard of ${event.data} charts`);
      held.contentDocument.close();
    });
    """
    framed = with_script(report, tells, name="framed.html")
    host = report.with_name("host.html")
    frame = f'<iframe sandbox="allow-scripts" src="{framed.name}" width="900" height="900"></iframe>'
    host.write_text(f"<!doctype html><title>host</title><body><script>{hears}</script>{frame}")
    dom, console = run_browser(chromium, host, profile=tmp_path / "profile", usual=_PLAIN)
    assert console == []
    places = report.read_text(encoding="utf-8").count("data-figure=")
    assert f"heard of {places} charts" in dom


def test_a_chart_that_cannot_be_drawn_costs_itself_alone(chromium: str, report: Path, tmp_path: Path) -> None:
    """The others are drawn, and the page comes to its end."""
    broken = report.with_name("broken.html")
    text = report.read_text(encoding="utf-8")
    name = re.search(r'data-figure="([^"]+)"', text)
    assert name
    broken.write_text(text.replace(f'data-figure="{name[1]}"', 'data-figure="nothing"', 1), encoding="utf-8")
    dom, console = run_browser(chromium, broken, profile=tmp_path / "profile", usual=_PLAIN)
    assert len(console) == 1
    assert "TypeError" in console[0]
    assert len(re.findall(r'data-drawn="', dom)) == dom.count("data-figure=") - 1


def test_every_chart_is_drawn_and_nothing_complains(chromium: str, report: Path, tmp_path: Path) -> None:
    """With its policy in force: no violation of it, no exception, no chart left out."""
    seen = act(
        chromium, report,
        """
        seen.places = $$("[data-figure]").length;
        seen.drawn = $$("[data-drawn]").length;
        seen.waiting = $$(".waiting").length;
        """,
        tmp_path,
    )  # fmt: skip
    assert seen["places"] == seen["drawn"] > 15
    assert seen["waiting"] == 0


def test_axes_of_large_values_are_written_without_powers(chromium: str, tmp_path: Path) -> None:
    trials = [Planned("complete", values=[239041.27, 212345.6]), Planned("complete", values=[480000.5])]
    run = make_run(tmp_path, trials=trials, metric="val_mae")
    write_report(Sweep.open(run), run / "report")
    script = """seen.ticks = $$('[data-figure="history-trials"] .ytick text').map((text) => text.textContent);"""
    seen = act(chromium, run / "report" / "index.html", script, tmp_path)
    assert len(seen["ticks"]) > 2
    assert all(re.fullmatch(r"[\d,]+", tick) for tick in seen["ticks"])


def test_the_policy_stops_a_script_that_slipped_in(chromium: str, report: Path, tmp_path: Path) -> None:
    report.write_text(
        report.read_text(encoding="utf-8").replace("</h1>", "</h1><script>document.title='owned'</script>")
    )
    copy = with_script(
        report, f"{_WAIT}(async () => {{ await ready(); seen.title = document.title; tell(); }})();", name="acted.html"
    )
    dom, console = run_browser(chromium, copy, profile=tmp_path / "profile")
    assert '{"title":"resnet18"}' in html.unescape(dom)
    assert "Content Security Policy" in console[0]


def test_every_section_is_there_and_every_chart_has_something_in_it(
    chromium: str, report: Path, tmp_path: Path
) -> None:
    seen = act(
        chromium, report,
        """
        seen.sections = $$("main section").map((s) => [s.id, s.innerText.length, s.getBoundingClientRect().height]);
        const marks = ".trace, .bars, .point, path.js-line, .contour, .hm";
        seen.empty = $$("[data-figure]").filter((p) => !p.querySelector(marks)).map((p) => p.dataset.figure);
        seen.scripts = document.scripts.length;
        """,
        tmp_path,
    )  # fmt: skip
    assert [name for name, _, _ in seen["sections"]] == SECTIONS
    assert all(length > 40 and height > 60 for _, length, height in seen["sections"])
    assert seen["empty"] == []


def test_the_table_sorts_filters_and_turns_its_pages(chromium: str, report: Path, tmp_path: Path) -> None:
    seen = act(
        chromium, report,
        """
        const column = (n) => $$("#board tbody")[0].querySelectorAll(`td:nth-child(${n})`);
        const texts = (n) => [...column(n)].map((td) => td.textContent);
        const type = (id, text) => { const e = $(id); e.value = text; e.dispatchEvent(new Event("input")); };
        const heads = [...$("#board thead").querySelectorAll("th")];
        const at = (name) => heads.findIndex((th) => th.textContent.trim() === name);
        seen.first = texts(2).slice(0, 3);
        heads[at("trial")].querySelector("button").click();
        seen.up = texts(2).slice(0, 3); seen.sort = heads[at("trial")].getAttribute("aria-sort");
        heads[at("trial")].querySelector("button").click();
        seen.down = texts(2).slice(0, 3); seen.resort = heads[at("trial")].getAttribute("aria-sort");
        heads[at("lr")].querySelector("button").click();
        seen.lr = texts(at("lr") + 1).slice(0, 2); seen.others = heads[at("trial")].getAttribute("aria-sort");
        seen.rows = column(1).length; seen.count = $("#board-count").textContent;
        $("#board-on").click(); seen.second = $("#board-count").textContent;
        $("#board-back").click(); seen.back = $("#board-count").textContent;
        type("#board-state", "failed"); seen.failed = [...new Set(texts(3))];
        seen.failedCount = $("#board-count").textContent;
        type("#board-state", "");
        type("#board-filter", "freeze=layer2 lr<=0.005");
        seen.filtered = texts(at("freeze") + 1); seen.small = texts(at("lr") + 1);
        type("#board-filter", "epochs>1"); seen.epochs = [...new Set(texts(at("epochs") + 1))];
        seen.title = heads[at("epochs")].querySelector("button").title;
        type("#board-filter", "bestepoch=2"); seen.best = [...new Set(texts(at("best epoch") + 1))];
        type("#board-filter", "speed>2 a=b"); seen.unknown = $("#board-count").textContent;
        type("#board-filter", "no such thing"); seen.none = [column(1).length, $("#board-count").textContent];
        type("#board-filter", "<script>alert"); seen.hostile = column(1).length;
        """,
        tmp_path,
    )  # fmt: skip
    assert seen["first"] == ["51", "50", "49"]
    assert (seen["up"], seen["sort"]) == (["0", "1", "2"], "ascending")
    assert (seen["down"], seen["resort"]) == (["59", "58", "57"], "descending")
    assert (seen["lr"], seen["others"]) == (["0.001", "0.002"], None)
    assert (seen["rows"], seen["count"], seen["second"], seen["back"]) == (
        25, "1–25 of 60 trials", "26–50 of 60 trials", "1–25 of 60 trials",
    )  # fmt: skip
    assert (seen["failed"], seen["failedCount"]) == (["failed"], "5 trials (of 60)")
    assert (seen["filtered"], seen["small"]) == (["layer2", "layer2"], ["0.002", "0.005"])
    assert (seen["epochs"], seen["best"], seen["title"]) == (["2"], ["2"], "epochs_run")
    assert seen["unknown"] == "0 trials (of 60); there is no column speed; there is no column a"
    assert seen["none"] == [0, "0 trials (of 60)"]
    assert seen["hostile"] == 1


def test_choices_show_one_part_each(chromium: str, report: Path, tmp_path: Path) -> None:
    seen = act(
        chromium, report,
        """
        const shown = () => $$('[data-chosen-by="pair"]').filter((p) => p.offsetHeight).map((p) => p.dataset.part);
        seen.before = shown();
        const choice = $("#pair"); choice.value = "1"; choice.dispatchEvent(new Event("input"));
        seen.after = shown();
        const contour = $("#contour"); contour.value = "1"; contour.dispatchEvent(new Event("input"));
        await pause(300);
        const plot = $('[data-figure="contour-1"]');
        seen.size = [plot.offsetWidth, plot.querySelector(".main-svg").getBoundingClientRect().width];
        """,
        tmp_path,
    )  # fmt: skip
    assert (seen["before"], seen["after"]) == (["0"], ["1"])
    assert seen["size"][0] == seen["size"][1] > 250


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_window(chromium: str, report: Path, tmp_path: Path, width: int) -> None:
    """In a frame of a phone's width: a headless window cannot be that narrow."""
    script = (
        f"{_WAIT}(async () => {{ await ready(); parent.postMessage(["
        "document.documentElement.scrollWidth, innerWidth,"
        "Math.max(...$$('.plot:not(.plot-scroll .plot) .main-svg').map((s) => s.getBoundingClientRect().right))"
        "], '*'); })();"
    )
    copy = with_script(report, script, name="acted.html")
    frame = report.with_name("frame.html")
    listen = "addEventListener('message', (e) => document.body.append('SEEN' + JSON.stringify(e.data)));"
    keep = "setInterval(() => 0, 100);"  # a browser whose time is virtual waits for what waits
    frame.write_text(
        f'<script>{listen} {keep}</script><iframe src="{copy.name}" width="{width}" height="9000"></iframe>'
    )
    dom, console = run_browser(chromium, frame, f"--window-size={width + 60},900", profile=tmp_path / "profile")
    assert console == []
    found = re.search(r"SEEN(\[.*?\])", dom)
    assert found
    scroll, window, chart = json.loads(found[1])
    assert window == width
    assert scroll <= window
    assert chart <= window


def test_dark_and_paper_have_their_own_colours(chromium: str, report: Path, tmp_path: Path) -> None:
    script = """
        const ink = () => getComputedStyle(document.body).backgroundColor;
        const line = () => getComputedStyle($('[data-figure="history-trials"] path.js-line')).stroke;
        seen.screen = [ink(), line()];
        const widths = () => $$(".plot").filter((p) => p.clientWidth)
          .map((p) => [p.clientWidth, p.querySelector(".main-svg").clientWidth]);
        dispatchEvent(new Event("beforeprint")); seen.paper = [ink(), line()];
        await pause(50); seen.widths = widths();
        dispatchEvent(new Event("afterprint")); seen.again = [ink(), line()];
        """
    light = act(chromium, report, script, tmp_path)
    assert light["screen"] == light["paper"] == light["again"]
    assert all(place == chart < 710 for place, chart in light["widths"])  # charts as wide as the paper's columns
    dark = act(chromium, report, script, tmp_path, "--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    assert dark["screen"] == dark["again"]
    assert dark["screen"][0] != light["screen"][0]
    assert dark["screen"][1] != light["screen"][1]
    assert dark["paper"] == light["paper"]


def test_hostile_names_do_nothing_in_a_browser(chromium: str, tmp_path: Path) -> None:
    classes = (*HOSTILE, "</script><script>document.title='owned'</script>", '"><img src=x onerror="document.title=1">')
    run = make_run(tmp_path, classes=classes)
    record = json.loads((run / "sweep.json").read_text())
    record |= {"file": classes[-2], "git": classes[-1], "notes": list(classes)}
    (run / "sweep.json").write_text(json.dumps(record))
    add_predictions(run, classes=classes)
    write_report(Sweep.open(run), run / "report")
    script = """
        seen.title = document.title; seen.scripts = document.scripts.length; seen.images = document.images.length;
        seen.texts = $("#model").innerText.includes("\\x3cscript>alert(1)\\x3c/script>");
        """
    seen = act(chromium, run / "report" / "index.html", script, tmp_path)
    # Two of data, the library as text and as a script, the page's own, and this test's.
    assert seen == {"title": "resnet18", "scripts": 6, "images": 0, "texts": True}


def test_a_comparison_opens_without_an_error(chromium: str, tmp_path: Path) -> None:
    runs = [make_run(tmp_path, name=name, trials=[Planned("complete", values=[0.5, 0.7])]) for name in ("a", "<b>")]
    page, *_ = write_comparison(compare_sweeps([Sweep.open(run) for run in runs]), tmp_path / "out")
    seen = act(chromium, page, "seen.drawn = $$('[data-drawn]').length; seen.text = $('#answer').innerText;", tmp_path)
    assert seen["drawn"] == 2
    assert "<b>" in seen["text"]
