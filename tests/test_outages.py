"""Object storage that does not answer: how long it is tried again, by all together, and what is told."""

import errno
import threading
import time
from collections.abc import Callable

import pytest

from trainables import outages
from trainables.outages import Answers, StorageError, trouble

AWAY = "When reading 'a': AWS Error NETWORK_CONNECTION during GetObject operation: Could not connect to server"
DENIED = "When reading 'a': AWS Error ACCESS_DENIED during GetObject operation: no (Request ID: X1)"


class Clock:
    """Time that passes while somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now, self.slept = self.now + seconds, self.slept + 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "time", clock)
    return clock


def failing(times: int, message: str = AWAY) -> Callable[[], str]:
    """Something that fails so many times, then works."""
    left = [OSError(message)] * times

    def act() -> str:
        if left:
            raise left.pop()
        return "content"

    return act


def test_it_is_tried_again(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    answers = Answers("s3://bucket")
    assert answers.tried(failing(40), where="s3://bucket/a") == "content"
    assert answers.silent_s() == 0
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "s3://bucket does not answer (Could not connect to server): tried again for 120 s",
        "s3://bucket answers again, after 40 s",
    ]


def test_a_short_outage_is_told_to_nobody(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    assert Answers("s3://bucket").tried(failing(3), where="s3://bucket/a") == "content"
    assert not caplog.records


def test_all_calls_share_one_deadline(clock: Clock) -> None:
    answers = Answers("s3://bucket")
    said = r"s3://bucket/a: no answer from the object storage for 120 s \(Could not connect to server\)"
    with pytest.raises(StorageError, match=said):
        answers.tried(failing(1000), where="s3://bucket/a")
    slept = clock.slept
    for _ in range(3):
        with pytest.raises(StorageError, match="no answer"):
            answers.tried(failing(1000), where="s3://bucket/b")
    assert clock.slept == slept, "what comes after the deadline is tried once"
    assert answers.tried(failing(0), where="s3://bucket/b") == "content"
    assert answers.tried(failing(40), where="s3://bucket/b") == "content", "the next outage has a deadline of its own"


@pytest.mark.parametrize("message", [DENIED, "google::cloud::Status(PERMISSION_DENIED: no)"])
def test_what_is_refused_is_not_asked_for_again(clock: Clock, message: str) -> None:
    answers = Answers("s3://bucket")
    with pytest.raises(StorageError, match=r"s3://bucket/a: the object storage refuses \("):
        answers.tried(failing(1, message), where="s3://bucket/a")
    assert (clock.slept, answers.silent_s()) == (0, 0)


def test_a_call_that_fails_alone_has_a_deadline_too(clock: Clock) -> None:
    """While others, on other threads, are answered: such as where large files alone are refused."""
    answers = Answers("s3://bucket")

    def act() -> str:
        answers.tried(failing(0), where="s3://bucket/small")
        raise OSError("AWS Error UNKNOWN (HTTP status 413) during PutObject operation: too large")

    with pytest.raises(StorageError, match=r"s3://bucket/large: no answer .* for 120 s \(too large\)"):
        answers.tried(act, where="s3://bucket/large")


def test_who_is_in_a_hurry_waits_little(clock: Clock) -> None:
    answers = Answers("s3://bucket")
    answers.hurry()
    assert answers.tried(failing(3), where="s3://bucket/a") == "content", "a blip costs nothing"
    answers.hurry()
    with pytest.raises(StorageError, match="no answer from the object storage for 5 s"):
        answers.tried(failing(1000), where="s3://bucket/a")
    slept = clock.slept
    with pytest.raises(StorageError, match="no answer"):
        answers.tried(failing(1000), where="s3://bucket/b")
    assert clock.slept == slept
    assert answers.tried(failing(0), where="s3://bucket/a") == "content"
    assert answers.tried(failing(40), where="s3://bucket/a") == "content", "the hurry was that outage's"


def test_an_outage_is_no_blip(clock: Clock) -> None:
    answers = Answers("s3://bucket")
    seen = []

    def act() -> str:
        seen.append(answers.is_away())
        if len(seen) < 6:
            raise OSError(AWAY)
        return "content"

    answers.tried(act, where="s3://bucket/a")
    assert seen == [False, False, False, True, True, True]
    assert not answers.is_away()


def test_a_call_that_takes_long_is_told_and_can_be_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As Google's library waits for minutes where a server has stopped."""
    for name, seconds in {"_LONG_S": 0.1, "TELL_S": 0.05, "_HURRIED_S": 0.3, "_LOOK_S": 0.02}.items():
        monkeypatch.setattr(outages, name, seconds)
    answers, stuck = Answers("gs://bucket"), threading.Event()
    threading.Timer(0.5, answers.hurry).start()
    with pytest.raises(StorageError, match="gs://bucket/a: no answer"):
        answers.tried(stuck.wait, where="gs://bucket/a")
    (said,) = (record.getMessage() for record in caplog.records)
    assert said.startswith("gs://bucket does not answer (a call has taken ")
    stuck.set()


def test_a_call_that_is_slow_beside_others_is_no_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"_LONG_S": 0.1, "TELL_S": 0.05, "_LOOK_S": 0.02}.items():
        monkeypatch.setattr(outages, name, seconds)
    answers = Answers("gs://bucket")
    seen = []

    def slow() -> str:
        for _ in range(10):
            time.sleep(0.03)
            answers.tried(failing(0), where="gs://bucket/small")
            seen.append(answers.is_away())
        return "content"

    assert answers.tried(slow, where="gs://bucket/large") == "content"
    assert seen == [False] * 10


@pytest.mark.parametrize(
    ("number", "again"), [(errno.ENOSPC, False), (errno.EROFS, False), (errno.EIO, True), (errno.ESTALE, True)]
)
def test_errors_of_a_disk(clock: Clock, number: int, again: bool) -> None:
    """Of a mounted folder, or of this machine's own disk, where a file is brought to."""
    answers = Answers("file://")
    errors = [OSError(number, "told", "/copy/a")]

    def act() -> str:
        if errors:
            raise errors.pop()
        return "content"

    if again:
        assert answers.tried(act, where="file:///a") == "content"
    else:
        with pytest.raises(StorageError, match=r"/copy/a: a disk fails \(told\)"):
            answers.tried(act, where="file:///a")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        (
            "When initiating multiple part upload for key 'a' in bucket 'b': AWS Error NO_SUCH_BUCKET during"
            " CreateMultipartUpload operation: The specified bucket does not exist (Request ID: WxGI)",
            "The specified bucket does not exist",
        ),
        (
            "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of PerformWork() - CURL"
            " error [7]=Could not connect to server error_info={reason=, metadata={gcloud-cpp.retry.on-entry=false}})",
            "Could not connect to server",
        ),
        (
            "google::cloud::Status(UNAVAILABLE: Retry policy exhausted, with a last message of Could not create a"
            " OAuth2 access token to authenticate the request. Learn more. The underlying error message was:"
            " PerformWork() - CURL error [6]=Could not resolve hostname error_info={reason=})",
            "Could not resolve hostname",
        ),
        (
            "When getting information for key 'a' in bucket 'b': AWS Error UNKNOWN (HTTP status 503) during HeadObject"
            " operation: No response body.",
            "UNKNOWN (HTTP status 503)",
        ),
        (
            "When getting information for 'b': AWS Error ACCESS_DENIED during HeadBucket operation: No response body",
            "ACCESS_DENIED",
        ),
        (
            "When getting information for 'b': AWS Error [code 103] during HeadBucket operation: not a valid URI",
            "not a valid URI",
        ),
        ("", "OSError"),
    ],
)
def test_trouble_in_a_line(told: str, line: str) -> None:
    assert trouble(OSError(told)) == line
