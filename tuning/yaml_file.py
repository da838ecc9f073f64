"""Read a YAML file into plain data that remembers where everything stood.

    file = read_yaml("my.yaml")
    file.data["trial"]["lr"], file.where(("trial", "lr"))        # 0.001, "my.yaml:7"

This is the small, safe part of YAML that a sweep file needs. A tag, an anchor, a duplicate key or a second document is
refused in one line. Scalars follow YAML 1.2: `1e-3` is a number, only `true` and `false` are booleans, and `no`, `off`
and dates stay words. Data is built from the parser's flat event stream, so neither depth nor size can hurt.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import UserError

MAX_BYTES = 1_000_000
MAX_DEPTH = 8
MAX_VALUES = 20_000
MAX_KEY = 100

KeyPath = tuple[str | int, ...]

# Control characters other than tab and line feed, and halves of surrogate pairs: escapes can smuggle them in.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NULL = re.compile(r"(|~|null|Null|NULL)")
_BOOL = re.compile(r"(true|True|TRUE|false|False|FALSE)")
_INT = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")

# The parser's words for the mistakes people make most, and what to do about them.
_HINTS = {
    r"'\t'": "indent with spaces, not tabs",
    "mapping values are not allowed": (
        "is a space missing after a colon, a line indented differently, or text with a colon not in quotes?"
    ),
    "could not find expected ':'": "write `name: value`, with a space after the colon",
    "expected <block end>": "are the lines of one section indented alike?",
    "expected ',' or ']'": "close the list with ]",
    "expected ',' or '}'": "close the braces with }",
    "unexpected end of stream": "close the quote",
    "expected alphabetic or numeric character": "put text that starts with * or & in quotes",
    "cannot start any token": "put the text in quotes",
}


@dataclass(frozen=True)
class YamlFile:
    """Plain data (dict, list, str, int, float, bool, None) and the line of each key and list item.

    lines: path of keys and indices → line, from 1; `()` is the file's first entry.
    changed: path → the command-line option that put it there, in place of a line (see `tuning.overrides`).
    """

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]
    changed: dict[KeyPath, str] = field(default_factory=dict)

    def where(self, key: KeyPath = ()) -> str:
        """`file:line` of a key, or the option that set it; of what holds it where it has no line of its own."""
        key = self._known(key)
        return self.changed.get(key) or f"{self.path}:{self.lines.get(key, 1)}"

    def line(self, key: KeyPath = ()) -> float:
        """The line that `where` names, to sort by; infinite for what an option set."""
        key = self._known(key)
        return math.inf if key in self.changed else self.lines.get(key, 1)

    def _known(self, key: KeyPath) -> KeyPath:
        while key and key not in self.lines and key not in self.changed:
            key = key[:-1]
        return key


def read_yaml(path: Path | str) -> YamlFile:
    """The file as data with lines. Raises UserError (`file:line: …`) for all that is wrong with it."""
    return of_text(read_text(Path(path)), path=Path(path))


def of_text(text: str, *, path: Path) -> YamlFile:
    """As `read_yaml`, of a text that was read already."""
    data, lines = parse(text, name=str(path))
    if data is None:
        raise UserError("the file is empty", where=str(path), hint="`tune init` copies out a file to start from")
    if not isinstance(data, dict):
        kind = "a list" if isinstance(data, list) else "a single value"
        raise UserError(
            f"{kind} at the top", where=f"{path}:{lines[()]}", expected="sections such as `trial:` and `space:`"
        )
    return YamlFile(path, data, lines)


def parse(text: str, *, name: str) -> tuple[Any, dict[KeyPath, int]]:
    """One YAML document as plain data, and the line of each part; None for no document. `name` is for errors."""
    lines: dict[KeyPath, int] = {}
    data: Any = None
    documents = 0
    try:
        events = _Events(yaml.parse(text, Loader=yaml.SafeLoader), name)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise UserError("a second document in the file", where=_place(name, event), hint="remove `---`")
                first = next(events)
                lines[()] = first.start_mark.line + 1
                data = _value(first, events, (), lines)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"{name}:{mark.line + 1}" if mark else name
        problem = error.problem or error.context or "not YAML"
        hint = next((hint for words, hint in _HINTS.items() if words in problem), None)
        raise UserError(f"not YAML: {problem}", where=line, hint=hint) from None
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise UserError(
            "a character that no text file has", where=f"{name}:{number}", got=text[error.position : error.position + 1]
        ) from None
    return data, lines


def read_text(path: Path) -> str:
    """A sweep file's text. UserError for what cannot be read, is too large or no UTF-8."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UserError("no such file", where=str(path)) from None
    except IsADirectoryError:
        raise UserError("a folder, not a file", where=str(path)) from None
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if len(raw) > MAX_BYTES:
        raise UserError("too large for a sweep file", where=str(path), expected=f"at most {MAX_BYTES:,} bytes")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError("not UTF-8 text", where=f"{path}:{line}", hint="save the file as UTF-8") from None


class _Events(Iterator[Any]):
    """The parser's events, with anchors, tags and more values than a person writes refused."""

    def __init__(self, events: Iterator[Any], name: str) -> None:
        self._events, self.name, self._values = events, name, 0

    def __next__(self) -> Any:
        try:
            event = next(self._events)
        except (ValueError, OverflowError):  # PyYAML lets these through for escapes and versions out of range
            raise UserError("not YAML: a number in an escape or directive is out of range", where=self.name) from None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UserError(
                "anchors (&) and aliases (*) are not allowed",
                where=_place(self.name, event),
                hint="write the value out, or in quotes where it is text",
            )
        tag = getattr(event, "tag", None)
        if tag:
            raise UserError("tags (!) are not allowed", where=_place(self.name, event), got=tag)
        if isinstance(event, yaml.ScalarEvent) and _UNPRINTABLE.search(event.value):
            raise UserError("a character that cannot be printed", where=_place(self.name, event), got=event.value)
        self._values += isinstance(event, yaml.NodeEvent)
        if self._values > MAX_VALUES:
            raise UserError("too many values", where=_place(self.name, event), expected=f"at most {MAX_VALUES:,}")
        return event


def _value(event: Any, events: _Events, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event.value) if event.style is None else event.value
    if len(path) >= MAX_DEPTH:
        raise UserError("nested too deep", where=_place(events.name, event), expected=f"at most {MAX_DEPTH} levels")
    if isinstance(event, yaml.SequenceStartEvent):
        return _sequence(events, path, lines)
    return _mapping(events, path, lines)


def _sequence(events: _Events, path: KeyPath, lines: dict[KeyPath, int]) -> list[Any]:
    values: list[Any] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        item = (*path, len(values))
        lines[item] = event.start_mark.line + 1
        values.append(_value(event, events, item, lines))
    return values


def _mapping(events: _Events, path: KeyPath, lines: dict[KeyPath, int]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise UserError("a key that is no word", where=_place(events.name, event), expected="`name: value`")
        key = event.value
        if len(key) > MAX_KEY:
            raise UserError("too long for a key", where=_place(events.name, event), got=key)
        item = (*path, key)
        if key in values:
            raise UserError(f"{dotted(item)} stands here and on line {lines[item]}", where=_place(events.name, event))
        assert event.start_mark is not None  # a parser's events have one
        lines[item] = event.start_mark.line + 1
        values[key] = _value(next(events), events, item, lines)
    return values


def _scalar(text: str) -> Any:
    """A plain (unquoted) scalar by the core schema of YAML 1.2, less its octal and hexadecimal numbers."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return float(text.replace(".", ""))
    return text


def dotted(path: KeyPath) -> str:
    """`("space", "batch_size", 1)` as `space.batch_size[1]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _place(name: str, event: Any) -> str:
    return f"{name}:{event.start_mark.line + 1}"
