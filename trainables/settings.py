"""Every setting of a trial, in one flat, frozen record.

    settings = TrialSettings(model="resnet18", lr=1e-3, freeze="layer3")

A sweep file fixes each of these under `trial:` or explores it under `space:`; what is in neither has the default
given here. The `Doc` of a field is its documentation everywhere: the README's reference is checked against it.
Units stand in the text. Importing this module imports no torch.
"""

import dataclasses
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import Doc

Augment = Literal["none", "flip", "standard", "strong"]
Optimizer = Literal["sgd", "adam", "adamw", "rmsprop"]
Schedule = Literal["step", "exponential", "cosine", "constant"]
Loss = Literal["cross_entropy", "multi_margin"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", types.NoneType: "nothing"}
_SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What one trial does. Values are checked where they come in (`tuning.spec`), not here."""

    model: Annotated[str, Doc("Architecture, by torchvision's name (`resnet18`, `squeezenet1_1`, …).")] = "resnet18"
    weights: Annotated[
        str,
        Doc(
            "Starting weights: `auto` (ImageNet where they can be had, else random), `imagenet`, `none`, or the path"
            " of a state dict (`.pth`, `.safetensors`)."
        ),
    ] = "auto"
    image_size: Annotated[int, Ge(8), Le(2048), Doc("Side of the square picture the network sees, in pixels.")] = 224
    center_crop: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc(
            "Share of the resized picture's shorter side kept by the centre crop of validation (0.875 is 224 of 256;"
            " 1 keeps it whole)."
        ),
    ] = 0.875
    augment: Annotated[
        Augment,
        Doc(
            "Random views for training: `none`, `flip` (mirror), `standard` (random resized crop and mirror),"
            " `strong` (standard and colour jitter)."
        ),
    ] = "standard"
    freeze: Annotated[
        str | int,
        Doc(
            "What is not trained: `none`, `backbone` (all but the head), a stage's name (it and all before it),"
            " or a number of stages."
        ),
    ] = "none"
    freeze_batchnorm: Annotated[
        bool,
        Doc("Frozen BatchNorm layers keep their running statistics; `false` lets them move, as in tutorials."),
    ] = True
    freeze_epochs: Annotated[
        int, Ge(0), Doc("Thaw what `freeze` froze after this many epochs; 0 keeps it frozen to the end.")
    ] = 0
    optimizer: Annotated[Optimizer, Doc("Optimiser, by torch's name in lower case.")] = "sgd"
    lr: Annotated[float, Gt(0), Lt(1000), Doc("Learning rate at the start.")] = 0.001
    head_lr_factor: Annotated[float, Gt(0), Doc("The head learns at `lr` times this.")] = 1.0
    momentum: Annotated[float, Ge(0), Lt(1), Doc("Momentum of `sgd` and `rmsprop`; others ignore it.")] = 0.9
    nesterov: Annotated[bool, Doc("Nesterov momentum, `sgd` only; needs momentum above 0.")] = False
    weight_decay: Annotated[float, Ge(0), Doc("Weight decay (L2; decoupled for `adamw`).")] = 0.0
    schedule: Annotated[Schedule, Doc("How the learning rate falls, stepped once an epoch, after the optimiser.")] = (
        "step"
    )
    step_size: Annotated[int, Ge(1), Doc("Epochs between two falls of the `step` schedule.")] = 7
    gamma: Annotated[float, Gt(0), Le(1), Doc("Factor of each fall, `step` and `exponential`.")] = 0.1
    loss: Annotated[Loss, Doc("Loss that is minimised.")] = "cross_entropy"
    label_smoothing: Annotated[float, Ge(0), Lt(1), Doc("Label smoothing of `cross_entropy`.")] = 0.0
    batch_size: Annotated[int, Ge(1), Doc("Pictures in one training step.")] = 32
    epochs: Annotated[int, Ge(1), Doc("Passes over the training pictures.")] = 8
    drop_last: Annotated[bool, Doc("Leave out the last, smaller batch of an epoch.")] = False
    workers: Annotated[
        int, Ge(0), Le(64), Doc("Extra processes that prepare batches; 0 prepares them in the trial.")
    ] = 0
    precision: Annotated[
        Precision, Doc("Arithmetic of the network: `auto` takes bf16 where the hardware has it, else fp32.")
    ] = "auto"
    seed: Annotated[int, Ge(0), Lt(2**31), Doc("Seed of initial weights, order and dropout.")] = 0


@dataclass(frozen=True)
class SettingDoc:
    """One setting as documentation: its name, type in words, default and text."""

    name: str
    kind: str
    default: Any
    text: str


def setting_docs(record: type = TrialSettings) -> list[SettingDoc]:
    """The documentation of a settings record, in the order of its fields."""
    hints = get_type_hints(record, include_extras=True)
    docs = []
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        text = next(extra.documentation for extra in get_args(hint) if isinstance(extra, Doc))
        docs.append(SettingDoc(field.name, in_words(hint), field.default, text))
    return docs


def in_words(hint: Any) -> str:
    """What a setting takes, in words: `whole number ≥ 1`, `auto or number ≥ 0`, `one of sgd, adam`."""
    origin = get_origin(hint)
    if origin is Annotated:
        base, *extras = get_args(hint)
        limits = [
            f"{sign} {getattr(extra, name):,}"
            for extra in extras
            for kind, (sign, name) in _SIGNS.items()
            if isinstance(extra, kind)
        ]
        return " and ".join([f"{in_words(base)} {limits[0]}", *limits[1:]]) if limits else in_words(base)
    if origin in (Union, types.UnionType):
        return " or ".join(in_words(part) for part in get_args(hint))
    if origin is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return _WORDS[hint]
