"""Every optimiser and schedule: learns, resumes bit-equal, and is torch's own."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn, optim
from torch.optim import lr_scheduler

from trainables.arithmetic import Arithmetic, Preparation
from trainables.checkpoint import Snapshot
from trainables.errors import UserError
from trainables.settings import Optimizer, Schedule, TrialSettings
from trainables.training.checks import milestones_of
from trainables.training.loop import Learning, train
from trainables.training.losses import build_loss
from trainables.training.metrics import RunningMetrics
from trainables.training.mixing import Mixing
from trainables.training.optimizers import OPTIMIZERS, build_optimizer, load_optimizer_state
from trainables.training.schedules import SCHEDULES, steps_of
from trainables.training.schedules import Schedule as Rates
from tuning.crosschecks import _ONLY_WITH

CPU = torch.device("cpu")
DENSE = tuple(name for name in get_args(Optimizer) if name != "sparse_adam")
# Rates at which three steps on the toy are seen; the rest of an optimiser's settings are its defaults.
LRS = {"adadelta": 1.0, "adagrad": 0.1, "asgd": 0.3, "sgd": 0.3, "rprop": 0.05, "lbfgs": 0.5}
EPOCHS = 3


def toy_pictures() -> tuple[Tensor, Tensor]:
    """Twelve pictures uint8 [12, 1, 4, 4] of three classes that differ in which row is bright."""
    labels = torch.arange(12) % 3
    pictures = torch.randint(0, 60, (12, 1, 4, 4), generator=torch.Generator().manual_seed(1))
    pictures[torch.arange(12), 0, labels] += 150
    return pictures.to(torch.uint8), labels


class Toy:
    """A tiny convolutional network, in channels_last as the real ones are, with all that trains it."""

    def __init__(self, settings: TrialSettings) -> None:
        torch.manual_seed(0)
        self.pictures, self.labels = toy_pictures()
        self.network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3))
        if settings.optimizer != "lbfgs":
            self.network.to(memory_format=torch.channels_last)
        groups = [
            {"params": list(self.network[0].parameters()), "lr": settings.lr, "weight_decay": settings.weight_decay},
            {"params": list(self.network[3].parameters()), "lr": 2 * settings.lr, "weight_decay": 0.0},
        ]
        optimizer = build_optimizer(groups, settings)
        self.settings = settings
        self.learning = Learning(
            loss=build_loss(settings, task="classification", classes=3, targets=self.labels),
            optimizer=optimizer,
            schedule=Rates(optimizer, settings, steps=steps_of(12, settings)),
            mixing=Mixing(settings),
            clip_grad_norm=settings.clip_grad_norm,
        )
        self.arithmetic = Arithmetic.of(CPU, None)

    def epoch(self, epoch: int) -> float:
        """One pass; the mean loss during it."""
        size = self.settings.batch_size
        loss = train(
            self.network,
            zip(self.pictures.split(size), self.labels.split(size), strict=True),
            epoch=epoch,
            learning=self.learning,
            prepare=Preparation(device=CPU, mean=(0.3,), std=(0.3,)),
            arithmetic=self.arithmetic,
            running=RunningMetrics(CPU, settings=self.settings, task="classification"),
        )["loss"]
        self.learning.schedule.end_epoch(epoch=epoch, val_loss=loss)
        return loss

    def snapshot(self, epoch: int) -> Snapshot:
        training = {
            "optimizer": self.learning.optimizer.state_dict(),
            "schedule": self.learning.schedule.state_dict(),
        }
        return Snapshot(epoch, self.settings, self.network.state_dict(), training)

    def resume(self, snapshot: Snapshot) -> None:
        self.network.load_state_dict(snapshot.model)
        load_optimizer_state(self.learning.optimizer, snapshot.training["optimizer"])
        self.learning.schedule.load_state_dict(snapshot.training["schedule"])


def settings_of(**changes: Any) -> TrialSettings:
    """Three batches an epoch, at a rate that suits the optimiser."""
    optimizer = changes.get("optimizer", "sgd")
    return TrialSettings(**{"lr": LRS.get(optimizer, 0.03), "batch_size": 4, "epochs": EPOCHS, **changes})


def check_learns_and_resumes(settings: TrialSettings, path: Path) -> None:
    """Trains, saved after the first epoch; then goes on from the file. Each epoch takes three steps."""
    whole = Toy(settings)
    losses = [whole.epoch(1)]
    whole.snapshot(1).save(path)
    losses += [whole.epoch(epoch) for epoch in range(2, EPOCHS + 1)]
    assert losses[-1] < losses[0]
    torch.randn(7)  # whatever the global generator did in between is of no account
    resumed = Toy(settings)
    resumed.resume(Snapshot.load(path))
    assert [resumed.epoch(epoch) for epoch in range(2, EPOCHS + 1)] == losses[1:]
    for ours, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    "changes",
    [
        *({"optimizer": name} for name in DENSE),
        {"optimizer": "sgd", "momentum": 0.5, "dampening": 0.3},
        {"optimizer": "sgd", "nesterov": True},
        {"optimizer": "asgd", "alpha": 0.5, "lambd": 0.01},
        {"optimizer": "adadelta", "rho": 0.5, "eps": 1e-3},
        {"optimizer": "adagrad", "lr_decay": 0.1, "initial_accumulator_value": 0.1},
        {"optimizer": "adam", "beta1": 0.5, "beta2": 0.9, "amsgrad": True},
        {"optimizer": "adam", "weight_decay": 0.1, "decoupled_weight_decay": True},
        {"optimizer": "adamw", "weight_decay": 0.1, "eps": 1e-3},
        {"optimizer": "nadam", "momentum_decay": 0.1},
        {"optimizer": "rmsprop", "alpha": 0.5, "centered": True},
        {"optimizer": "rprop", "eta_minus": 0.3, "eta_plus": 1.5},
        {"optimizer": "lbfgs", "line_search": "strong_wolfe", "max_iter": 5, "history_size": 3},
        {"optimizer": "sgd", "clip_grad_norm": 0.5},
        {"optimizer": "adam", "mixup": 0.4},
        {"optimizer": "adam", "mixup": 0.4, "cutmix": 1.0},
        {"optimizer": "lbfgs", "mixup": 0.4, "batch_size": 12, "max_iter": 5},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items()),
)
def test_every_optimizer_learns_and_resumes(changes: dict, tmp_path: Path) -> None:
    check_learns_and_resumes(settings_of(schedule="constant", **changes), tmp_path / "1.safetensors")


@pytest.mark.parametrize("warmup", [0, 1])
@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_every_schedule_learns_and_resumes(schedule: str, warmup: int, tmp_path: Path) -> None:
    settings = settings_of(schedule=schedule, warmup_epochs=warmup, step_size=1, milestones="1, 2", gamma=0.5)
    check_learns_and_resumes(settings, tmp_path / "1.safetensors")


def _parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(3)
    return [nn.Parameter(torch.randn(*shape, generator=generator, dtype=dtype)) for shape in ((3, 4), (5,))]


# torch's own, with settings that are none of its defaults.
_TORCHS: dict[str, tuple[dict[str, Any], Callable[[list[nn.Parameter]], optim.Optimizer]]] = {
    "sgd": (
        {"momentum": 0.7, "dampening": 0.2, "weight_decay": 0.01},
        lambda p: optim.SGD(p, lr=0.02, momentum=0.7, dampening=0.2, weight_decay=0.01),
    ),
    "asgd": (
        {"lambd": 0.1, "alpha": 0.6, "weight_decay": 0.01},
        lambda p: optim.ASGD(p, lr=0.02, lambd=0.1, alpha=0.6, weight_decay=0.01),
    ),
    "adadelta": (
        {"rho": 0.8, "eps": 1e-4, "weight_decay": 0.01},
        lambda p: optim.Adadelta(p, lr=0.02, rho=0.8, eps=1e-4, weight_decay=0.01),
    ),
    "adagrad": (
        {"lr_decay": 0.1, "initial_accumulator_value": 0.2, "weight_decay": 0.01},
        lambda p: optim.Adagrad(p, lr=0.02, lr_decay=0.1, initial_accumulator_value=0.2, weight_decay=0.01),
    ),
    "adam": (
        {"beta1": 0.8, "beta2": 0.95, "amsgrad": True, "weight_decay": 0.01},
        lambda p: optim.Adam(p, lr=0.02, betas=(0.8, 0.95), amsgrad=True, weight_decay=0.01),
    ),
    "adamw": (
        {"beta1": 0.8, "eps": 1e-4, "weight_decay": 0.01},
        lambda p: optim.AdamW(p, lr=0.02, betas=(0.8, 0.999), eps=1e-4, weight_decay=0.01),
    ),
    "adamax": ({"beta2": 0.9}, lambda p: optim.Adamax(p, lr=0.02, betas=(0.9, 0.9))),
    "nadam": (
        {"momentum_decay": 0.1, "decoupled_weight_decay": True, "weight_decay": 0.01},
        lambda p: optim.NAdam(p, lr=0.02, momentum_decay=0.1, decoupled_weight_decay=True, weight_decay=0.01),
    ),
    "radam": ({"beta2": 0.9}, lambda p: optim.RAdam(p, lr=0.02, betas=(0.9, 0.9))),
    "rmsprop": (
        {"alpha": 0.8, "momentum": 0.5, "centered": True},
        lambda p: optim.RMSprop(p, lr=0.02, alpha=0.8, momentum=0.5, centered=True),
    ),
    "rprop": ({"eta_minus": 0.4, "eta_plus": 1.3}, lambda p: optim.Rprop(p, lr=0.02, etas=(0.4, 1.3))),
    "lbfgs": (
        {"max_iter": 4, "history_size": 3, "line_search": "strong_wolfe"},
        lambda p: optim.LBFGS(p, lr=0.02, max_iter=4, history_size=3, line_search_fn="strong_wolfe"),
    ),
    "sparse_adam": ({"beta1": 0.8}, lambda p: optim.SparseAdam(p, lr=0.02, betas=(0.8, 0.999))),
}


def _steps(parameters: list[nn.Parameter], optimizer: optim.Optimizer, *, sparse: bool) -> list[Tensor]:
    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((p - 1).pow(2).mul(torch.arange(p.numel()).view_as(p) + 1).sum() for p in parameters)
        loss.backward()
        if sparse:
            for parameter in parameters:
                parameter.grad = parameter.grad.to_sparse()
        return loss

    for _ in range(3):
        optimizer.step(closure)
    return [parameter.detach() for parameter in parameters]


def test_there_is_a_reference_for_every_optimizer() -> None:
    assert tuple(_TORCHS) == tuple(OPTIMIZERS)


@pytest.mark.parametrize("name", _TORCHS)
def test_an_optimizer_is_torchs_own(name: str) -> None:
    changes, torchs = _TORCHS[name]
    ours, theirs = _parameters(), _parameters()
    settings = TrialSettings(**{"momentum": 0.0, "lr": 0.02, **changes}, optimizer=name)  # type: ignore[arg-type]
    optimizer = build_optimizer([{"params": ours, "lr": settings.lr, "weight_decay": settings.weight_decay}], settings)
    sparse = name == "sparse_adam"
    for mine, his in zip(
        _steps(ours, optimizer, sparse=sparse), _steps(theirs, torchs(theirs), sparse=sparse), strict=True
    ):
        torch.testing.assert_close(mine, his, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", DENSE)
def test_the_defaults_are_torchs_where_the_issue_is_not_ours(name: str) -> None:
    """A setting nobody touched does what torch's documentation says, `lr`, momentum and memory of lbfgs apart."""
    torchs = {type_.__name__.lower(): type_ for type_ in vars(optim).values() if isinstance(type_, type)}[name]
    reference = torchs(_parameters()).defaults
    settings = TrialSettings(optimizer=name)  # type: ignore[arg-type]
    parameter = nn.Parameter(torch.zeros(2))
    ours = build_optimizer([{"params": [parameter], "lr": settings.lr, "weight_decay": 0.0}], settings).defaults
    free = {"lr", "momentum", "fused", "weight_decay", "history_size"}
    assert {k: v for k, v in ours.items() if k not in free} == {k: v for k, v in reference.items() if k not in free}


@pytest.mark.parametrize("name", ["adagrad", "lbfgs"])
@pytest.mark.parametrize("freeze_epochs", [0, 2])
def test_what_stays_frozen_has_no_state(name: str, freeze_epochs: int) -> None:
    frozen, free = nn.Parameter(torch.zeros(1000), requires_grad=False), nn.Parameter(torch.zeros(3))
    settings = TrialSettings(optimizer=name, freeze_epochs=freeze_epochs)  # type: ignore[arg-type]
    optimizer = build_optimizer(
        [{"params": [part], "lr": 0.1, "weight_decay": 0.0} for part in (frozen, free)], settings
    )
    there = {id(part) for group in optimizer.param_groups for part in group["params"]}
    assert (id(frozen) in there) == bool(freeze_epochs)
    assert id(free) in there


# Another value of each setting than its default.
_OTHERS = {
    "amsgrad": True,
    "centered": True,
    "decoupled_weight_decay": True,
    "nesterov": True,
    "line_search": "strong_wolfe",
    "history_size": 3,
    "max_iter": 3,
    "eta_plus": 1.7,
}


# Not the optimiser's own, but of the parameter groups, of the loop or of the schedule.
_NOT_ITS_OWN = ("head_lr_factor", "layer_decay", "clip_grad_norm", "schedule", "warmup_epochs")
_OWN = [name for name, (parent, _) in _ONLY_WITH.items() if parent == "optimizer" and name not in _NOT_ITS_OWN]


@pytest.mark.parametrize("setting", _OWN)
def test_a_setting_is_used_by_those_optimizers_that_advice_says(setting: str) -> None:
    for name in DENSE:
        plain = TrialSettings(optimizer=name)  # type: ignore[arg-type]
        changed = dataclasses.replace(plain, **{setting: _OTHERS.get(setting, 0.3)})
        built = [
            build_optimizer([{"params": [nn.Parameter(torch.zeros(2))], "lr": 0.1}], settings).defaults
            for settings in (plain, changed)
        ]
        assert (built[0] != built[1]) == (name in _ONLY_WITH[setting][1]), name


# schedules

EPOCHS_OF_RATES, STEPS = 12, 5


def rates(settings: TrialSettings, *, losses: list[float] | None = None) -> list[list[float]]:
    """The rates of the second of two groups, which starts at twice the rate, by epoch and step."""
    parameters = _parameters()
    optimizer = optim.SGD(
        [{"params": [parameters[0]]}, {"params": [parameters[1]], "lr": 2 * settings.lr}], lr=settings.lr
    )
    schedule = Rates(optimizer, settings, steps=STEPS)
    told = []
    for epoch in range(1, settings.epochs + 1):
        told.append([])
        for step in range(STEPS):
            schedule.set(epoch=epoch, step=step)
            assert optimizer.param_groups[1]["lr"] == pytest.approx(2 * schedule.lr)
            told[-1].append(schedule.lr)
        schedule.end_epoch(epoch=epoch, val_loss=losses[epoch - 1] if losses else 1.0)
    return told


def torchs_rates(
    build: Callable[[optim.Optimizer], lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau],
    *,
    lr: float,
    each_step: bool = False,
    losses: list[float] | None = None,
) -> list[list[float]]:
    optimizer = optim.SGD(_parameters(), lr=lr)
    scheduler = build(optimizer)
    told = []
    for epoch in range(EPOCHS_OF_RATES):
        told.append([])
        for step in range(STEPS):
            told[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if each_step and (epoch, step) != (EPOCHS_OF_RATES - 1, STEPS - 1):
                scheduler.step()
        if not each_step:
            scheduler.step(*([losses[epoch]] if losses else []))
    return told


LOSSES_BY_EPOCH = [1.0, 0.9, 0.95, 0.91, 0.92, 0.93, 0.8, 0.79999, 0.81, 0.82, 0.83, 0.84]


@pytest.mark.parametrize(
    ("changes", "build", "how"),
    [
        ({"schedule": "step", "step_size": 3, "gamma": 0.4}, lambda o: lr_scheduler.StepLR(o, 3, 0.4), {}),
        (
            {"schedule": "multistep", "milestones": "2, 3 7", "gamma": 0.4},
            lambda o: lr_scheduler.MultiStepLR(o, [2, 3, 7], 0.4),
            {},
        ),
        ({"schedule": "exponential", "gamma": 0.8}, lambda o: lr_scheduler.ExponentialLR(o, 0.8), {}),
        ({"schedule": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS_OF_RATES), {}),
        (
            {"schedule": "cosine", "min_lr_factor": 0.1},
            lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS_OF_RATES, eta_min=0.005),
            {},
        ),
        (
            {"schedule": "one_cycle"},
            lambda o: lr_scheduler.OneCycleLR(o, 0.05, EPOCHS_OF_RATES * STEPS, cycle_momentum=False),
            {"each_step": True},
        ),
        (
            {"schedule": "one_cycle", "pct_start": 0.5, "div_factor": 4.0, "final_div_factor": 100.0},
            lambda o: lr_scheduler.OneCycleLR(
                o,
                0.05,
                EPOCHS_OF_RATES * STEPS,
                pct_start=0.5,
                div_factor=4,
                final_div_factor=100,
                cycle_momentum=False,
            ),
            {"each_step": True},
        ),
        (
            {"schedule": "plateau", "patience": 1, "gamma": 0.5, "min_lr_factor": 0.2},
            lambda o: lr_scheduler.ReduceLROnPlateau(o, factor=0.5, patience=1, min_lr=0.01),
            {"losses": LOSSES_BY_EPOCH},
        ),
        ({"schedule": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1.0), {}),
    ],
    ids=lambda part: " ".join(f"{k}={v}" for k, v in part.items()) if isinstance(part, dict) else "",
)
def test_a_schedule_is_torchs_own(changes: dict, build: Callable, how: dict) -> None:
    settings = TrialSettings(lr=0.05, epochs=EPOCHS_OF_RATES, **changes)
    ours = rates(settings, losses=how.get("losses"))
    for mine, theirs in zip(ours, torchs_rates(build, lr=0.05, **how), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-6)
    if "losses" in how:
        assert len({round(rate, 9) for epoch in ours for rate in epoch}) == 4  # it fell until it could not


@pytest.mark.parametrize("below", [0.0, 10.0])
def test_a_plateau_of_losses_below_zero_is_one_too(below: float) -> None:
    """As poisson_nll has them, which torch's own takes for improvements when they get a little worse."""
    losses = [1.0 - below, *(1.0 - below + 0.0001 * epoch for epoch in range(1, 8))]
    settings = TrialSettings(schedule="plateau", patience=2, gamma=0.5, lr=0.1, epochs=8)
    assert [epoch[0] for epoch in rates(settings, losses=losses)] == [0.1] * 4 + [0.05] * 3 + [0.025]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_warm_up_rises_by_equal_parts_and_then_the_schedule_begins(name: str) -> None:
    base = TrialSettings(schedule=name, lr=0.3, epochs=6, step_size=2, milestones=1, pct_start=0.5)  # type: ignore[arg-type]
    warm = rates(dataclasses.replace(base, epochs=8, warmup_epochs=2))
    alone = rates(base)
    assert warm[2:] == alone
    rising = [rate for epoch in warm[:2] for rate in epoch]
    assert rising == pytest.approx([alone[0][0] * (k + 1) / 10 for k in range(10)])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup_epochs", [0, 2])
def test_the_rate_of_rprop_stays(name: str, warmup_epochs: int) -> None:
    """It is read with the first gradient alone, and would else be that of the warm-up's first step for ever."""
    how = {"schedule": name, "warmup_epochs": warmup_epochs, "step_size": 1, "milestones": 1, "patience": 0}
    settings = TrialSettings(optimizer="rprop", lr=0.3, epochs=6, **how)  # type: ignore[arg-type]
    assert rates(settings) == [[0.3] * STEPS] * 6


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_schedule_bears_the_shortest_trials(name: str, epochs: int) -> None:
    for warmup_epochs in (0, 1, 3):
        settings = TrialSettings(schedule=name, epochs=epochs, warmup_epochs=warmup_epochs, lr=0.1)  # type: ignore[arg-type]
        assert all(0 < rate <= 0.1 for epoch in rates(settings) for rate in epoch)


@pytest.mark.parametrize("setting", [name for name, (parent, _) in _ONLY_WITH.items() if parent == "schedule"])
def test_a_setting_is_used_by_those_schedules_that_advice_says(setting: str) -> None:
    others = {"milestones": 2, "step_size": 3, "patience": 0, "div_factor": 5.0, "final_div_factor": 5.0}
    for name in SCHEDULES:
        plain = TrialSettings(schedule=name, epochs=EPOCHS_OF_RATES, gamma=0.2)  # type: ignore[arg-type]
        changed = dataclasses.replace(plain, **{setting: others.get(setting, 0.5)})
        assert (rates(plain) != rates(changed)) == (name in _ONLY_WITH[setting][1]), name


@pytest.mark.parametrize(("value", "milestones"), [(4, (4,)), ("4", (4,)), ("4, 6", (4, 6)), ("1 2,30", (1, 2, 30))])
def test_milestones(value: str | int, milestones: tuple[int, ...]) -> None:
    assert milestones_of(TrialSettings(milestones=value)) == milestones


@pytest.mark.parametrize("value", ["", ",", "0", "-1", "2, 1", "2, 2", "1.5", "two", "²"])
def test_no_milestones(value: str) -> None:
    with pytest.raises(UserError, match="milestones: not a list of epochs"):
        milestones_of(TrialSettings(milestones=value))


@pytest.mark.parametrize(
    ("pictures", "drop_last", "steps"), [(12, False, 3), (13, False, 4), (13, True, 3), (3, True, 1)]
)
def test_steps_of_an_epoch(pictures: int, drop_last: bool, steps: int) -> None:
    assert steps_of(pictures, TrialSettings(batch_size=4, drop_last=drop_last)) == steps


@pytest.mark.parametrize("name", [name for name in DENSE if name != "lbfgs"])
@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_losses_that_are_scaled_as_for_fp16_train_the_same(name: str, limit: float) -> None:
    """To the bit, as all scales are powers of two; clipped or not, in a scale that grows, and through a snapshot."""
    settings = settings_of(optimizer=name, clip_grad_norm=limit)
    plain, scaled = Toy(settings), Toy(settings)
    scaled.arithmetic = Arithmetic(CPU, None, torch.amp.GradScaler("cpu", growth_interval=2))
    for epoch in range(1, EPOCHS + 1):
        assert scaled.epoch(epoch) == plain.epoch(epoch)
        scale, snapshot = scaled.arithmetic.scaler.state_dict(), scaled.snapshot(epoch)
        scaled = Toy(settings)
        scaled.resume(snapshot)
        scaled.arithmetic = Arithmetic(CPU, None, torch.amp.GradScaler("cpu"))
        scaled.arithmetic.scaler.load_state_dict(scale)
    assert scale["scale"] == 2.0**20
    for ours, theirs in zip(scaled.network.parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_clipping_limits_a_step() -> None:
    """Plain SGD moves by lr · gradient, whose length clipping limits."""
    for limit, moved in ((0.01, 0.3 * 0.01), (0.0, None)):
        toy = Toy(settings_of(momentum=0.0, clip_grad_norm=limit, schedule="constant", batch_size=12))
        toy.learning.optimizer.param_groups[1]["lr"] = 0.3
        toy.learning.schedule._starts[1] = 0.3
        before = [p.detach().clone() for p in toy.network.parameters()]
        toy.epoch(1)
        length = sum((p - b).square().sum() for p, b in zip(toy.network.parameters(), before, strict=True)).sqrt()
        assert length.item() == pytest.approx(moved, rel=1e-3) if moved else length > 0.1
