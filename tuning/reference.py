"""Fills the tables of the sweep file's reference from the settings' own documentation.

    python -m tuning.reference docs/SWEEP_FILE.md

Prose is written in that file by hand; what stands between `<!-- table: NAME -->` and `<!-- end -->` is made here. The
tests fail when the file differs from what this gives.
"""

import re
import sys
from collections.abc import Callable, Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from trainables.data.sources import DataSettings
from trainables.models.table import MODELS, SWAG
from trainables.settings import TrialSettings, setting_docs
from tuning.spec import ResourceSettings, SearchSettings

_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NUMBERED = re.compile(r"^(\D*)\d+$")


def filled(text: str) -> str:
    """The document with each of its tables made anew."""
    return _PLACE.sub(lambda place: f"{place[1]}\n{TABLES[place[2]]()}\n{place[3]}", text)


def settings_table(record: type) -> str:
    """A Markdown table of a settings record: each setting, what it takes, its default, what it is."""
    rows = [(f"`{doc.name}`", doc.kind, _default(doc.default), doc.text) for doc in setting_docs(record)]
    return _markdown(("setting", "takes", "default", "what it is"), rows)


def models_table() -> str:
    """A Markdown table of all models, those of one family with the same stages in one row."""
    rows = []
    for (_, stages, licence), group in groupby(
        MODELS.values(), key=lambda model: (model.family, model.stage_names, model.licence)
    ):
        models = list(group)
        multiple = ", in steps of it" if models[0].size_multiple > 1 else ""
        rows.append(
            (
                " ".join(f"`{model.name}`" for model in models) + (" (non-commercial)" if licence == SWAG else ""),
                " ".join(_runs(stages)),
                _each(model.image_size for model in models),
                _each(model.min_size for model in models) + multiple,
                "yes" if models[0].has_dropout else "no",
            )
        )
    return _markdown(("models", "stages", "made for", "least size", "dropout"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "data": lambda: settings_table(DataSettings),
    "trial": lambda: settings_table(TrialSettings),
    "search": lambda: settings_table(SearchSettings),
    "resources": lambda: settings_table(ResourceSettings),
    "models": models_table,
}


def _each(sizes: Iterable[int]) -> str:
    """One size where all are the same, else each, in the order of the models."""
    sizes = list(sizes)
    return ", ".join(map(str, sizes if len(set(sizes)) > 1 else sizes[:1]))


def _runs(names: tuple[str, ...]) -> list[str]:
    """Names with runs of numbered ones drawn together: `stem`, `layer1` … `layer4`."""
    words = []
    for _, group in groupby(names, key=lambda name: _NUMBERED.sub(r"\1", name)):
        those = list(group)
        words.append(f"`{those[0]}`" if len(those) == 1 else f"`{those[0]}`…`{those[-1]}`")
    return words


def _default(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _markdown(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = (header, ("---",) * len(header), *rows)
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main(arguments: list[str]) -> int:
    """Rewrites the documents named on the command line."""
    for name in arguments:
        path = Path(name)
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
