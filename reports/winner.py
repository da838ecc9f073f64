"""A trial's model as it was after its best epoch, made again from the sweep's record and its checkpoint.

    trial = pick_trial(sweep)                          # the best one, or pick_trial(sweep, number=3)
    settings = settings_of(trial)
    model = rebuilt(sweep, trial, settings)            # on the CPU, with the weights of trial.best_epoch

It is built just as the trial built it (settings, seed, starting weights), and what training changed is put over it.
"""

import shlex
from typing import Any

from reports.ledger import TrialRecord
from reports.starting_weights import weights_here
from reports.sweep import Sweep
from trainables.checkpoint import Snapshot
from trainables.errors import TrialError, UserError
from trainables.models.build import Model, build_model
from trainables.models.freezing import trainable_names
from trainables.models.heads import fold_scale
from trainables.models.weights import Weights
from trainables.settings import TrialSettings

_LISTED = 12


def pick_trial(sweep: Sweep, *, number: int | None = None) -> TrialRecord:
    """The best complete trial, or the one of that number.

    Raises:
        UserError: there is no such trial, or it has no finished epoch.
    """
    ledger = sweep.ledger()
    if number is None:
        best = ledger.best()
        if best is None:
            kept = ", ".join(str(number) for number in _kept(sweep)[:_LISTED])
            hint = f"--trial N takes one that has weights: {kept}" if kept else "no trial has weights"
            raise UserError("no trial is complete yet", where=sweep.name, hint=hint)
        return best
    trial = next((trial for trial in ledger.trials() if trial.number == number), None)
    if trial is None:
        raise UserError(
            "no such trial", where=sweep.name, got=number, hint=f"tune show {shlex.quote(sweep.name)} lists them"
        )
    if trial.best_epoch is None:
        raise UserError(f"trial {number} has no finished epoch", where=sweep.name, got=trial.state)
    return trial


def settings_of(trial: TrialRecord) -> TrialSettings:
    """The settings that the trial ran with. UserError when this version does not know them."""
    try:
        return TrialSettings(**trial.settings)
    except TypeError as error:
        raise UserError(
            f"trial {trial.number} has settings that this version does not know ({error})",
            hint="export with the version of tuneyard that ran the sweep",
        ) from error


def rebuilt(sweep: Sweep, trial: TrialRecord, settings: TrialSettings) -> Model:
    """The trial's model with the weights of its best epoch, on the CPU.

    Raises:
        UserError: its checkpoint was not kept or is damaged, or the starting weights are gone or changed.
    """
    snapshot = _snapshot(sweep, trial, settings)
    model = build_model(
        settings,
        classes=len(sweep.record["classes"]),
        channels=sweep.record["channels"],
        weights=Weights(**weights_here(sweep, trial.settings)),
        task=sweep.task,
    )
    head = model.facts.head
    scale, shift = (snapshot.model.pop(f"{head}.{name}", None) for name in ("scale", "shift"))
    _load_changed(model, snapshot.model)
    if scale is not None and shift is not None:
        fold_scale(model.network, model.facts, scale=scale, shift=shift)
    return model


def _snapshot(sweep: Sweep, trial: TrialRecord, settings: TrialSettings) -> Snapshot:
    """The checkpoint of the trial's best epoch, checked against the record."""
    where = f"{sweep.name}, trial {trial.number}"
    checkpoint = trial.checkpoint(trial.best_epoch)
    if checkpoint is None or not sweep.place.has(checkpoint):
        kept = ", ".join(str(number) for number in _kept(sweep)[:_LISTED])
        raise UserError(
            f"the weights of its best epoch, {trial.best_epoch}, are not there any more",
            where=where,
            got=f"a {trial.state} trial",
            expected=f"one of the trials {kept}" if kept else None,
            hint="a sweep keeps the weights of its best complete trials (search.keep)",
        )
    try:
        with sweep.place.reading(checkpoint) as path:
            snapshot = Snapshot.load(path)
    except TrialError as error:
        raise UserError(str(error), where=where) from error
    if snapshot.settings != settings or snapshot.epoch != trial.best_epoch:
        raise UserError("the checkpoint is of another trial or epoch", where=where, got=f"{sweep.address}/{checkpoint}")
    return snapshot


def _kept(sweep: Sweep) -> list[int]:
    """The trials whose best epoch's weights are there."""
    there = set(sweep.place.folders("trials"))
    paths = ((t.number, t.checkpoint(t.best_epoch)) for t in sweep.ledger().trials() if str(t.number) in there)
    return [number for number, path in paths if path is not None and sweep.place.has(path)]


def _load_changed(model: Model, changed: dict[str, Any]) -> None:
    """Puts what training changed over the model as it was built; all that could change must be there."""
    state = model.network.state_dict()
    misfits = [name for name, tensor in changed.items() if name not in state or state[name].shape != tensor.shape]
    missing = sorted(trainable_names(model) - changed.keys())
    if misfits or missing:
        raise UserError(f"the checkpoint does not fit this model ({', '.join((misfits + missing)[:3])})")
    model.network.load_state_dict(changed, strict=False)
