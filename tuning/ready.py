"""The ready sweep files that come with the project, by name.

ready_files()                       # {"resnet18.yaml": Path(…)}
find_space("resnet18")              # a file of that path, else the ready file of that name
likeliest("digits")                 # "resnet18.yaml", which is on them
"""

import shlex
from pathlib import Path

from reports.record import RECORD
from trainables.errors import UserError
from trainables.files import expanded
from tuning.checking import nearest

_FOLDER = Path(__file__).parent / "spaces"
_SHORTEST_WORD = 3  # shorter ones are part of many others


def ready_files() -> dict[str, Path]:
    """Name → file of every ready sweep file, sorted by name."""
    return {path.name: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_space(text: str, *, expected: str = "a YAML file, or the name of a ready one") -> Path:
    """The sweep file at the path `text`, else the ready one of that name, with or without `.yaml`.

    Raises UserError, with what was meant most likely, where there is neither.
    """
    path = expanded(text)
    if path.is_file():
        return path
    ready = ready_files()
    found = ready.get(text) or ready.get(f"{text}.yaml")
    if found:
        return found
    what = "a folder, not a sweep file" if path.is_dir() else "no such sweep file"
    raise UserError(what, got=text, expected=expected, hint=_meant(text, path))


def _meant(text: str, path: Path) -> str:
    if (path / RECORD).is_file():
        return f"a sweep that is there goes on with `tune resume {shlex.quote(text)}`"
    beside = (f"{text}{ending}" for ending in (".yaml", ".yml") if Path(f"{path}{ending}").is_file())
    near = next(beside, None) or likeliest(path.stem)
    return f"did you mean '{near}'?" if near else "`tune init` lists the ready ones"


def likeliest(name: str) -> str | None:
    """The ready file that was meant by a name that none has: the nearest, else the first that says such a word."""
    ready = ready_files()
    stem = name.removesuffix(".yaml")
    if near := nearest(stem, [known.removesuffix(".yaml") for known in ready]):
        return f"{near}.yaml"
    says = (known for known, path in ready.items() if stem.lower() in f"{known} {title(path)}".lower())
    return next(says, None) if len(stem) >= _SHORTEST_WORD else None


def base_of(path: Path) -> Path:
    """What a sweep file's relative paths are seen from: its own folder, or for a ready file the current one."""
    return Path() if path.resolve().parent == _FOLDER.resolve() else path.parent


def title(path: Path) -> str:
    """The first line of a ready file's header, without its `#`."""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().lstrip("# ").strip()
