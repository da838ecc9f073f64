"""Sweeps as jobs of a Ray cluster: its own Ray Jobs, with a sweep as the job.

    jobs = Jobs("http://10.0.0.5:8265")
    words = ["search", "--space", "my.yaml", "--name", "my", "--runs", "/shared/runs", "--address", "auto"]
    job = jobs.submit(words, name="my", run="/shared/runs/my", file=Path("my.yaml"))
    for text in jobs.follow(job): print(text, end="")
    jobs.stop(job)

A job is `tune search` or `tune resume`, started on the cluster's head in a folder that holds the sweep file and this
project's code, so that its nodes need the libraries alone. Access is Ray's: whoever may submit may run anything.
"""

import asyncio
import contextlib
import functools
import logging
import os
import re
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from reports.storages import VARIABLE
from trainables.errors import UserError
from trainables.settings import NAMED_WEIGHTS
from trainables.urls import given_url
from tuning.address import use_token

PACKAGES = ("trainables", "reports", "tuning")
# Of a job's metadata: the sweep's name, which marks the job as ours, and its run's folder.
_NAME, _RUN = "tuneyard-sweep", "tuneyard-run"
# What a cluster says that has just been started, and how long that may take.
_STARTING, _STARTS_S = "No available agent", 60.0


@dataclass(frozen=True)
class SweepJob:
    """One job: `state` is Ray's word for it in lower case, `since` when it was submitted (ISO 8601, UTC)."""

    id: str
    sweep: str
    run: str
    state: str
    since: str | None


class Jobs:
    """The jobs of one cluster that are sweeps.

    Args:
        address: of its dashboard, such as `http://10.0.0.5:8265`; None for what RAY_API_SERVER_ADDRESS or RAY_ADDRESS
            say, else the cluster that this machine belongs to.

    Raises:
        UserError: nobody answers there, or Ray's part for jobs is not installed.
    """

    def __init__(self, address: str | None) -> None:
        use_token()
        try:
            import aiohttp  # noqa: F401  what Ray's client lacks without its extra
            from ray.exceptions import AuthenticationError
            from ray.job_submission import JobSubmissionClient
        except ImportError as error:
            raise UserError(
                f"{error.name} is not installed", where="jobs", hint="pip install 'tuneyard[cluster]'"
            ) from error
        for chatty in ("ray", "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(chatty).setLevel(logging.WARNING)  # they tell of each connection and each parcel
        self._address = address
        self._refused = AuthenticationError
        with self._told():
            self._client = JobSubmissionClient(address)

    def submit(self, words: Sequence[str], *, name: str, run: str, file: Path | None = None) -> str:
        """Hands `tune` with these words over as a job. Returns the job's id.

        Args:
            words: `search …` or `resume …`.
            name: the sweep's.
            run: its folder, as the cluster sees it.
            file: the sweep file, which travels along under its own name.
        """
        job = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}-{secrets.token_hex(4)}"  # Ray puts it into an URL as it is
        with _parcel(file) as folder, self._told():
            submit = functools.partial(
                self._client.submit_job,
                entrypoint=shlex.join(["python", "-m", "tuning", *words]),
                submission_id=job,
                runtime_env={"working_dir": str(folder), "env_vars": _trusted()},
                metadata={_NAME: name, _RUN: run},
            )
            until = time.monotonic() + _STARTS_S
            while True:
                try:
                    return submit()
                except RuntimeError as error:
                    if _STARTING not in str(error) or time.monotonic() > until:
                        raise
                    time.sleep(1)

    def all(self) -> list[SweepJob]:
        """The sweeps among the cluster's jobs, the latest first."""
        with self._told():
            found = [_described(job) for job in self._client.list_jobs() if _NAME in (job.metadata or {})]
        return sorted(found, key=lambda job: job.since or "", reverse=True)

    def one(self, job: str) -> SweepJob:
        """UserError where there is no such sweep."""
        jobs = self.all()
        for known in jobs:
            if known.id == job:
                return known
        there = ", ".join(known.id for known in jobs[:8])
        raise UserError("no such job", got=job, hint=f"there are: {there}" if there else "no sweep was submitted there")

    def log(self, job: str) -> str:
        """What the job has printed so far."""
        with self._told():
            return self._client.get_job_logs(self.one(job).id)

    def follow(self, job: str) -> Iterator[str]:
        """What the job prints, until it ends."""
        self.one(job)
        with self._told():
            yield from _now(self._client.tail_job_logs(job))

    def stop(self, job: str) -> bool:
        """Asks a job to stop. Returns whether it was at work."""
        self.one(job)
        with self._told():
            return self._client.stop_job(job)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._refused as error:
            raise UserError(
                "the cluster does not take this token, or wants one",
                where=self._address or "--address",
                expected="the token of its head",
                hint="give it as RAY_AUTH_TOKEN, or in ~/.ray/auth_token",
            ) from error
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> UserError:
        first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        return UserError(
            f"the cluster's jobs cannot be reached ({first[:200]})",
            where="--address",
            got=self._address or "(none)",
            expected="the dashboard's address, such as http://10.0.0.5:8265",
        )


def _trusted() -> dict[str, str]:
    """The database that the user vouches for here, for the job to know too."""
    return {VARIABLE: os.environ[VARIABLE]} if VARIABLE in os.environ else {}


def check_paths(data: dict[str, Any], weights: Sequence[str], runs: str) -> None:
    """UserError for a path that the cluster would look for in a job's folder, where nothing of the user's is.

    Args:
        data: the settings of `data:`. weights: every `weights` that trials may start from. runs: where runs are kept.
    """
    named = [("--runs", runs), ("data.path", data.get("path")), ("data.root", data.get("root"))]
    named += [("trial.weights", name) for name in weights if name not in NAMED_WEIGHTS]
    for where, path in named:
        may_be_url = where == "--runs"
        if path is not None and not (may_be_url and given_url(path)) and not Path(path).is_absolute():
            raise UserError(
                "a job looks for this on the cluster",
                where=where,
                got=path,
                expected="an absolute path that its nodes see" + (", or s3://…, gs://…" if may_be_url else ""),
            )


@contextlib.contextmanager
def _parcel(file: Path | None) -> Iterator[Path]:
    """A folder with the project's code, what says its version, and the sweep file."""
    project = Path(__file__).parent.parent
    with tempfile.TemporaryDirectory(prefix="tuneyard-job-") as folder:
        for package in PACKAGES:
            shutil.copytree(project / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__"))
        number = version("tuneyard")
        metadata = Path(folder) / f"tuneyard-{number}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: tuneyard\nVersion: {number}\n", encoding="utf-8")
        if file is not None:
            shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder)


def _described(job: Any) -> SweepJob:
    started = job.start_time and datetime.fromtimestamp(job.start_time / 1000, UTC).isoformat(timespec="seconds")
    return SweepJob(job.submission_id, job.metadata[_NAME], job.metadata.get(_RUN, ""), job.status.lower(), started)


def _now(texts: AsyncIterator[str]) -> Iterator[str]:
    """An asynchronous iterator as a plain one."""
    with asyncio.Runner() as runner:
        while True:
            try:
                yield runner.run(anext(texts))  # type: ignore[arg-type]
            except StopAsyncIteration:
                return
