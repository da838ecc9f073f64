"""Every setting of a trial, in one flat, frozen record.

    settings = TrialSettings(model="resnet18", lr=1e-3, freeze="layer3")

A sweep file fixes each of these under `trial:` or explores it under `space:`; what is in neither has the default
given here. The `Doc` of a field is its documentation everywhere: docs/SWEEP_FILE.md is made of it.
Units stand in the text. Importing this module imports no torch.
"""

import dataclasses
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from typing_extensions import Doc

Init = Literal[
    "default",
    "xavier_uniform",
    "xavier_normal",
    "kaiming_uniform",
    "kaiming_normal",
    "normal",
    "uniform",
    "constant",
    "orthogonal",
    "sparse",
]
InitMode = Literal["fan_in", "fan_out"]
InitNonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]
Activation = Literal["auto", "relu", "leaky_relu", "sigmoid", "tanh"]
Augment = Literal["none", "flip", "standard", "strong"]
Normalize = Literal["auto", "imagenet", "half", "data", "none"]
Optimizer = Literal[
    "sgd",
    "asgd",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "adamax",
    "nadam",
    "radam",
    "rmsprop",
    "rprop",
    "lbfgs",
    "sparse_adam",
]
Schedule = Literal["step", "multistep", "exponential", "cosine", "one_cycle", "plateau", "constant"]
Loss = Literal[
    "auto",
    "cross_entropy",
    "nll",
    "bce",
    "multi_margin",
    "focal",
    "kl_div",
    "mse",
    "l1",
    "smooth_l1",
    "huber",
    "poisson_nll",
    "multilabel_margin",
    "multilabel_soft_margin",
    "margin_ranking",
]
ClassWeights = Literal["none", "balanced"]
LineSearch = Literal["none", "strong_wolfe"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]
NAMED_WEIGHTS = ("auto", "imagenet", "none")  # what `weights` may be beside a path

_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text", types.NoneType: "nothing"}
_SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """What one trial does. Values are checked where they come in (`tuning.spec_file`), not here."""

    model: Annotated[
        str,
        Doc(
            "Architecture, by torchvision's name (`resnet18`, `squeezenet1_1`, …), or one of our own for training from"
            " scratch (`small_cnn`, `alexnet_2012`, `residual34`)."
        ),
    ] = "resnet18"
    weights: Annotated[
        str,
        Doc(
            "Starting weights: `auto` (ImageNet where they can be had, else random), `imagenet`, `none`, or the path"
            " of a state dict (`.pth`, `.safetensors`), of an exported model's folder (`runs/NAME/best`) or of a"
            " sweep's (`runs/NAME`: its best). What fits is taken, the rest is told; the head is taken only from an"
            " exported model of the very same classes whose outputs mean the same (those of `poisson_nll` are"
            " logarithms)."
        ),
    ] = "auto"
    init: Annotated[
        Init,
        Doc(
            "How weights that start at random are drawn, by torch's names: all of a network without starting weights,"
            " else its new head and what the file lacks. `default` is the architecture's own way; any other also sets"
            " biases to zero and normalisation layers to one. What a layer's shape does not allow (`sparse` needs two"
            " dimensions, which convolutions exceed) is told, and keeps the default."
        ),
    ] = "default"
    init_mode: Annotated[
        InitMode, Doc("What `kaiming_uniform` and `kaiming_normal` keep the size of: outputs or gradients.")
    ] = "fan_in"
    init_nonlinearity: Annotated[
        InitNonlinearity, Doc("The activation that `kaiming_uniform` and `kaiming_normal` allow for.")
    ] = "relu"
    init_slope: Annotated[float, Ge(0), Doc("Negative slope of init_nonlinearity `leaky_relu`.")] = 0.01
    init_gain: Annotated[float, Gt(0), Doc("Factor of `xavier_uniform`, `xavier_normal` and `orthogonal`.")] = 1.0
    init_mean: Annotated[float, Doc("Mean of `normal`.")] = 0.0
    init_std: Annotated[float, Gt(0), Doc("Standard deviation of `normal` and `sparse`.")] = 0.01
    init_low: Annotated[float, Doc("Lower bound of `uniform`.")] = -0.05
    init_high: Annotated[float, Doc("Upper bound of `uniform`.")] = 0.05
    init_value: Annotated[float, Doc("The weight of `constant`.")] = 0.01
    init_sparsity: Annotated[float, Gt(0), Lt(1), Doc("Share of each input's weights that `sparse` sets to zero.")] = (
        0.1
    )
    activation: Annotated[
        Activation,
        Doc("Activation of our own networks, `auto` being relu; others have their own and take `auto` only."),
    ] = "auto"
    dropout: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Lt(1)],
        Doc("Probability of the model's dropout layers; `auto` is the model's own. Not for models without any."),
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
    randaugment: Annotated[
        int,
        Ge(0),
        Le(30),
        Doc(
            "Strength of RandAugment, put upon the view of `augment`: 0 is none of it, 9 usual, 30 the most. Its"
            " operations are drawn from 14 (rotation, shear, contrast, solarising, …)."
        ),
    ] = 0
    randaugment_ops: Annotated[
        int, Ge(1), Le(8), Doc("How many operations RandAugment puts on a picture, one after the other.")
    ] = 2
    random_erasing: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc("Share of the training views in which a random rectangle is painted over, after all else."),
    ] = 0.0
    normalize: Annotated[
        Normalize,
        Doc(
            "Mean and deviation that are taken off and divided by: `auto` (those of the model's ImageNet weights),"
            " `imagenet` (the usual ones), `half` (0.5 and 0.5), `data` (measured on the training pictures), or `none`"
            " (values stay 0 to 1). They go into the exported model. GoogLeNet and Inception bring a normalisation"
            " of their own in colour, which `auto` allows for."
        ),
    ] = "auto"
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
    optimizer: Annotated[
        Optimizer,
        Doc("Optimiser, by torch's name. `sparse_adam` is for sparse gradients, which no model here has: refused."),
    ] = "sgd"
    lr: Annotated[float, Gt(0), Lt(1000), Doc("Learning rate at the start; at the peak of `one_cycle`.")] = 0.001
    head_lr_factor: Annotated[float, Gt(0), Doc("The head learns at `lr` times this (not with `lbfgs`).")] = 1.0
    layer_decay: Annotated[
        float,
        Gt(0),
        Le(1),
        Doc(
            "The last stage learns at `lr`, and each stage before it at this times the rate of the one after it"
            " (not with `lbfgs`)."
        ),
    ] = 1.0
    momentum: Annotated[float, Ge(0), Lt(1), Doc("Momentum of `sgd` and `rmsprop`; others ignore it.")] = 0.9
    dampening: Annotated[float, Ge(0), Lt(1), Doc("Share of a gradient that momentum leaves out; `sgd` only.")] = 0.0
    nesterov: Annotated[bool, Doc("Nesterov momentum, `sgd` only; needs momentum above 0 and no dampening.")] = False
    weight_decay: Annotated[
        float,
        Ge(0),
        Doc(
            "Weight decay (L2; decoupled for `adamw`) of all that is trained, biases and normalisation layers too."
            " `rprop`, `lbfgs` and `sparse_adam` have none."
        ),
    ] = 0.0
    decoupled_weight_decay: Annotated[
        bool, Doc("Weight decay as that of `adamw`, for `adam`, `nadam` and `radam`.")
    ] = False
    beta1: Annotated[float, Ge(0), Lt(1), Doc("How slowly the mean gradient follows; `adam` and its kin.")] = 0.9
    beta2: Annotated[float, Ge(0), Lt(1), Doc("How slowly the mean squared gradient follows; `adam` and its kin.")] = (
        0.999
    )
    amsgrad: Annotated[bool, Doc("Divide by the largest mean squared gradient so far; `adam` and `adamw`.")] = False
    momentum_decay: Annotated[float, Ge(0), Doc("How fast the momentum of `nadam` grows.")] = 0.004
    alpha: Annotated[
        Literal["auto"] | Annotated[float, Ge(0), Le(1)],
        Doc(
            "`rmsprop`: how slowly the mean squared gradient follows (`auto`: 0.99); `asgd`: power with which the rate"
            " falls (`auto`: 0.75)."
        ),
    ] = "auto"
    centered: Annotated[bool, Doc("Divide by the gradient's estimated variance; `rmsprop` only.")] = False
    rho: Annotated[float, Ge(0), Le(1), Doc("How slowly the averages of `adadelta` follow.")] = 0.9
    lambd: Annotated[float, Ge(0), Doc("How fast the rate of `asgd` falls with its steps.")] = 0.0001
    lr_decay: Annotated[float, Ge(0), Doc("How fast the rate of `adagrad` falls with its steps.")] = 0.0
    initial_accumulator_value: Annotated[
        float, Ge(0), Doc("What the squared gradients of `adagrad` are added up from.")
    ] = 0.0
    eta_minus: Annotated[
        float, Gt(0), Lt(1), Doc("Factor of a weight's step where its gradient has turned; `rprop`.")
    ] = 0.5
    eta_plus: Annotated[
        float, Gt(1), Doc("Factor of a weight's step where its gradient has kept its sign; `rprop`.")
    ] = 1.2
    eps: Annotated[
        Literal["auto"] | Annotated[float, Gt(0)],
        Doc(
            "Added to what is divided by: `adadelta`, `adagrad`, `rmsprop`, `adam` and its kin. `auto` is torch's own"
            " (1e-8; `adadelta` 1e-6, `adagrad` 1e-10)."
        ),
    ] = "auto"
    max_iter: Annotated[int, Ge(1), Doc("Iterations of `lbfgs` on each batch.")] = 20
    history_size: Annotated[
        int, Ge(1), Doc("Steps that `lbfgs` remembers, each as large as two copies of what is trained.")
    ] = 10
    line_search: Annotated[LineSearch, Doc("How `lbfgs` finds the length of a step: `none` takes `lr`.")] = "none"
    clip_grad_norm: Annotated[
        float,
        Ge(0),
        Doc("Gradients longer than this, taken together, are shortened to it (not with `lbfgs`); 0: no limit."),
    ] = 0.0
    schedule: Annotated[
        Schedule,
        Doc(
            "How the learning rate moves: `step`, `multistep`, `exponential` and `cosine` from epoch to epoch,"
            " `one_cycle` from batch to batch (momentum stays as it is), `plateau` after epochs without a lower"
            " validation loss. Not with `rprop`, whose steps find their size themselves."
        ),
    ] = "step"
    warmup_epochs: Annotated[
        int,
        Ge(0),
        Doc(
            "Epochs in which the rate first rises from batch to batch, linearly; the schedule follows. Not with"
            " `rprop`."
        ),
    ] = 0
    step_size: Annotated[int, Ge(1), Doc("Epochs between two falls of the `step` schedule.")] = 7
    milestones: Annotated[
        str | int, Doc("Epochs after which `multistep` lets the rate fall, counted from the warm-up's end: `4, 6`.")
    ] = "4, 6"
    gamma: Annotated[
        float, Gt(0), Le(1), Doc("Factor of each fall of `step`, `multistep`, `exponential` and `plateau`.")
    ] = 0.1
    patience: Annotated[
        int, Ge(0), Doc("Epochs without a lower validation loss that `plateau` bears before the rate falls.")
    ] = 2
    min_lr_factor: Annotated[float, Ge(0), Le(1), Doc("Lowest rate of `cosine` and `plateau`, as a share of `lr`.")] = (
        0.0
    )
    pct_start: Annotated[float, Gt(0), Lt(1), Doc("Share of `one_cycle` in which the rate rises.")] = 0.3
    div_factor: Annotated[float, Ge(1), Doc("`one_cycle` starts at `lr` divided by this.")] = 25.0
    final_div_factor: Annotated[float, Ge(1), Doc("`one_cycle` ends at its start divided by this.")] = 10000.0
    loss: Annotated[
        Loss,
        Doc(
            "Loss that is minimised; it must fit the data's task. Classification: `cross_entropy`, `nll`, `bce` (one"
            " against the rest), `multi_margin`, `focal`, `kl_div` (to smoothed classes), and `mse` and `l1` between"
            " probabilities and classes. Multilabel: `bce`, `multilabel_margin`, `multilabel_soft_margin`. Regression:"
            " `mse`, `l1`, `smooth_l1`, `huber`, `poisson_nll` (the network gives a count's logarithm),"
            " `margin_ranking` (only the order is learnt, from pairs within a batch); all but counts are compared in"
            " standard deviations of the training targets. `auto`: the first of its task."
        ),
    ] = "auto"
    label_smoothing: Annotated[
        float, Ge(0), Lt(1), Doc("Share of a class's weight spread over all; `cross_entropy` and `kl_div`.")
    ] = 0.0
    class_weights: Annotated[
        ClassWeights,
        Doc(
            "`balanced` weighs classes against their number of training pictures: `cross_entropy`, `nll`, `bce`,"
            " `multi_margin`, `focal`."
        ),
    ] = "none"
    focal_gamma: Annotated[float, Ge(0), Doc("How much less `focal` weighs what is right already.")] = 2.0
    margin: Annotated[float, Ge(0), Doc("Margin of `multi_margin` and `margin_ranking`.")] = 1.0
    huber_delta: Annotated[
        float,
        Gt(0),
        Doc("Error at which `huber` turns from square to straight, in standard deviations of the targets."),
    ] = 1.0
    smooth_l1_beta: Annotated[
        float,
        Gt(0),
        Doc("Error at which `smooth_l1` turns from square to straight, in standard deviations of the targets."),
    ] = 1.0
    mixup: Annotated[
        float, Ge(0), Doc("Blend pairs of training pictures, with shares from Beta(this, this); 0 for none.")
    ] = 0.0
    cutmix: Annotated[
        float,
        Ge(0),
        Doc(
            "Paste a piece of one training picture into another, its area from Beta(this, this); 0 for none. With"
            " `mixup` too, each batch has one of the two."
        ),
    ] = 0.0
    batch_size: Annotated[int, Ge(1), Doc("Pictures in one training step.")] = 32
    # Five digits, as in the names of checkpoints and records, which are put in order by name.
    epochs: Annotated[int, Ge(1), Le(99_999), Doc("Passes over the training pictures.")] = 8
    drop_last: Annotated[bool, Doc("Leave out the last, smaller batch of an epoch.")] = False
    workers: Annotated[
        int, Ge(0), Le(64), Doc("Extra processes that prepare batches; 0 prepares them in the trial.")
    ] = 0
    precision: Annotated[
        Precision, Doc("Arithmetic of the network: `auto` takes bf16 where the hardware has it, else fp32.")
    ] = "auto"
    compile: Annotated[
        bool,
        Doc(
            "Compile what is trained (torch.compile) for batches of `batch_size`. The first trial with a network takes"
            " tens of seconds longer, later ones about two; a CPU gains little or nothing. It needs a C++ compiler."
        ),
    ] = False
    seed: Annotated[int, Ge(0), Lt(2**31), Doc("Seed of initial weights, order and dropout.")] = 0


@dataclass(frozen=True)
class SettingDoc:
    """One setting as documentation: its name, type in words, default and text."""

    name: str
    kind: str
    default: Any
    text: str


def setting_docs(record: type) -> list[SettingDoc]:
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
    if origin is list and get_origin(get_args(hint)[0]) is Literal:
        return f"list of any of {', '.join(get_args(get_args(hint)[0]))}"
    if origin is dict:
        return "trial"
    if origin is list:
        return f"list of {in_words(get_args(hint)[0])}s"
    if origin is Literal:
        choices = [str(choice) for choice in get_args(hint)]
        return f"one of {', '.join(choices)}" if len(choices) > 1 else choices[0]
    return _WORDS[hint]
