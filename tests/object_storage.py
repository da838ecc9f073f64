"""An S3 of one's own on this machine: moto's server, behind a door that can be shut.

with s3() as storage:
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


class Storage:
    """A prefix of its own in a bucket."""

    def __init__(self, server_port: int) -> None:
        self._door = _Door(server_port)
        self.url = f"s3://{BUCKET}/{secrets.token_hex(4)}"
        self.environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-storage",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self._door.port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

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
    """A server with an empty bucket; what it says goes to `log`."""
    port = free_port()
    with log.open("wb") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stdout=said, stderr=said
        )
    storage = None
    try:
        _wait_for(port)
        storage = Storage(port)
        _make_bucket(port, storage)
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
            assert time.monotonic() < deadline, "moto's server does not start"
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
