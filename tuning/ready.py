"""The ready sweep files that come with the project, by name.

ready_files()                       # {"resnet18.yaml": Path(…)}
find_space("resnet18")              # a file of that path, else the ready file of that name
"""

from pathlib import Path

from trainables.errors import UserError
from tuning.checking import nearest

_FOLDER = Path(__file__).parent / "spaces"


def ready_files() -> dict[str, Path]:
    """Name → file of every ready sweep file, sorted by name."""
    return {path.name: path for path in sorted(_FOLDER.glob("*.yaml"))}


def find_space(text: str) -> Path:
    """The sweep file at the path `text`, else the ready one of that name, with or without `.yaml`.

    Raises UserError, with the nearest name, where there is neither.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return path
    ready = ready_files()
    found = ready.get(text) or ready.get(f"{text}.yaml")
    if found:
        return found
    near = nearest(path.stem, [name.removesuffix(".yaml") for name in ready])
    what = "a folder, not a sweep file" if path.is_dir() else "no such sweep file"
    hint = f"did you mean '{near}.yaml'?" if near else "`tune init` lists the ready ones"
    raise UserError(what, got=text, expected="a YAML file, or the name of a ready one", hint=hint)


def base_of(path: Path) -> Path:
    """What a sweep file's relative paths are seen from: its own folder, or for a ready file the current one."""
    return Path() if path.resolve().parent == _FOLDER.resolve() else path.parent


def title(path: Path) -> str:
    """The first line of a ready file's header, without its `#`."""
    with path.open(encoding="utf-8") as lines:
        return lines.readline().lstrip("# ").strip()
