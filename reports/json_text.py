"""Documents as JSON that every reader takes.

json_text({"value": math.nan})             # '{\n  "value": null\n}'
"""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(document: Any) -> str:
    """JSON in ASCII; a number that JSON has no word for (NaN, Infinity) becomes null."""
    try:
        return json.dumps(document, indent=2, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), indent=2, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value
