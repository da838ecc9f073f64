"""A run's files on object storage (S3, Google Cloud Storage), through `pyarrow.fs`.

    bucket = Bucket("s3://bucket/sweeps/my")
    bucket.put("best/model.json", path)
    bucket.read("sweep.json")                     # bytes, or None
    bucket.files("trials/3")                      # ["epoch-00001.safetensors", …]

Credentials, region and endpoint come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS` …). A storage that does not answer is tried again for two minutes.
"""

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from trainables.errors import UserError
from trainables.files import replaced

SCHEMES = ("s3", "gs", "file")
# One that does not answer is tried again for so long; then the sweep stops, to be resumed.
PATIENCE_S = 120.0
_TRY_AGAIN_S = 1.0
_PIECE = 4 * 2**20  # bytes
# What trying again does not change, in AWS's words and in errno's.
_FINAL = ("NO_SUCH_BUCKET", "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT")

T = TypeVar("T")


def is_url(where: object) -> bool:
    """Whether a place is meant that is no folder of a file system."""
    return isinstance(where, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", where) is not None


def joined(url: str, name: str) -> str:
    """The URL of what is called `name` under a URL, whose options (`?region=…`) stay."""
    base, mark, options = url.partition("?")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


class StorageError(UserError, OSError):
    """Object storage failed, or has no such file: one line for the user, and as a full disk for whoever saves there."""


class Bucket:
    """A prefix on object storage. Its calls raise StorageError when it fails for `PATIENCE_S`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        scheme = parts.scheme
        if parts.username is not None or parts.password is not None:
            raise UserError(
                "a URL with credentials",
                where=f"{scheme}://…",
                hint="give those in the environment (AWS_ACCESS_KEY_ID …)",
            )
        if scheme not in SCHEMES:
            raise UserError(
                "no such object storage", where=url, got=f"{scheme}://", expected=", ".join(f"{s}://…" for s in SCHEMES)
            )
        self.url = url

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
        _tried(copy, joined(self.url, name))

    def write(self, name: str, content: bytes) -> None:
        """Puts these bytes there, in one call that no signal cuts in two: what is there is whole."""
        key = self._key(name)
        beside = f"{key}.tmp" if self._local else key  # object storage shows only what is whole by itself

        def write() -> None:
            if self._local:
                self._fs.create_dir(str(Path(key).parent))
            with self._fs.open_output_stream(beside) as stream:
                stream.write(content)
            if self._local:
                self._fs.move(beside, key)

        _tried(write, joined(self.url, name))

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None where there is none."""

        def read() -> bytes | None:
            try:
                with self._fs.open_input_stream(self._key(name)) as stream:
                    return stream.read()
            except FileNotFoundError:
                return None

        return _tried(read, joined(self.url, name))

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
        """Asks once, without patience. UserError where the storage cannot be used."""
        from pyarrow.fs import FileType

        try:
            bucket = self._prefix if self._local else self._prefix.split("/")[0]
            if self._fs.get_file_info(bucket).type == FileType.NotFound and not self._local:
                raise UserError("there is no such bucket, or not for you", where=self.url, got=bucket)
        except OSError as error:
            raise UserError(
                f"the object storage cannot be used ({trouble(error)})",
                where=self.url,
                hint="are its credentials and endpoint in the environment?",
            ) from error

    def has(self, name: str) -> bool:
        return _tried(lambda: self._fs.get_file_info(self._key(name)), joined(self.url, name)).is_file

    def age_s(self, name: str) -> float | None:
        """Seconds since a file was written, by the storage's clock and this machine's; None where there is none."""
        info = _tried(lambda: self._fs.get_file_info(self._key(name)), joined(self.url, name))
        return time.time() - info.mtime_ns / 1e9 if info.is_file and info.mtime_ns else None

    def files(self, folder: str) -> list[str]:
        return [info.base_name for info in _tried(lambda: self._list(folder), joined(self.url, folder)) if info.is_file]

    def folders(self, folder: str) -> list[str]:
        from pyarrow.fs import FileType

        found = _tried(lambda: self._list(folder), joined(self.url, folder))
        return [info.base_name for info in found if info.type == FileType.Directory]

    def remove(self, name: str) -> None:
        def remove() -> None:
            with suppress(FileNotFoundError):
                self._fs.delete_file(self._key(name))

        _tried(remove, joined(self.url, name))

    def remove_folder(self, folder: str) -> None:
        def remove() -> None:
            with suppress(FileNotFoundError):
                self._fs.delete_dir(self._key(folder))

        _tried(remove, joined(self.url, folder))

    def _list(self, folder: str) -> list[Any]:
        from pyarrow.fs import FileSelector

        key = self._key(folder) if folder else self._prefix
        return self._fs.get_file_info(FileSelector(key, allow_not_found=True))

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @property
    def _fs(self) -> Any:
        return self._opened[0]

    @property
    def _prefix(self) -> str:
        return self._opened[1]

    @property
    def _local(self) -> bool:
        return self._fs.type_name == "local"

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and where in it the prefix is. Loads pyarrow, which few sweeps need."""
        from pyarrow import ArrowException
        from pyarrow.fs import FileSystem

        try:
            system, prefix = FileSystem.from_uri(self.url)
        except (ArrowException, OSError) as error:
            raise UserError(f"the object storage cannot be used ({trouble(error)})", where=self.url) from error
        if not prefix.strip("/"):
            raise UserError("no bucket is named", where=self.url, expected="such as s3://bucket/sweeps")
        return system, prefix.rstrip("/")


def trouble(error: BaseException) -> str:
    """What object storage complains of, without the request's number, in one line."""
    text = " ".join(str(error).split())
    found = re.search(r"AWS Error (?P<kind>\w+) during \w+ operation: (?P<said>.*)", text)
    said = found["said"] or found["kind"] if found else text
    said = re.sub(r" ?\(Request ID: [^)]*\)|curlCode: \d+, |Detail: .*", "", said.split("; Details: ")[-1])
    return said.strip().rstrip(".")[:300] or type(error).__name__


def _tried(act: Callable[[], T], where: str) -> T:
    """What `act` returns, tried again while the storage does not answer. StorageError where that lasts."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except FileNotFoundError as error:
            raise StorageError("no such file there", where=where) from error
        except OSError as error:
            if time.monotonic() >= until or any(word in str(error) for word in _FINAL):
                raise StorageError("the object storage fails", where=where, got=trouble(error)) from error
            time.sleep(_TRY_AGAIN_S)
