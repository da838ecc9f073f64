"""What a sweep was told, in words: the values of its settings and the ranges it explores.

explored_words({"kind": "float", "low": 1e-5, "high": 0.1, "log": True})     # "1e-05 to 0.1, log scale"
setting_cell(["ants", "bees"])                                               # "ants, bees"
"""

from collections.abc import Mapping
from typing import Any

from reports.tables import Cell, shown


def explored_words(dimension: Mapping[str, Any]) -> str:
    """A dimension of the search space, as `sweep.json` has it, without its condition."""
    if dimension["kind"] == "choice":
        return ", ".join(map(shown, dimension["values"]))
    scale = ", log scale" if dimension.get("log") else ""
    return f"{shown(dimension['low'])} to {shown(dimension['high'])}{scale}"


def setting_cell(value: Any) -> Cell:
    """A setting of any kind as one cell; lists and tables as text."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, list):
        between = "; " if any(isinstance(inner, dict) for inner in value) else ", "
        return between.join(shown(setting_cell(inner)) for inner in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(setting_cell(inner))}" for key, inner in sorted(value.items()))
    return str(value)
