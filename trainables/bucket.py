"""A run's files on object storage (S3, Google Cloud Storage), through `pyarrow.fs`.

    bucket = Bucket("s3://bucket/sweeps/my")
    bucket.put("best/model.json", path)
    bucket.read("sweep.json")                     # bytes, or None
    bucket.files("trials/3")                      # ["epoch-00001.safetensors", …]

Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS` …). A storage that does not answer is tried again for two minutes.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from trainables.errors import UserError
from trainables.files import replaced
from trainables.outages import StorageError, answers_of, trouble
from trainables.urls import check_url, is_url, joined, storage_of

_PIECE = 4 * 2**20  # bytes
# The libraries below try again by themselves, but not for long: how long in all is `trainables.outages`' to say.
_TRIES, _GOOGLE_TRIES_S = 2, 3

T = TypeVar("T")


class Bucket:
    """A prefix on object storage. Its calls raise StorageError as `trainables.outages` says."""

    def __init__(self, url: str) -> None:
        check_url(url)
        self.url = url
        self.answers = answers_of(storage_of(url))

    # whole files

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="tuneyard-") as folder:
            path = Path(folder, "file")
            yield path
            self.put(name, path)

    @contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="tuneyard-") as folder:
            path = Path(folder, "file")
            self.get(name, path)
            yield path

    def put(self, name: str, path: Path) -> None:
        """Copies a file there."""
        self.write(name, path.read_bytes())

    def get(self, name: str, path: Path) -> None:
        """Copies a file from there; `path` is whole or as it was."""

        def copy() -> None:
            source = self._fs.open_input_stream(self._key(name))
            with source, replaced(path) as temporary, temporary.open("wb") as file:
                shutil.copyfileobj(source, file, _PIECE)

        path.parent.mkdir(parents=True, exist_ok=True)
        self._tried(copy, name)

    def write(self, name: str, content: bytes) -> None:
        """Puts these bytes there, in one call that no signal cuts in two: what is there is whole."""

        def write() -> None:
            key = self._key(name)
            beside = f"{key}.tmp" if self._local else key  # object storage shows only what is whole by itself
            if self._local:
                self._fs.create_dir(str(Path(key).parent))
            with self._fs.open_output_stream(beside) as stream:
                stream.write(content)
            if self._local:
                self._fs.move(beside, key)

        self._tried(write, name)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none."""

        def read() -> bytes | None:
            try:
                with self._fs.open_input_stream(self._key(name)) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

        return self._tried(read, name)

    def read_json(self, name: str) -> dict[str, Any] | None:
        """A JSON document; None where there is none. UserError for what is none of ours."""
        content = self.read(name)
        try:
            document = None if content is None else json.loads(content)
        except ValueError:
            document = ()
        if document is None or isinstance(document, dict):
            return document
        raise UserError("damaged", where=joined(self.url, name), hint="restore it from a copy, or remove it")

    def write_json(self, name: str, document: dict[str, Any]) -> None:
        """Puts a JSON document there."""
        self.write(name, json.dumps(document).encode())

    # what there is

    def check(self) -> None:
        """Asks once, without patience.

        Raises:
            UserError: there is no such bucket.
            StorageError: the storage cannot be used.
        """
        from pyarrow.fs import FileType

        try:
            found = self.answers.once(self._said(lambda: self._fs.get_file_info(self._root)))
        except StorageError:
            raise
        except OSError as error:
            raise self._unusable(error) from error
        if found.type == FileType.NotFound and not self._local:
            raise UserError("there is no such bucket, or not for you", where=self.url, got=self._root)

    def has(self, name: str) -> bool:
        return self._tried(lambda: self._fs.get_file_info(self._key(name)), name).is_file

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was written, by the storage's clock and this machine's; None where there is none."""
        info = self._tried(lambda: self._fs.get_file_info(self._key(name)), name)
        return time.time() - info.mtime_ns / 1e9 if info.is_file and info.mtime_ns else None

    def files(self, folder: str) -> list[str]:
        return [info.base_name for info in self._tried(lambda: self._list(folder), folder) if info.is_file]

    def folders(self, folder: str) -> list[str]:
        from pyarrow.fs import FileType

        # Google's storage has none: a name with a slash in it is all there is.
        flat = self._fs.type_name == "gcs"
        found = self._tried(lambda: self._list(folder, recursive=flat), folder)
        if not flat:
            return [info.base_name for info in found if info.type == FileType.Directory]
        above = len(self._key(folder)) + 1
        return sorted({info.path[above:].split("/")[0] for info in found if "/" in info.path[above:]})

    def remove(self, name: str) -> None:
        def remove() -> None:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self._key(name))

        self._tried(remove, name)

    def remove_folder(self, folder: str) -> None:
        def remove() -> None:
            try:
                self._fs.delete_dir(self._key(folder))
            except OSError as error:  # on Google's storage it is no FileNotFoundError
                if not isinstance(error, FileNotFoundError) and "No such directory" not in str(error):
                    raise

        self._tried(remove, folder)

    def _unusable(self, error: Exception) -> StorageError:
        said = f"the object storage cannot be used ({trouble(error)})"
        return StorageError(said, where=self.url, hint=self._advice())

    def _advice(self) -> str:
        if self.url.startswith("gs:"):
            return "GOOGLE_APPLICATION_CREDENTIALS names a file with credentials; gs://anonymous@… needs none"
        ours = self.url.startswith("s3:") and "endpoint_override=" not in self.url
        endpoint = os.environ.get("AWS_ENDPOINT_URL") if ours else None
        if not endpoint:
            return "are its credentials, and its endpoint if need be, in the environment?"
        scheme = "" if is_url(endpoint) else ", without http:// or https://"
        return f"AWS_ENDPOINT_URL is {endpoint}{scheme}"

    def _list(self, folder: str, *, recursive: bool = False) -> list[Any]:
        from pyarrow.fs import FileSelector

        return self._fs.get_file_info(FileSelector(self._key(folder), allow_not_found=True, recursive=recursive))

    def _tried(self, act: Callable[[], T], name: str) -> T:
        return self.answers.tried(self._said(act), where=joined(self.url, name) if name else self.url)

    def _said(self, act: Callable[[], T]) -> Callable[[], T]:
        """`act`, with what trying again does not change as a StorageError."""

        def said() -> T:
            from pyarrow import ArrowException

            try:
                return act()
            except ArrowException as error:
                raise self._unusable(error) from error

        return said

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if name else self._prefix

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _prefix(self) -> str:
        return self._opened[1]

    @property
    def _root(self) -> str:
        """What is there before anything is written: the bucket."""
        return self._prefix if self._local else self._prefix.split("/")[0]

    @property
    def _local(self) -> bool:
        return self._fs.type_name == "local"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and where in it the prefix is. Loads pyarrow, which few sweeps need."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, S3FileSystem

        system, prefix = FileSystem.from_uri(_impatient(self.url))
        # No URL can say how often it is tried. What it says of certificates is not among the options.
        if system.type_name == "s3" and "tls_" not in self.url:
            _, (options,) = system.__reduce__()
            system = S3FileSystem(**{**options, "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=_TRIES)})
        if not prefix.strip("/"):
            raise UserError("no bucket is named", where=self.url, expected="such as s3://bucket/sweeps")
        return system, prefix.rstrip("/")


def _impatient(url: str) -> str:
    """The URL with Google's library told not to try for a quarter of an hour."""
    if not url.startswith("gs:") or "retry_limit_seconds=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}retry_limit_seconds={_GOOGLE_TRIES_S}"
