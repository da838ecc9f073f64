"""Counts in words.

counted(1, "trial"), counted(1200, "trial"), counted(3, "class", "classes")     # 1 trial, 1,200 trials, 3 classes
"""


def counted(number: int, thing: str, things: str | None = None) -> str:
    """A number and what there is so much of; `things` is its plural, where that is more than an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"
