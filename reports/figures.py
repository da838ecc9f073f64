"""Chart data drawn: figures for plotly as plain dictionaries, in the page's colours. Here: what the trials did.

    figure = history_figure(history_of(trials, mode="max"), metric="val_accuracy", over="trials")
    figure["data"][0]["x"], figure["layout"]["xaxis"]["title"]["text"]

A colour is a name such as `@best`, which the page's script replaces by what light, dark or paper ask for. A text that
comes from outside goes through `chart_text`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reports.charts import Curve, Curves, History, Timeline, TimeSpent
from reports.markup import chart_text
from reports.tables import shown

Figure = dict[str, Any]

NUMBER = ".4~r"  # in d3's words what `reports.tables.shown` does: 0.9444, 239000
STATES = ("complete", "pruned", "failed", "running", "paused")
_BEST_LINES = 5
_TICKS = 12  # whole numbers on an axis that has room for each


def history_figure(history: History, *, metric: str, over: str) -> Figure:
    """Each trial's value and the best so far; `over` is `trials` or `time`."""
    unit, divisor = time_unit(max((point.at_s for point in history.points), default=0.0))
    by_time = over == "time"
    data = []
    for state in STATES:
        points = [point for point in history.points if point.state == state]
        if points:
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": state,
                    "x": [point.at_s / divisor if by_time else point.number for point in points],
                    "y": [point.value for point in points],
                    "text": [f"trial {point.number}, {state}: {shown(point.value)}" for point in points],
                    "hovertemplate": "%{text}<extra></extra>",
                    "marker": {"color": f"@{state}", "size": 7 if state == "complete" else 5, "opacity": 0.8},
                }
            )
    steps: Sequence[tuple[float, float]] = history.over_time if by_time else history.over_trials
    if steps:
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "best so far",
                "x": [x / divisor if by_time else x for x, _ in steps],
                "y": [value for _, value in steps],
                "line": {"shape": "hv", "color": "@best", "width": 2.5},
                "hovertemplate": f"best so far: %{{y:{NUMBER}}}<extra></extra>",
            }
        )
    title = f"wall time, {unit}" if by_time else "trial"
    figure = figure_of(data, x=title, y=metric)
    if not by_time:
        figure["layout"]["xaxis"] |= _whole(max((point.number for point in history.points), default=0))
    return figure


def _whole(most: int) -> dict[str, Any]:
    """An axis of whole numbers up to this one."""
    return {"tickformat": ",d", **({"dtick": 1} if most < _TICKS else {})}


def curves_figure(curves: Curves, *, side: str) -> Figure:
    """Learning curves of one side, `train` or `val`: pruned ones faint, the best in its own colour."""
    kinds: dict[str, list[Curve]] = {kind: [] for kind in (*STATES, "top", "best")}
    for curve in curves.curves:
        good = curve.state == "complete"
        best, top = good and curve.rank == 0, good and curve.rank < _BEST_LINES
        kinds["best" if best else "top" if top else curve.state].append(curve)
    looks = {
        "pruned": ("pruned", "@pruned", 1.0, 0.35),
        "failed": ("failed", "@failed", 1.0, 0.5),
        "running": ("running", "@running", 1.5, 0.8),
        "paused": ("paused", "@paused", 1.5, 0.8),
        "complete": ("complete", "@complete", 1.0, 0.45),
        "top": (f"best {1 + min(len(kinds['top']), _BEST_LINES - 1)}", "@complete", 2.0, 1.0),
        "best": ("best", "@best", 3.0, 1.0),
    }
    data = []
    for kind, (name, colour, width, opacity) in looks.items():
        if not kinds[kind]:
            continue
        x: list[int | None] = []
        y: list[float | None] = []
        texts: list[str] = []
        for curve in kinds[kind]:
            x += [*curve.epochs, None]
            y += [*getattr(curve, side), None]
            texts += [f"trial {curve.number}, epoch {epoch}" for epoch in curve.epochs] + [""]
        data.append(
            {
                "type": "scatter",
                # A trial of one epoch has no line to draw.
                "mode": "lines+markers",
                "name": name,
                "x": x,
                "y": y,
                "text": texts,
                "hovertemplate": f"%{{text}}: %{{y:{NUMBER}}}<extra></extra>",
                "line": {"color": colour, "width": width},
                "marker": {"size": 3 + width, "color": colour},
                "opacity": opacity,
            }
        )
    figure = figure_of(data, x="epoch", y=f"{side}_{curves.name}")
    figure["layout"]["xaxis"] |= _whole(max((epoch for curve in curves.curves for epoch in curve.epochs), default=0))
    if numbers := scale_of(curves):  # the two sides are compared, so they share their scale
        low, high = min(numbers), max(numbers)
        margin = 0.04 * (high - low or 1.0)
        figure["layout"]["yaxis"]["range"] = [low - margin, high + margin]
    return figure


def scale_of(curves: Curves) -> list[float]:
    """The numbers that a chart of them has to show: those of complete trials, where there are any.

    One trial that diverges would press all others flat.
    """
    complete = [curve for curve in curves.curves if curve.state == "complete"] or curves.curves
    values = [value for curve in complete for side in (curve.train, curve.val) for value in side]
    return [value for value in values if value is not None]


def timeline_figure(timeline: Timeline) -> Figure:
    """Trials as bars over the sweep's wall time, a lane for each that ran at once."""
    unit, divisor = time_unit(max((bar.end_s for bar in timeline.bars), default=0.0))
    data = []
    for state in STATES:
        bars = [bar for bar in timeline.bars if bar.state == state]
        if bars:
            data.append(
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": state,
                    "y": [bar.lane + 1 for bar in bars],
                    "base": [bar.start_s / divisor for bar in bars],
                    "x": [(bar.end_s - bar.start_s) / divisor for bar in bars],
                    "text": [str(bar.number) for bar in bars],
                    "textposition": "none",
                    "customdata": [f"trial {bar.number}, {state}: {bar.end_s - bar.start_s:.1f} s" for bar in bars],
                    "hovertemplate": "%{customdata}<extra></extra>",
                    "marker": {"color": f"@{state}", "line": {"color": "@paper", "width": 1}},
                }
            )
    figure = figure_of(data, x=f"wall time, {unit}", y="worker")
    if timeline.left_out:  # bars have their base, so the axis would begin at 0
        figure["layout"]["xaxis"]["range"] = [
            min(bar.start_s for bar in timeline.bars) / divisor,
            max(bar.end_s for bar in timeline.bars) / divisor,
        ]
    figure["layout"] |= {"barmode": "overlay", "bargap": 0.25}
    figure["layout"]["yaxis"] |= {"dtick": 1, "range": [timeline.lanes + 0.6, 0.4], "showgrid": False}
    return figure


def time_figure(spent: TimeSpent) -> Figure:
    """Where the workers' time went, as one bar of parts."""
    total = spent.workers_s or 1.0
    colours = ["@complete", "@series2", "@series3", "@series4", "@series5", "@pruned"]
    parts = [(name, seconds) for name, seconds in spent.parts.items() if seconds > 0.001 * total]
    data = []
    for place, (name, seconds) in enumerate(parts):
        colour = "@pruned" if name.startswith("idle") else colours[place % (len(colours) - 1)]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": f"{name} {seconds / total:.0%}",
                "y": [""],
                "x": [100 * seconds / total],
                "hovertemplate": f"{name}: {seconds:.0f} s, %{{x:.1f}} %<extra></extra>",
                "marker": {"color": colour},
            }
        )
    figure = figure_of(data, x="% of the workers’ time", y="")
    figure["layout"] |= {"barmode": "stack", "bargap": 0.4}
    figure["layout"]["xaxis"]["range"] = [0, 100]
    figure["layout"]["yaxis"]["showticklabels"] = False
    return figure


def lines_figure(lines: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> Figure:
    """A stepped line for each name."""
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": chart_text(name),
            "x": [at for at, _ in steps],
            "y": [value for _, value in steps],
            "line": {"shape": "hv", "width": 2.5, "color": f"@series{place % 6 + 1}"},
            "marker": {"size": 5},
            "hovertemplate": f"{chart_text(name)}: %{{y:{NUMBER}}}<extra></extra>",
        }
        for place, (name, steps) in enumerate(lines.items())
    ]
    return figure_of(data, x=x, y=y)


def time_unit(longest_s: float) -> tuple[str, float]:
    """The unit that suits a time, and its seconds."""
    if longest_s >= 3 * 3600:
        return "hours", 3600.0
    return ("minutes", 60.0) if longest_s >= 180 else ("seconds", 1.0)


def figure_of(data: list[dict[str, Any]], *, x: str, y: str) -> Figure:
    """Traces with the titles of their axes."""
    return {
        "data": data,
        "layout": {"xaxis": {"title": {"text": chart_text(x)}}, "yaxis": {"title": {"text": chart_text(y)}}},
    }
