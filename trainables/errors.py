"""Errors that are told in one line.

    raise UserError("no such folder", where="data.path", got="pics/", hint="check the path")

`UserError` is the user's mistake and ends a command with exit code 2. `TrialError` ends one trial, with its
reason in the record, and the sweep goes on. Anything else is our bug and shows its traceback.
"""


class UserError(Exception):
    """The user's mistake: what is wrong, where, what was got, what was expected, what to do.

    `str(error)` is one line: `where: what: got …, expected …; hint`.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        got: object = None,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.what, self.where, self.got, self.expected, self.hint = what, where, got, expected, hint
        super().__init__(_one_line(what, where, got, expected, hint))


class TrialError(Exception):
    """One trial cannot go on (its settings made it diverge, say); the sweep does."""


def _one_line(what: str, where: str | None, got: object, expected: str | None, hint: str | None) -> str:
    facts = []
    if got is not None:
        facts.append(f"got {_shown(got)}")
    if expected is not None:
        facts.append(f"expected {expected}")
    line = f"{where}: {what}" if where else what
    if facts:
        line += ": " + ", ".join(facts)
    if hint:
        line += f"; {hint}"
    # Names of files come in here, and a terminal must not act on what is in them.
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(line.split()))


def _shown(value: object, *, limit: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
