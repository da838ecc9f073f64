"""Counts and lists in words.

counted(1, "trial"), counted(1200, "trial"), counted(3, "class", "classes")     # 1 trial, 1,200 trials, 3 classes
few(["a", "b", "c", "d"], limit=2)                                              # a, b and 2 more
"""

from collections.abc import Iterable


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number and what there is so much of; `things` is its plural, where that is more than an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def few(names: Iterable[str], *, limit: int = 5) -> str:
    """The first few names in words: `a, b, c and 9 more`."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
