"""One HTML page that needs nothing else: styles, script, data and the chart library are inside it.

    page = Page(title="resnet18", lead=text("finished"))
    page.section("answer", "Answer", html)
    html = page.chart("history", "History", "each trial's value", figure) # a place, drawn by the page's script
    Path("index.html").write_text(page.html(), encoding="utf-8")

The page's own policy (a `Content-Security-Policy`) forbids it to load anything and to run any script but its two own,
known by their digests, so that a text that slipped through would still do nothing.
"""

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files

from reports.figures import Figure
from reports.markup import Markup, join, json_script, tag
from reports.tables import printable


@dataclass
class Page:
    """A page as it is put together: sections in order, and the figures their charts show."""

    title: str
    lead: Markup = field(default_factory=Markup)
    language: str = "en"
    _sections: list[tuple[str, str, Markup]] = field(default_factory=list)
    _figures: dict[str, Figure] = field(default_factory=dict)
    _data: dict[str, object] = field(default_factory=dict)

    def section(self, name: str, title: str, *content: Markup) -> None:
        """Adds a section; `name` is its anchor."""
        self._sections.append((name, title, join(content)))

    def data(self, name: str, document: object) -> None:
        """Adds data for the page's script."""
        self._data[name] = document

    def chart(
        self, name: str, title: str, says: str, figure: Figure, *, height: int = 330, wide: bool = False, least: int = 0
    ) -> Markup:
        """The place of a chart.

        Args:
            name: its name on the page.
            title: above it.
            says: what is to be seen, in a sentence.
            figure: for plotly, in the page's colours.
            height: in pixels.
            wide: whether it takes the page's whole width.
            least: the width in pixels below which it scrolls sideways.
        """
        self._figures[name] = figure
        waiting = tag("p", "The chart appears when the page’s script runs.", attributes={"class": "waiting"})
        place = tag(
            "div",
            waiting,
            attributes={
                "class": "plot",
                "data-figure": name,
                "style": f"--height: {height}px; --least: {least}px",
                "role": "img",
                "aria-label": f"{title}: {says}",
            },
        )
        if least:
            place = tag("div", place, attributes={"class": "plot-scroll", "tabindex": "0"})
        caption = tag("figcaption", tag("b", title), tag("span", says))
        return tag("figure", caption, place, attributes={"class": "wide"} if wide else None)

    def html(self) -> str:
        """The whole page."""
        links = join(tag("li", tag("a", title, attributes={"href": f"#{name}"})) for name, title, _ in self._sections)
        sections = join(
            tag("section", tag("h2", title), content, attributes={"id": name})
            for name, title, content in self._sections
        )
        script, charts = _asset("page.js"), _plotly() if self._figures else ""
        scripts = [script, _unpacked_plotly()] if self._figures else [script]
        policy = (
            "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
            f"script-src {' '.join(map(_digest, scripts))}; base-uri 'none'; form-action 'none'"
        )
        title = tag("title", printable(self.title)[:120])
        return "\n".join(
            (
                "<!DOCTYPE html>",
                f'<html lang="{self.language}">',
                "<head>",
                '<meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                '<meta name="referrer" content="no-referrer">',
                '<link rel="icon" href="data:,">',
                title,
                f"<style>{_asset('page.css')}</style>",
                "</head>",
                "<body>",
                tag("header", tag("h1", tag("bdi", printable(self.title)[:200])), self.lead),
                tag("nav", tag("ul", links), attributes={"aria-label": "Sections"}),
                tag("main", sections),
                tag("footer", tag("p", "Written by tuneyard. This file is complete: it loads nothing.")),
                json_script("figures", self._figures),
                *(json_script(name, document) for name, document in self._data.items()),
                f'<script type="text/plain" id="plotly">{charts}</script>' if charts else "",
                f"<script>{script}</script>",
                "</body>",
                "</html>",
                "",
            )
        )


def command(text: str) -> Markup:
    """A command line with a button that copies it."""
    button = tag("button", "Copy", attributes={"type": "button", "data-copy": None})
    return tag("div", tag("pre", tag("code", text)), button, attributes={"class": "command"})


@lru_cache
def _asset(name: str) -> str:
    return files("reports").joinpath(name).read_text(encoding="utf-8")


@lru_cache
def _unpacked_plotly() -> str:
    """Plotly's script as its package ships it, read as a browser reads text: every line end is a line feed."""
    text = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    return re.sub(r"\r\n?", "\n", text).strip()


@lru_cache
def _plotly() -> str:
    """The same as base64 of gzip: a third of the size."""
    packed = gzip.compress(_unpacked_plotly().encode(), compresslevel=6, mtime=0)
    return base64.b64encode(packed).decode("ascii")


def _digest(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}'"
