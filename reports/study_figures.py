"""Figures of what the settings did: importance, and Optuna's own plots in the page's dress.

    dressed_parallel(parallel_figure(sample), metric="val_accuracy")

The rules are those of `reports.figures`.
"""

from collections.abc import Mapping
from typing import Any

from reports.figures import NUMBER, Figure, figure_of
from reports.markup import chart_text
from reports.study_charts import Importance


def importance_figure(importance: Importance) -> Figure:
    """How much of the variation each setting explains."""
    names = list(importance.shares)[::-1]
    shares = [importance.shares[name] for name in names]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "x": shares,
            "y": [chart_text(name) for name in names],
            "text": [f"{share:.0%}" for share in shares],
            "textposition": "outside",
            "cliponaxis": False,
            "hovertemplate": "%{y}: %{x:.3f}<extra></extra>",
            "marker": {"color": "@complete"},
        }
    ]
    figure = figure_of(data, x="share of the variation", y="")
    figure["layout"]["xaxis"] |= {"range": [0, max([*shares, 0.01]) * 1.15], "tickformat": ".0%"}
    figure["layout"]["yaxis"]["showgrid"] = False
    return figure


def dressed_parallel(figure: Figure, *, metric: str) -> Figure:
    """Optuna's parallel coordinates in the page's colours: the best tenth, which is drawn last, stands out."""
    lines = figure["data"]
    best = max(1, len(lines) // 10)
    for place, trace in enumerate(lines):
        left = len(lines) - place
        colour = "@best" if left == 1 else "@complete" if left <= best else "@muted"
        trace["line"] = {"color": colour, "width": 3 if left == 1 else 2 if left <= best else 1}
        trace["opacity"] = 1.0 if left <= best else 0.35
        trace["customdata"] = [["value" if name == "Objective Value" else name, v] for name, v in trace["customdata"]]
        trace["showlegend"] = False
    layout = {
        key: figure["layout"][key] for key in ("xaxis", "yaxis", "shapes", "annotations") if key in figure["layout"]
    }
    layout["xaxis"].setdefault("tickfont", {"size": 11})
    for label in (*layout.get("annotations", ()),):
        label.setdefault("font", {}).update(size=10, color="@muted")
    for shape in layout.get("shapes", ()):
        shape.setdefault("line", {})["color"] = "@grid"
    names = layout["xaxis"].get("ticktext")
    if names:
        layout["xaxis"]["ticktext"] = [metric if name == "Objective Value" else name for name in names]
    return {"data": lines, "layout": layout}


def dressed_slice(figure: Figure, *, setting: str, metric: str) -> Figure:
    """Optuna's slice plot in the page's colours, later trials darker."""
    traces = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [_unquoted(x) for x in trace["x"]],
            "y": trace["y"],
            "hovertemplate": f"{setting} %{{x}}: %{{y:{NUMBER}}}<extra></extra>",
            "marker": {
                "color": trace["marker"].get("color"),
                "colorscale": [[0, "@early"], [1, "@complete"]],
                "size": 7,
                "line": {"color": "@paper", "width": 0.5},
            },
            "showlegend": False,
        }
        for trace in figure["data"]
        if trace.get("mode") == "markers"
    ]
    drawn = figure_of(traces, x=setting, y=metric)
    axis = _axis(figure["layout"].get("xaxis", {}))
    if "categoryarray" in axis:
        axis["categoryarray"] = [_unquoted(name) for name in axis["categoryarray"]]
    drawn["layout"]["xaxis"] |= axis
    return drawn


def dressed_contour(figure: Figure) -> Figure:
    """Optuna's contour plot in the page's colours. Optuna decides which setting lies on which axis."""
    x, y = (figure["layout"][name]["title"]["text"] for name in ("xaxis", "yaxis"))
    traces = []
    for trace in figure["data"]:
        if trace["type"] == "contour":
            kept = {key: trace[key] for key in ("type", "x", "y", "z", "connectgaps") if key in trace}
            traces.append(
                kept
                | {
                    "colorscale": [[0, "@early"], [1, "@complete"]],
                    "contours": {"coloring": "heatmap", "showlines": False},
                    "colorbar": {"thickness": 10, "outlinewidth": 0},
                    "hovertemplate": f"{x} %{{x}}<br>{y} %{{y}}<br>about %{{z:{NUMBER}}}<extra></extra>",
                }
            )
        elif trace.get("x"):
            traces.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "x": trace["x"],
                    "y": trace["y"],
                    "marker": {"color": "@ink", "size": 5, "line": {"color": "@paper", "width": 1}},
                    "hovertemplate": f"{x} %{{x}}<br>{y} %{{y}}<extra>a trial</extra>",
                    "showlegend": False,
                }
            )
    drawn = figure_of(traces, x=x, y=y)
    for name in ("xaxis", "yaxis"):
        drawn["layout"][name] |= _axis(figure["layout"].get(name, {})) | {"showgrid": False}
    return drawn


def _axis(known: Mapping[str, Any]) -> dict[str, Any]:
    """What of an axis Optuna decides: its scale, and for choices their order."""
    kept = {key: known[key] for key in ("type", "categoryorder", "categoryarray", "range") if key in known}
    # On a log scale ticks at 1, 2 and 5, each with its number in full.
    return kept | {"dtick": "D2", "tickformat": "~g"} if kept.get("type") == "log" else kept


def _unquoted(value: Any) -> Any:
    """A choice's name without the quotes that Optuna's slices put around it."""
    quoted = isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == "'"
    return value[1:-1] if quoted else value
