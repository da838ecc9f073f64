"""Somebody's Ray cluster: joined, looked over, and left as it was.

    with joined_cluster("10.0.0.5:6379") as session:
        for line in prepared(session, run): print(line)      # in what its nodes differ from this machine
        offer = Offer({"3fa9…": store_folder})               # files for nodes that do not see them
        offer.name                                           # what a `TrialJob` names

The sweep's code travels to the workers (Ray's runtime environment), so its nodes need the libraries alone. Nothing of
the cluster is started, stopped or changed.
"""

import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import trainables
from reports.record import RECORD
from trainables.errors import UserError
from trainables.node_check import about_node, run_not_seen
from trainables.ray_nodes import Files
from trainables.wording import counted
from tuning.cluster import RaySession, shut_down

# What workers compute with; other versions may round otherwise.
PACKAGES = ("torch", "torchvision", "numpy", "safetensors", "pillow")

_REACH_S = 5.0  # for one attempt at a connection
_PROBE_EVERY_S, _PROBES = 2.0, 3  # a head that does not answer so many times in a row is gone
_LOOK_S = 120.0  # for a node's answer, which loads Python and the code first


@contextmanager
def joined_cluster(address: str) -> Iterator[RaySession]:
    """Connects to a cluster; this machine must be one of its nodes. To be entered and left by one thread.

    Where the cluster wants a token, `address.use_token` has been called before this module was loaded.

    Args:
        address: `host:port` of its head, or `auto` for the one this machine belongs to.

    Raises:
        UserError: it cannot be reached or joined.
    """
    if address != "auto":
        _reach(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    folder = Path(tempfile.mkdtemp(prefix="tuneyard-"))
    try:
        _connect(address)
        yield RaySession(folder, nodes=_nodes, alive=_Probe(ray.get_runtime_context().gcs_address), joined=True)
    finally:
        shut_down()
        shutil.rmtree(folder, ignore_errors=True)


def prepared(session: RaySession, run: str) -> list[str]:
    """Looks over the nodes of a joined cluster: a line for each that differs from this machine.

    Args:
        run: the run's folder, or its URL.

    Raises:
        UserError: one lacks a library, or does not see the run's folder.
    """
    if not session.joined:
        return []
    here = about_node(PACKAGES, run, RECORD)["versions"]
    look = ray.remote(num_cpus=0)(about_node)
    asked = {
        node["NodeID"]: look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(PACKAGES, run, RECORD)
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) > 0
    }
    answered, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=_LOOK_S)
    lines = []
    for about in (ray.get(answer) for answer in answered):
        lines += _differences(about, here)
        if about["blind"]:
            raise run_not_seen(about["node"], run, about["blind"])
    if silent := len(asked) - len(answered):
        lines.append(f"no answer from {counted(silent, 'node')} for {_LOOK_S:.0f} s; trials may not start there")
    return sorted(set(lines))


class Offer:
    """Files of this machine that nodes may ask for; `name` is where.

    Args:
        folders: by the name that they are asked for.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.name = f"tuneyard-files-{secrets.token_hex(4)}"
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # Kept, for an actor goes with its last handle.
        self._files: Any = (
            ray.remote(num_cpus=0)(Files).options(name=self.name, scheduling_strategy=here, max_concurrency=4).remote()
        )
        for name, folder in folders.items():
            self._offer(name, [path for path in folder.iterdir() if path.is_file()])

    def add_weights(self, path: Path, *, digest: str) -> None:
        """A file of weights, and the description beside it, where it is an exported model's."""
        self._offer(digest[:32], [path, *path.parent.glob("model.json")])

    def sent(self) -> dict[str, int]:
        """Bytes sent so far, by node."""
        return ray.get(self._files.sent.remote())

    def _offer(self, name: str, paths: list[Path]) -> None:
        ray.get(self._files.offer.remote(name, [str(path.resolve()) for path in paths]))


def _connect(address: str) -> None:
    try:
        ray.init(
            address=address,
            runtime_env=_environment(),
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"the Ray cluster cannot be joined ({str(error).strip().splitlines()[0]})",
            where="--address",
            got=address,
            hint="this machine must be a node of it (`ray start --address=…`), with the same versions of Ray and"
            " Python; where it wants a token, RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token must have it",
        ) from error


def _environment() -> dict[str, Any] | None:
    """What brings the code to the workers; a job's workers have its folder anyway, with all our code in it."""
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        return None
    return {"py_modules": [str(Path(trainables.__file__).parent)]}


def _reach(address: str) -> None:
    """Ray itself would try for a minute and a half."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_REACH_S).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers ({error.strerror or error})",
            where="--address",
            got=address,
            hint="`ray status` on its head tells whether it runs",
        ) from error


def _nodes() -> list[Mapping[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


class _Probe:
    """Whether the cluster's head answers; asked often, it knocks every two seconds."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = host, int(port)
        self._knocked_at, self._silent = 0.0, 0

    def __call__(self) -> bool:
        if time.monotonic() - self._knocked_at >= _PROBE_EVERY_S:
            self._silent = 0 if self._answers() else self._silent + 1
            self._knocked_at = time.monotonic()
        return self._silent < _PROBES

    def _answers(self) -> bool:
        with suppress(OSError):
            socket.create_connection(self._address, timeout=_PROBE_EVERY_S).close()
            return True
        return False


def _differences(about: Mapping[str, Any], here: Mapping[str, str | None]) -> list[str]:
    lines = []
    for name, there in about["versions"].items():
        if there is None:
            raise UserError(
                f"a node lacks {name}", where=about["node"], hint=f"install it there; this machine has {here[name]}"
            )
        if there != here[name]:
            lines.append(f"{about['node']} has {name} {there}, this machine {here[name]}: last digits may differ there")
    return lines
