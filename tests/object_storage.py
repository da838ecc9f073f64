"""Object storage of one's own on this machine, behind a door that can be shut: moto's S3, and an emulator of Google's.

with s3(Path("moto.log")) as storage:
    storage.url                     # "s3://sweeps/of-a-test"
    storage.environment             # what a program needs to get there
    with storage.away(): ...        # connections are refused, and open ones end
"""

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ray_cluster import free_port

BUCKET = "sweeps"


SECRET = "secret-of-the-storage"


class Storage:
    """A prefix of its own in a bucket: `url`, and `url_of` what is in it; what a program needs in its environment."""

    def __init__(self, server_port: int, *, scheme: str) -> None:
        self._door = _Door(server_port)
        self._prefix = secrets.token_hex(4)
        self._scheme = scheme
        self.environment: dict[str, str] = {}
        if scheme == "s3":
            self.environment = {
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._door.port}",
                "AWS_EC2_METADATA_DISABLED": "true",
            }

    @property
    def url(self) -> str:
        return self.url_of()

    def url_of(self, name: str = "") -> str:
        path = f"{self._prefix}/{name}" if name else self._prefix
        if self._scheme == "s3":
            return f"s3://{BUCKET}/{path}"
        return f"gs://anonymous@{BUCKET}/{path}?scheme=http&endpoint_override=127.0.0.1:{self._door.port}"

    @contextmanager
    def away(self) -> Iterator[None]:
        """While the block lasts, nobody gets there."""
        self._door.shut()
        try:
            yield
        finally:
            self._door.open()

    def close(self) -> None:
        self._door.shut()


@contextmanager
def s3(log: Path) -> Iterator[Storage]:
    """Moto's server, with an empty bucket; what it says goes to `log`."""
    port = free_port()
    with _server(["-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], port, log=log, scheme="s3") as storage:
        _make_bucket(port, storage)
        yield storage


@contextmanager
def google(log: Path) -> Iterator[Storage]:
    """The emulator of Google's, with an empty bucket; what it says goes to `log`."""
    port = free_port()
    words = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", f"--default-bucket={BUCKET}"]
    with _server(["-m", "gcp_storage_emulator", *words], port, log=log, scheme="gs") as storage:
        yield storage


@contextmanager
def _server(words: list[str], port: int, *, log: Path, scheme: str) -> Iterator[Storage]:
    with log.open("wb") as said:
        server = subprocess.Popen([sys.executable, *words], stdout=said, stderr=said)
    storage = None
    try:
        _wait_for(port)
        storage = Storage(port, scheme=scheme)
        yield storage
    finally:
        if storage:
            storage.close()
        server.terminate()
        server.wait()


def _make_bucket(port: int, storage: Storage) -> None:
    from pyarrow.fs import S3FileSystem

    S3FileSystem(
        access_key=storage.environment["AWS_ACCESS_KEY_ID"],
        secret_key=storage.environment["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        endpoint_override=f"http://127.0.0.1:{port}",
        allow_bucket_creation=True,
    ).create_dir(BUCKET)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)


class _Door:
    """Passes bytes on between a port of its own and the server's."""

    def __init__(self, server_port: int) -> None:
        self._server_port, self.port = server_port, free_port()
        self._listening: socket.socket | None = None
        self._passing: list[socket.socket] = []
        self.open()

    def open(self) -> None:
        listening = socket.create_server(("127.0.0.1", self.port))
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def shut(self) -> None:
        assert self._listening is not None
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._listening.close()
        for side in self._passing:
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
        self._passing = []

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._passing += [client, server]
                for one, other in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(one, other), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while piece := one.recv(65536):
            other.sendall(piece)
    for side in (one, other):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)


if __name__ == "__main__":  # to try commands by hand
    with s3(Path(os.devnull)) as started:
        print(*(f"export {name}={value}" for name, value in started.environment.items()), sep="\n")
        print(f"echo {started.url}", flush=True)
        threading.Event().wait()
