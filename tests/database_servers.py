"""Private database servers of this machine's own programs, each in a folder that goes with it.

with postgresql() as server:            # or mariadb()
    server.url                          # "postgresql://me@127.0.0.1:…/sweeps"; its password is `PASSWORD`
    server.restart(away_s=5)
"""

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PASSWORD = secrets.token_hex(8)
_NAME = "me"


@dataclass
class Server:
    """A server that runs: its URL, and how it is started."""

    url: str
    port: int
    command: Sequence[str]
    log: Path
    process: subprocess.Popen | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not _listens(self.port):
            assert self.process.poll() is None, self.log.read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def restart(self, *, away_s: float) -> None:
        self.stop()
        time.sleep(away_s)
        self.start()


def postgresql_programs() -> Path | None:
    """The folder of the newest PostgreSQL here."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def postgresql() -> Iterator[Server]:
    programs = postgresql_programs()
    assert programs is not None
    with _folder("postgres") as (folder, run_as):
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        data, port = folder / "data", _free_port()
        make = [programs / "initdb", "-D", data, "-U", _NAME, "--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
        subprocess.run([*run_as, *make], check=True, capture_output=True)
        quick = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
        command = [*run_as, str(programs / "postgres"), "-D", str(data), "-p", str(port), *quick]
        server = Server(f"postgresql://{_NAME}@127.0.0.1:{port}/sweeps", port, command, folder / "log")
        server.start()
        try:
            reach = ["-h", "127.0.0.1", "-p", str(port), "-U", _NAME]
            subprocess.run(
                [programs / "createdb", *reach, "sweeps"], check=True, env={**os.environ, "PGPASSWORD": PASSWORD}
            )
            yield server
        finally:
            server.stop()


@contextmanager
def mariadb() -> Iterator[Server]:
    with _folder("mysql") as (folder, run_as):
        data, port = folder / "data", _free_port()
        data.mkdir()
        if run_as:
            shutil.chown(data, "mysql")
        make = ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"]
        subprocess.run([*run_as, *make], check=True, capture_output=True)
        first = folder / "first.sql"
        first.write_text(
            f"CREATE DATABASE IF NOT EXISTS sweeps;\n"
            f"CREATE OR REPLACE USER '{_NAME}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON sweeps.* TO '{_NAME}'@'127.0.0.1';\n"
        )
        first.chmod(0o644)
        options = [f"--datadir={data}", f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
        options += [f"--init-file={first}", f"--pid-file={folder / 'pid'}", "--skip-name-resolve"]
        command = [*run_as, "mariadbd", "--no-defaults", *options]
        server = Server(f"mysql://{_NAME}@127.0.0.1:{port}/sweeps", port, command, folder / "log")
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def _folder(owner: str) -> Iterator[tuple[Path, list[str]]]:
    """A folder, and the words that run a program as its owner: servers refuse to run as root."""
    root = os.geteuid() == 0
    folder = Path(tempfile.mkdtemp(prefix=f"{owner}-", dir="/tmp"))
    if root:
        shutil.chown(folder, owner)
    folder.chmod(0o755)
    try:
        yield folder, ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--clear-groups"] if root else []
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
