"""Which Ray a sweep runs on, as the command line says it.

check_address("10.0.0.5:6379")         # itself
check_address("local")                 # None: a Ray of our own
use_token()                            # before Ray is loaded to join a cluster
"""

import os
from pathlib import Path

from trainables.errors import UserError


def check_address(address: str) -> str | None:
    """An address as Ray takes it; None for a Ray of our own on this machine.

    Raises:
        UserError: it is no address, or one of Ray Client, which cannot run a sweep.
    """
    if address in ("", "local"):
        return None
    if address.startswith("ray://"):
        raise UserError(
            "a sweep cannot be driven through Ray Client",
            where="--address",
            got=address,
            expected="auto or host:port, on a node of the cluster",
            hint="Ray Tune moves the whole driver to the cluster then, away from the sweep's record; start the sweep on"
            " a node, or hand it over with `tune submit`",
        )
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isdecimal()):
        raise UserError("not an address of a Ray cluster", where="--address", got=address, expected="auto or host:port")
    return address


def use_token() -> None:
    """Since Ray 2.60 `ray start` wants a token of whoever connects; a driver sends the one it has only when told to."""
    kept = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if os.environ.get("RAY_AUTH_TOKEN") or kept.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")
