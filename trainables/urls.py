"""URLs of object storage, as a user writes them.

given_url("s3://bucket/sweeps")                            # True; UserError for s3:/bucket, ftp://…, s3://key:secret@…
joined("gs://bucket/sweeps?scheme=http", "my")             # "gs://bucket/sweeps/my?scheme=http"
"""

import re
from pathlib import Path
from urllib.parse import urlsplit

from trainables.errors import UserError

SCHEMES = ("s3", "gs", "file")
_OTHER_NAMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


def is_url(where: object) -> bool:
    """Whether a place is meant that is no folder of a file system."""
    return isinstance(where, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", where) is not None


def given_url(where: object) -> bool:
    """`is_url`, of what a user wrote.

    Raises:
        UserError: there is no such storage, or it lacks a slash or a colon to be a URL.
    """
    if is_url(where):
        check_url(str(where))
        return True
    slip = re.match(r"(s3|gs|file)(:/?|//)(?=[^/])", where) if isinstance(where, str) else None
    if isinstance(where, str) and slip and not Path(where).exists():
        told = f"{slip[1]}://{'/' if slip[1] == 'file' else ''}{where[slip.end() :]}"
        raise UserError("neither a URL nor a path", got=where, expected=f"such as {told} for object storage")
    return False


def joined(url: str, name: str) -> str:
    """The URL of what is called `name` under a URL, whose options (`?region=…`) stay."""
    base, mark, options = url.partition("?")
    scheme, _, path = base.partition("://")
    return f"{scheme}://{path.rstrip('/')}/{name}{mark}{options}"


def storage_of(url: str) -> str:
    """The storage that a URL is on: `s3://bucket`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def check_url(url: str) -> None:
    """UserError for what names nothing on any object storage of ours."""
    parts = urlsplit(url)
    scheme = parts.scheme
    nobody = (None, "anonymous") if scheme == "gs" else (None,)
    if parts.password is not None or parts.username not in nobody or re.search("key=|secret|token", parts.query):
        variable = "GOOGLE_APPLICATION_CREDENTIALS" if scheme == "gs" else "AWS_ACCESS_KEY_ID …"
        raise UserError(
            "a URL with credentials", where=f"{scheme}://…", hint=f"give those in the environment ({variable})"
        )
    if not url.startswith(tuple(f"{known}://" for known in SCHEMES)):
        given, expected = url.split("://")[0], ", ".join(f"{known}://…" for known in SCHEMES)
        hint = f"it is called {_OTHER_NAMES[scheme]}:// here" if scheme in _OTHER_NAMES else None
        raise UserError("no such object storage", where=url, got=f"{given}://", expected=expected, hint=hint)
    if scheme != "file" and not parts.netloc:
        raise UserError("no bucket is named", where=url, expected="such as s3://bucket/sweeps")
    if "//" in parts.path or parts.fragment:
        raise UserError("a URL with '//' or '#' in its path", where=url)
    _check_options(url, parts.query)


def _check_options(url: str, query: str) -> None:
    """UserError for a run's name after the options, and for an endpoint in the other storage's form."""
    for option in query.split("&"):
        name, _, value = option.partition("=")
        if name == "endpoint_override" and url.startswith("gs:") and "://" in value:
            raise UserError(
                "Google's endpoint is host:port", where=url, got=value, hint="with scheme=http where it has no https"
            )
        if "/" in value.split("://")[-1] and not name.startswith("tls_"):
            raise UserError("a path after the '?'", where=url, expected="such as gs://bucket/sweeps/my?scheme=http")
