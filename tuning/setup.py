"""Makes a run's folder from a sweep file, and opens one again.

    sweep = create_sweep(spec, text=path.read_text(), name="resnet18", runs=Path("runs"), console=console)
    sweep, spec, store = open_sweep(sweep.folder, console=console)

A run's folder appears whole or not at all: pictures are decoded, weights found and the ledger begun before it gets
its name.
"""

import dataclasses
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from reports.ledger import Ledger
from reports.modelfile import DESCRIPTION, WEIGHTS
from reports.record import RECORD, SCHEMA
from reports.runs import check_new
from reports.starting_weights import weights_here
from reports.storages import note_storage
from reports.sweep import Sweep, database_of
from reports.tables import printable
from trainables.data.cache import cache_folder
from trainables.data.catalog import SPLITS, Catalog
from trainables.data.duplicates import duplicates
from trainables.data.pixels import build_store, picture_digests
from trainables.data.room import room_for_sharing
from trainables.data.sources import DataSettings, read_catalog
from trainables.data.store import PixelStore
from trainables.data.transforms import short_side_for
from trainables.errors import UserError
from trainables.files import expanded, flush_folder, replaced, write_json
from trainables.hardware import describing_hardware
from trainables.models.build import foreseen
from trainables.models.weights import Weights, resolve_weights
from trainables.training.compiling import check_compiler
from trainables.wording import counted, few
from tuning.crosschecks import advice
from tuning.space import combinations
from tuning.spec import Spec
from tuning.target_checks import check_targets, uneven_targets
from tuning.versions import current_versions

if TYPE_CHECKING:
    from reports.database import Database


def create_sweep(spec: Spec, *, text: str, name: str, runs: Path, console: Console) -> Sweep:
    """A new run's folder: the sweep file as given, the resolved record, and an empty ledger.

    Raises:
        UserError: the name is taken; the pictures or weights cannot be used; the folder cannot be written.
    """
    check_new(name, runs=runs)
    run = runs / name
    with describing_hardware() as hardware:
        record = _record(spec, text=text, name=name, hardware=hardware, console=console)
    unnamed = runs / f".{name}.{os.getpid()}.new"
    try:
        unnamed.mkdir(parents=True)
        _keep_exported(record["weights"], spec.base, unnamed, named=run)
        with replaced(unnamed / "sweep.yaml") as file:
            file.write_text(text, encoding="utf-8")
        write_json(unnamed / RECORD, record)
        with _database(spec, record) as database:
            ledger = Ledger.create(unnamed, metric=spec.search.metric, mode=spec.search.mode, database=database)
            for point in spec.search.first or []:
                ledger.study.enqueue_trial(point)
            unnamed.rename(run)
        flush_folder(runs)
    except OSError as error:
        check_new(name, runs=runs)  # another search may have taken the name meanwhile
        raise UserError(f"the run's folder cannot be made ({error.strerror})", where=str(run)) from error
    finally:
        shutil.rmtree(unnamed, ignore_errors=True)
    return Sweep.open(run)


def _record(
    spec: Spec, *, text: str, name: str, hardware: Callable[[], dict[str, Any]], console: Console
) -> dict[str, Any]:
    """All that a sweep is of: the file as given, what it stands for, and what it was found to be about. Errors as
    `create_sweep`. `hardware` is asked for when the pictures and weights are there, since it may have to wait."""
    began = time.monotonic()
    catalog, store = open_pictures(spec.data, spec.base, short_side=short_side(spec), console=console)
    digests = picture_digests(catalog, cache=cache_folder())
    found = [*duplicates(catalog, digests, skipped=store.skipped), *uneven_targets(spec, store)]
    doubts = [printable(line) for line in found]
    warnings = [f"warning: {line}" for line in (*left_out(store), *doubts)]
    for line in (*map(printable, catalog.notes), *warnings):
        console.print(line, style="yellow", highlight=False, markup=False, soft_wrap=True)
    reading_s = time.monotonic() - began
    check_targets(spec, store)
    _check_compiler(spec)
    weights = _find_weights(spec, classes=store.classes, console=console)
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "file": text,
        "spec": spec.to_json(),
        "base": str(spec.base.resolve()),
        "task": store.task,
        "classes": list(store.classes),
        "channels": store.channels,
        "data": {
            "fingerprint": store.fingerprint,
            "short_side": store.short_side,
            "counts": store.counts(),
            "pictures": {split: len(store.indices(split)) for split in SPLITS},
            "normalization": {"mean": store.mean, "std": store.std},
            "skipped": store.skipped,
            "reading_s": round(reading_s, 3),
        },
        "weights": weights,
        "notes": [*catalog.notes, *doubts, *advice(spec)],
        "study": f"{name}-{secrets.token_hex(4)}",
        "sharing_bytes": room_for_sharing(cache_folder()),
        "initialisation": _tell_initialisations(spec, weights, classes=store.classes, told=(), console=console),
        "versions": current_versions(),
        "hardware": hardware(),
        "git": _git(spec.base),
    }


@contextmanager
def _database(spec: Spec, record: Mapping[str, Any]) -> "Iterator[Database | None]":
    """Where a new ledger is to be, if not in the run's folder. It is gone again when the run cannot be made."""
    if spec.search.storage is None:
        yield None
        return
    note_storage(spec.search.storage)
    database = database_of(spec.search.storage, record["study"])
    try:
        yield database
    except BaseException:
        with suppress(Exception):  # what went wrong before is what counts
            database.delete()
        raise


def open_sweep(run: Path, *, console: Console, spec: Spec | None = None) -> tuple[Sweep, Spec, PixelStore]:
    """A run's record, what it was told to do, and its pictures, which must be the ones it began with.

    Args:
        spec: what it is to do instead, when that has changed since it was recorded.

    Raises:
        UserError: the pictures or the starting weights are no longer what they were.
    """
    sweep = Sweep.open(run)
    spec = spec or Spec.of_record(sweep.record)
    data = sweep.record["data"]
    _, store = open_pictures(spec.data, spec.base, short_side=data["short_side"], console=console)
    if store.fingerprint != data["fingerprint"]:
        raise UserError(
            "the pictures are not those the sweep began with",
            where=str(spec.data.path or spec.data.source),
            got=f"fingerprint {store.fingerprint[:12]}",
            expected=data["fingerprint"][:12],
            hint="put them back, or start a new sweep with --name",
        )
    if short_side(spec) > data["short_side"]:
        raise UserError(
            "the pictures are kept at a smaller size than the wider space wants",
            where="space.image_size",
            got=f"{short_side(spec)} pixels",
            expected=f"at most {data['short_side']} pixels, from when the sweep began",
            hint="start a new sweep with --name for larger pictures",
        )
    check_targets(spec, store)
    _check_compiler(spec)
    for name, by_model in sweep.record["weights"].items():
        for model in by_model:
            weights_here(sweep, {"weights": name, "model": model})
    _add_weights(sweep, spec, console=console)
    return sweep, spec, store


def _add_weights(sweep: Sweep, spec: Spec, *, console: Console) -> None:
    """A wider choice of models, weights or initialisations wants what the record does not have yet."""
    known = sweep.record["weights"]
    wanted = [spec.settings_for(params) for params in combinations(spec.space, {"weights", "model"})]
    classes = sweep.record["classes"]
    if any(settings.model not in known.get(settings.weights, {}) for settings in wanted):
        for name, by_model in _find_weights(spec, classes=classes, console=console).items():
            known[name] = {**by_model, **known.get(name, {})}
        _keep_exported(known, spec.base, sweep.folder, named=sweep.folder)
        write_json(sweep.folder / RECORD, sweep.record)
    told = sweep.record.get("initialisation", [])
    lines = _tell_initialisations(spec, known, classes=classes, told=told, console=console)
    if lines != told:
        sweep.record["initialisation"] = lines
        write_json(sweep.folder / RECORD, sweep.record)


def open_pictures(data: DataSettings, base: Path, *, short_side: int, console: Console) -> tuple[Catalog, PixelStore]:
    """Reads and decodes the pictures, with a bar on a terminal. Errors as `read_catalog` and `build_store`."""
    catalog = read_catalog(data, base=base)
    columns = (TextColumn("reading pictures"), BarColumn(bar_width=30), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=None)
        store = build_store(
            catalog,
            short_side=short_side,
            cache=cache_folder(),
            on_bad_image=data.on_bad_image,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
    return catalog, store


def left_out(store: PixelStore) -> list[str]:
    """A line about the pictures that cannot be read, where there are any, as a terminal may show it."""
    if not store.skipped:
        return []
    listed = few((f"{name}: {reason}" for name, reason in store.skipped), limit=3)
    return [printable(f"{counted(len(store.skipped), 'picture')} that cannot be read, left out ({listed})")]


def short_side(spec: Spec) -> int:
    """Pictures are kept at the largest size that any trial may want, or at a larger one that was asked for."""
    sizes = (spec.settings_for(params) for params in combinations(spec.space, {"image_size", "center_crop"}))
    wanted = (short_side_for(settings.image_size, settings.center_crop) for settings in sizes)
    return max(*wanted, spec.data.keep_px or 0)


def _check_compiler(spec: Spec) -> None:
    if any(spec.settings_for(params).compile for params in combinations(spec.space, {"compile"})):
        check_compiler()


def _find_weights(spec: Spec, *, classes: Sequence[str], console: Console) -> dict[str, dict[str, Any]]:
    """What each `weights` comes to with each model, found once so that all trials and every resume use the same."""
    found: dict[str, dict[str, Any]] = {}
    for params in combinations(spec.space, {"weights", "model"}):
        settings = spec.settings_for(params)
        weights: Weights = resolve_weights(settings.weights, settings.model, base=spec.base, classes=classes)
        loud = weights.note.startswith("RANDOM") or weights.random or weights.unused
        console.print(weights.note, style="yellow" if loud else None, highlight=False, markup=False, soft_wrap=True)
        found.setdefault(settings.weights, {})[settings.model] = dataclasses.asdict(weights)
    return found


def _keep_exported(weights: Mapping[str, dict[str, Any]], base: Path, folder: Path, *, named: Path) -> None:
    """Copies exported models that trials start from: the next export of their sweep replaces their folder.

    The copy is an exported model's folder again, so that its head can be taken by whoever starts from it.

    Args:
        weights: what each setting comes to with each model; the paths in it become those of the copies.
        base: what relative paths in the settings are seen from.
        folder: the run's, where the copies go.
        named: what that folder will be called.
    """
    for name, by_model in weights.items():
        for known in by_model.values():
            if known["kind"] != "file" or not (base / expanded(name)).is_dir():
                continue
            path, copy = Path(known["path"]), f"start-{known['digest'][:12]}"
            if path.name == f"{copy}.safetensors":
                continue  # a copy by a former version
            (folder / copy).mkdir(exist_ok=True)
            for part in (WEIGHTS, DESCRIPTION):
                if not (folder / copy / part).exists():
                    with replaced(folder / copy / part) as file:
                        shutil.copyfile(path.with_name(part), file)
            known["path"] = str((named / copy / WEIGHTS).absolute())


def _tell_initialisations(
    spec: Spec,
    weights: Mapping[str, Mapping[str, Any]],
    *,
    classes: Sequence[str],
    told: Sequence[str],
    console: Console,
) -> list[str]:
    """A line for each way of drawing initial weights from each start: what it draws, and what it cannot.

    All are returned, and those that were not told before are printed.
    """
    lines = []
    for params in combinations(spec.space, {"init", "weights", "model", "loss"}):
        settings = spec.settings_for(params)
        if settings.init == "default":
            continue
        start = Weights(**weights[settings.weights][settings.model]).for_trial(settings.loss, task=spec.data.task)
        report = foreseen(settings, classes=len(classes), weights=start)
        line = f"{settings.model}, weights {settings.weights}, {report.summary()}"
        if line in lines:
            continue
        lines.append(line)
        if line not in told:
            style = "yellow" if report.kept else None
            console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)
    return lines


def _git(folder: Path) -> str | None:
    """The commit the sweep file's folder is at, with `+` when files differ from it; None outside a repository."""

    def ask(*words: str) -> str:
        command = ["git", "-C", str(folder), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + ("+" if ask("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None
