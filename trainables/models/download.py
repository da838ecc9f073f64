"""One file from the web, whole or not at all.

download(url, Path("resnet18-f37072fd.pth"), reach_s=4)       # OSError when it cannot be had
"""

import hashlib
import http.client
import os
import queue
import re
import threading
import urllib.error
import urllib.request
import uuid
from pathlib import Path

_STALL_S = 30.0  # how long a transfer may stand still


def download(url: str, path: Path, *, reach_s: float) -> None:
    """Fetch `url` to `path`, in one attempt; OSError if it fails.

    The file's SHA-256 must begin with what its name says (`expected_hash`), as torch's hub has it. Gives up after
    `reach_s` seconds when the server does not answer, name look-up included, and when the transfer stands still
    for half a minute.
    """
    _knock(url, within_s=reach_s)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
    try:
        checksum = _fetch(url, partial)
        if not checksum.startswith(wanted := expected_hash(path.name)):
            raise OSError(f"the SHA-256 of what was downloaded does not begin with {wanted}")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def expected_hash(name: str) -> str:
    """The first digits of a file's SHA-256, as far as its name gives them: "f37072fd" of resnet18-f37072fd.pth."""
    found = re.search(r"-([0-9a-f]+)\.[a-z]+$", name)
    return found[1] if found else ""


def reason(error: BaseException) -> str:
    """Why it failed, in a few words."""
    wrapped = isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError)
    cause = error.reason if wrapped else error  # type: ignore[attr-defined]
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(error).__name__)[:160]


def _knock(url: str, *, within_s: float) -> None:
    """Return if the server answers in time. In a thread, since nothing bounds the time of a name look-up."""
    answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=within_s).close()
            answers.put(None)
        except (OSError, ValueError, http.client.HTTPException) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        failure = answers.get(timeout=within_s)
    except queue.Empty:
        failure = TimeoutError(f"no answer within {within_s:g} s")
    if failure:
        raise OSError(reason(failure)) from failure


def _fetch(url: str, path: Path) -> str:
    """Write the content of `url` to a new file and return its SHA-256 in hex."""
    checksum = hashlib.sha256()
    try:
        with path.open("xb") as file, urllib.request.urlopen(url, timeout=_STALL_S) as response:
            while block := response.read(1 << 20):
                checksum.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
    except http.client.HTTPException as error:
        raise OSError(f"the transfer broke off ({type(error).__name__})") from error
    return checksum.hexdigest()
