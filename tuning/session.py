"""`tune search` and `tune resume` behind the command line.

    code = start(spec, text=…, name="resnet18", runs=Path("runs"), quiet=False)
    code = go_on(run, Revision(trials=50), quiet=False)

Both return the exit code of the outcome: 0 done, 3 without one finished trial, 130 interrupted. Ray starts while torch
loads and pictures are read, since both take seconds.
"""

import logging
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trainables import outages
from tuning import exit_codes
from tuning.address import use_token
from tuning.ahead import Ahead
from tuning.revise import Revision
from tuning.screen import Screen, screen_apart
from tuning.signals import not_ignored
from tuning.spec import Spec

if TYPE_CHECKING:
    from tuning.cluster import RaySession


def start(spec: Spec, *, text: str, name: str, runs: Path | str, quiet: bool, address: str | None = None) -> int:
    """Makes a new run and works on it; on the Ray cluster at `address`, else on a Ray of its own on this machine."""
    with _place(address, quiet=quiet) as (screen, ray):
        from tuning.driver import begin, check_fit

        check_fit(spec, None if address is None else ray.get())  # or there is a run that nothing can be done with
        run = begin(spec, text=text, name=name, runs=runs, console=screen.told(quiet=quiet))
        return _work(run, Revision(), screen, ray, quiet=quiet)


def go_on(run: Path, revision: Revision, *, quiet: bool, address: str | None = None) -> int:
    """Works on a run that exists, as it was or with changes."""
    with _place(address, quiet=quiet) as (screen, ray):
        return _work(run, revision, screen, ray, quiet=quiet)


def _work(run: Path, revision: Revision, screen: Screen, ray: "Ahead[RaySession]", *, quiet: bool) -> int:
    try:
        from tuning.driver import work_on

        return work_on(run, revision, screen=screen, ray=ray, quiet=quiet)
    except KeyboardInterrupt:
        from reports.home import address_of

        screen.errors.print(
            f"interrupted; go on with: tune resume {shlex.quote(address_of(run))}", markup=False, soft_wrap=True
        )
        return exit_codes.INTERRUPTED


@contextmanager
def _place(address: str | None, *, quiet: bool) -> Iterator[tuple[Screen, "Ahead[RaySession]"]]:
    """A screen kept from Ray, and a Ray session that begins to start here."""
    if address is not None:
        use_token()
        # torchvision cannot be imported by two threads at once, and here both need it.
        import tuning.joining  # noqa: F401
    with (
        _signals_interrupt(),
        screen_apart() as screen,
        _outages_told(screen, quiet=quiet),
        Ahead(_ray(address)) as ray,
    ):
        if screen.console.is_terminal and not quiet:  # the next line is seconds away
            screen.console.print("starting Ray, loading torch …", style="dim")
        yield screen, ray


@contextmanager
def _ray(address: str | None) -> "Iterator[RaySession]":
    """Loads Ray, in the thread that starts it or joins it."""
    if address is None:
        from tuning.cluster import ray_session

        opened = ray_session()
    else:
        from tuning.joining import joined_cluster

        opened = joined_cluster(address)
    with opened as session:
        yield session


@contextmanager
def _outages_told(screen: Screen, *, quiet: bool) -> Iterator[None]:
    """Shows what `trainables.outages` tells; above the live view, where there is one."""
    console = screen.errors if quiet else screen.console

    class _Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(record.getMessage(), style="yellow", markup=False, highlight=False, soft_wrap=True)

    handler = _Shown()
    outages.log.addHandler(handler)
    try:
        yield
    finally:
        outages.log.removeHandler(handler)


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP interrupt like SIGINT, so that what was begun is cleared away. While trials run, the runner's
    own handlers are in force."""
    found = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    before = {number: handler for number, handler in found.items() if not_ignored(handler)}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
