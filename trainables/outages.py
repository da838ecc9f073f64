"""Object storage that does not answer: tried again for two minutes, by all of a process together, and told of.

    answers = answers_of("s3://bucket")
    content = answers.tried(lambda: stream.read(), where="s3://bucket/sweeps/my/sweep.json")

An outage begins with the first call that fails and ends with the first that does not. All calls to one storage share
its deadline: once it has passed, each is tried just once more, so a sweep ends soon after it. A call that fails while
others do not has the same time by itself. Libraries wait below Python, some for minutes: each call has a thread of its
own, so that Ctrl-C and a wish to hurry are heard. What is told goes to this module's logger: by itself that is standard
error, in a sweep its screen.
"""

import errno
import functools
import logging
import math
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from trainables.errors import UserError

PATIENCE_S = 120.0
_HURRIED_S = 5.0
# An outage shorter than this is told to nobody.
TELL_S = 3.0
_TRY_AGAIN_S = 1.0
# A call that takes so long has not failed, for it may carry much; but somebody should know.
_LONG_S = 20.0
_LOOK_S = 0.5
# What trying again does not change, in the words of AWS and of Google.
_FINAL = (
    "NO_SUCH_BUCKET",
    "ACCESS_DENIED",
    "INVALID_ACCESS_KEY_ID",
    "SIGNATURE_DOES_NOT_MATCH",
    "UNRECOGNIZED_CLIENT",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "ExpiredToken",
    "InvalidToken",
)
# An error with a number is a file system's: of a mounted folder's, these may pass.
_PASSING = (errno.EIO, errno.ESTALE, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.EHOSTUNREACH)

T = TypeVar("T")

log = logging.getLogger(__name__)


class StorageError(UserError, OSError):
    """Object storage failed, or has no such file: one line for the user, and as a full disk for whoever saves there."""


class Answers:
    """How one storage answers to this process."""

    def __init__(self, storage: str) -> None:
        self._storage = storage
        self._since: float | None = None
        self._last_answer = -math.inf
        self._told = self._hurried = False
        self._known = threading.Lock()

    def tried(self, act: Callable[[], T], *, where: str) -> T:
        """What `act` returns, tried again while the storage does not answer.

        Raises:
            StorageError: there is no such file; the storage refuses, or does not answer; a disk fails.
        """
        began, failed_at = time.monotonic(), None
        while True:
            try:
                found = self._awaited(act)
            except StorageError:
                self._answered()
                raise
            except FileNotFoundError as error:
                self._answered()
                raise StorageError("no such file there", where=where) from error
            except OSError as error:
                if any(word in str(error) for word in _FINAL):
                    self._answered()
                    raise StorageError(f"the object storage refuses ({trouble(error)})", where=where) from error
                if error.errno is not None and error.errno not in _PASSING:
                    self._answered()
                    raise StorageError(
                        f"a disk fails ({error.strerror})", where=str(error.filename or where)
                    ) from error
                failed_at = time.monotonic() if failed_at is None else failed_at
                silent_s = max(self._failed(error, since=began), time.monotonic() - failed_at)
                if silent_s >= (_HURRIED_S if self._hurried else PATIENCE_S):
                    said = f"no answer from the object storage for {silent_s:.0f} s ({trouble(error)})"
                    raise StorageError(said, where=where) from error
                time.sleep(_TRY_AGAIN_S)
            else:
                self._answered()
                return found

    def once(self, act: Callable[[], T]) -> T:
        """What `act` returns or raises, tried once."""
        found = self._awaited(act)
        self._answered()
        return found

    def silent_s(self) -> float:
        """Seconds since the outage began; 0 while there is none."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def is_away(self) -> bool:
        """Whether there is an outage, and no blip."""
        return self.silent_s() >= TELL_S

    def hurry(self) -> None:
        """Somebody waits for the end: until the storage answers, little patience is left."""
        self._hurried = True

    def _awaited(self, act: Callable[[], T]) -> T:
        """Does it on another thread. TimeoutError where it takes long and somebody waits for the end."""
        ended: Future[T] = Future()

        def work() -> None:
            try:
                ended.set_result(act())
            except BaseException as error:  # told to who waits
                ended.set_exception(error)

        began = time.monotonic()
        threading.Thread(target=work, name="storage", daemon=True).start()
        while True:
            try:
                return ended.result(timeout=_LOOK_S)
            except TimeoutError:
                if ended.done():
                    return ended.result()  # or its own error
                waited_s = time.monotonic() - began
                slow = TimeoutError(f"a call has taken {waited_s:.0f} s")
                if waited_s >= _LONG_S and self._last_answer < began:  # else it is this call that is slow
                    self._failed(slow, since=began)
                if self._hurried and waited_s >= _HURRIED_S:
                    raise slow from None

    def _failed(self, error: OSError, *, since: float) -> float:
        """Notes a failure of a call that was begun then. Returns for how long no call has been answered."""
        with self._known:
            if self._since is None:
                self._since = max(since, self._last_answer)
            all_s = self.silent_s()
            tell = all_s >= TELL_S and not self._told
            self._told = self._told or tell
        if tell:
            log.warning("%s does not answer (%s): tried again for %.0f s", self._storage, trouble(error), PATIENCE_S)
        return all_s

    def _answered(self) -> None:
        with self._known:
            told, silent_s = self._told, self.silent_s()
            self._since, self._told, self._hurried = None, False, False
            self._last_answer = time.monotonic()
        if told:
            log.warning("%s answers again, after %.0f s", self._storage, silent_s)


@functools.cache
def answers_of(storage: str) -> Answers:
    """What this process knows of one storage, such as `s3://bucket`."""
    return Answers(storage)


def trouble(error: BaseException) -> str:
    """What object storage complains of, without the request's number, in one line."""
    text = " ".join(str(error).split())
    if found := re.search(r"AWS Error (?P<kind>.+?) during \w+ operation: (?P<said>.*)", text):
        empty = not found["said"] or found["said"].startswith("No response body")  # as for all that is only looked at
        text = (found["kind"] if empty else found["said"]).split("; Details: ")[-1]
        text = re.sub(r" ?\(Request ID: [^)]*\)|curlCode: \d+, |Detail: .*", "", text)
    elif found := re.search(r"google::cloud::Status\((?P<kind>\w+): (?P<said>.*)", text):
        text = re.sub(r" error_info=\{.*", "", found["said"]).split("The underlying error message was: ")[-1]
        text = re.sub(
            r"Retry policy exhausted, with a last message of |PerformWork\(\) - |CURL error \[\d+\]=", "", text
        )
    return text.strip().rstrip(".")[:300] or type(error).__name__
