"""Figures of the best model: calibration, confusion, truth against prediction.

    calibration_figure(classification(pictures, classes).calibration)

The rules are those of `reports.figures`.
"""

from collections.abc import Sequence

from reports.charts import MOST_POINTS, evenly
from reports.evaluation import Calibration
from reports.figures import NUMBER, Figure, figure_of
from reports.markup import chart_text
from trainables.wording import counted

_LONGEST = 24  # letters of a class's name beside a matrix
_FEW = 40  # classes whose numbers all fit below one


def calibration_figure(calibration: Calibration) -> Figure:
    """Accuracy over confidence, the counts as the size of the dots, and the diagonal."""
    bins = calibration.bins
    most = max((b.pictures for b in bins), default=1)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": "as sure as right",
            "x": [0, 1],
            "y": [0, 1],
            "hoverinfo": "skip",
            "line": {"dash": "dot", "color": "@muted", "width": 1.5},
        },
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "the model",
            "x": [b.confidence for b in bins],
            "y": [b.accuracy for b in bins],
            "text": [
                f"{counted(b.pictures, 'picture')}, {b.confidence:.0%} sure, {b.accuracy:.0%} right" for b in bins
            ],
            "hovertemplate": "%{text}<extra></extra>",
            "line": {"color": "@complete", "width": 2},
            "marker": {"size": [7 + 15 * (b.pictures / most) ** 0.5 for b in bins], "color": "@complete"},
        },
    ]
    figure = figure_of(data, x="confidence", y="share that is right")
    for axis in ("xaxis", "yaxis"):
        figure["layout"][axis] |= {"range": [-0.04, 1.06], "tickformat": ".0%"}
    return figure


def confusion_figure(confusion: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """The mistakes of a confusion matrix as a heat map, as shares of the true class; right ones are left blank."""
    texts = [chart_text(name) for name in classes]
    # Numbers make names differ that look alike, and stand alone where there is little room.
    rows = [f"{place} {chart_text(name, longest=_LONGEST)}" for place, name in enumerate(classes)]
    shares = [
        [None if row == column else count / (sum(counts) or 1) for column, count in enumerate(counts)]
        for row, counts in enumerate(confusion)
    ]
    data = [
        {
            "type": "heatmap",
            "x": [str(place) for place in range(len(texts))],
            "y": rows,
            "text": [texts for _ in texts],
            "z": shares,
            "customdata": [list(row) for row in confusion],
            "hovertemplate": "is %{y}<br>taken for %{x} %{text}<br>pictures: %{customdata}, %{z:.0%}<extra></extra>",
            "colorscale": [[0, "@raised"], [1, "@failed"]],
            "colorbar": {"thickness": 10, "outlinewidth": 0, "tickformat": ".0%"},
            "xgap": 1,
            "ygap": 1,
        }
    ]
    figure = figure_of(data, x="taken for", y="is")
    figure["layout"]["xaxis"] |= {"showgrid": False, "type": "category", "dtick": 1 if len(classes) <= _FEW else None}
    figure["layout"]["yaxis"] |= {"showgrid": False, "autorange": "reversed", "dtick": 1}
    return figure


def truth_figure(points: Sequence[tuple[float, float, str]]) -> Figure:
    """Predicted over true values by picture, and the diagonal; sampled evenly when there are many."""
    low, high = min((x for x, _, _ in points), default=0.0), max((x for x, _, _ in points), default=1.0)
    points = evenly(points, most=MOST_POINTS)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [low, high],
            "y": [low, high],
            "hoverinfo": "skip",
            "line": {"dash": "dot", "color": "@muted", "width": 1.5},
            "showlegend": False,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x for x, _, _ in points],
            "y": [y for _, y, _ in points],
            "text": [chart_text(name) for _, _, name in points],
            "hovertemplate": f"%{{text}}<br>is %{{x:{NUMBER}}}, predicted %{{y:{NUMBER}}}<extra></extra>",
            "marker": {"color": "@complete", "size": 6, "opacity": 0.6},
            "showlegend": False,
        },
    ]
    return figure_of(data, x="true", y="predicted")
