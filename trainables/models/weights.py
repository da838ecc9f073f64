"""Starting weights: found once for a sweep, then loaded the same in every trial.

    weights = resolve_weights("auto", "resnet18", base=Path.cwd())     # looks, downloads, digests
    report = load_weights(network, facts, weights)                     # UserError if the file has changed since
    print(weights.note, report.summary())

ImageNet weights are torchvision's `DEFAULT` for the model, kept where torchvision keeps them
(`$TORCH_HOME/hub/checkpoints`). As there, a download is checked against the hash in its name, and a file that is
already in the cache is taken as it is. The SHA-256 of what is taken is recorded; every trial and resume checks it.

The head is new in every case but one: an exported model of the same classes in the same order goes on with its own,
where a trial's outputs mean the same as the model's.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlparse

import torch
from torch import nn
from torchvision import models

from trainables.data.catalog import Task
from trainables.errors import UserError
from trainables.files import file_digest
from trainables.models import zoo
from trainables.models.download import download, reason
from trainables.models.exported import find_exported
from trainables.models.heads import replace_head, spread_channels
from trainables.models.nets import skeleton
from trainables.models.state_files import read_state
from trainables.models.table import BSD, ModelFacts
from trainables.tasks import scores_for
from trainables.wording import counted, few

_REACH_S = 4.0  # how long to wait for the server's first answer
_EXAMPLES = 3  # names of each kind that a summary shows


@dataclass(frozen=True)
class Weights:
    """Where a model's starting weights come from. `path` and `digest` (SHA-256, hex) are of the file, if any.

    `head`: the file's head is taken too. `random` names the tensors of the network, head apart, that the file has
    nothing for; `unused` those of the file that the network has no place for. `task`, `scores` and `activation` are
    what an exported model says of itself.
    """

    kind: Literal["imagenet", "none", "file"]
    path: str | None
    digest: str | None
    note: str
    head: bool = False
    random: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    task: str | None = None
    scores: str | None = None
    activation: str | None = None

    def __post_init__(self) -> None:
        for name in ("random", "unused"):  # lists, when they come from a record
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def for_trial(self, loss: str, *, task: Task) -> "Weights":
        """These weights, without the head where a trial's outputs mean something else than the exported model's."""
        if self.scores is None or (self.task, self.scores) == (task, scores_for(loss, task=task)):
            return self
        return dataclasses.replace(self, head=False)


@dataclass(frozen=True)
class LoadReport:
    """What became of the tensors of a file, by name; `wrong_shape` has (name, shape in the file, shape needed)."""

    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()  # in the network but not in the file: they keep their random values
    unexpected: tuple[str, ...] = ()  # in the file but not in the network
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    skipped: tuple[str, ...] = ()  # of the file's head and extra heads, where they are not wanted

    @property
    def random(self) -> tuple[str, ...]:
        """Tensors of the network, head apart, that nothing was loaded into."""
        return (*self.missing, *(name for name, *_ in self.wrong_shape))

    @property
    def complete(self) -> bool:
        """Whether file and network have the same tensors, heads apart."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.wrong_shape)

    def summary(self) -> str:
        """One line, naming a few of each kind of misfit."""
        if self == LoadReport():
            return "no weights loaded"
        shapes = tuple(f"{name} {list(got)} for {list(needed)}" for name, got, needed in self.wrong_shape)
        parts = [f"{counted(len(self.matched), 'tensor')} loaded"]
        for what, names in (("missing", self.missing), ("unexpected", self.unexpected), ("wrong shape", shapes)):
            if names:
                parts.append(f"{len(names)} {what}: {few(names, limit=_EXAMPLES)}")
        return "; ".join(parts)


# ---- found once --------------------------------------------------------------------------------------------------


def resolve_weights(spec: str, model: str, *, base: Path, classes: Sequence[str] = ()) -> Weights:
    """Find the weights that `spec` names for `model`: `auto`, `imagenet`, `none` or a path, relative to `base`.

    `auto` takes ImageNet weights from the cache or the network, in one attempt of a few seconds, else none, and
    its note says so loudly. A path is that of a state dict, or of the folder of an exported model or of a sweep that
    has one in `best/`. `classes` are those to be learnt: an exported model of the same goes on with its head, as far
    as `Weights.for_trial` has it.
    UserError when what was demanded is not to be had, is no state dict, or does not fit.
    """
    facts = zoo.facts(model)
    if spec == "none":
        return Weights("none", None, None, f"{model} starts from random weights, as asked")
    if spec not in ("auto", "imagenet"):
        return _resolve_path(spec, facts, base=base, classes=classes)
    if facts.own:
        if spec == "imagenet":
            raise UserError(f"{model} has no ImageNet weights", where="weights", got=spec, expected="auto or none")
        return Weights("none", None, None, f"{model} starts from random weights: it is made for that")
    path = imagenet_path(facts)
    try:
        if not path.exists():
            download(imagenet_url(facts), path, reach_s=_REACH_S)
    except OSError as error:
        if spec == "imagenet":
            raise _no_imagenet(facts, path, error) from error
        note = (
            f"RANDOM WEIGHTS: {model} starts from random weights. Its ImageNet weights are not in {path.parent} and"
            f" could not be downloaded ({reason(error)}). Expect far lower accuracy than from fine-tuning"
        )
        return Weights("none", None, None, note)
    report = _compare(path, facts)
    if not report.complete:
        raise UserError(
            f"this file is not {model}'s ImageNet weights ({report.summary()})",
            where="weights",
            got=str(path),
            hint="delete it to have it downloaded again",
        )
    note = f"{model} starts from ImageNet weights ({path.name})"
    if facts.licence != BSD:
        note += f"; their licence: {facts.licence}"
    return Weights("imagenet", str(path), file_digest(path), note)


def imagenet_url(facts: ModelFacts) -> str:
    """Where torchvision publishes the model's default weights."""
    return models.get_model_weights(facts.name)["DEFAULT"].url


def imagenet_path(facts: ModelFacts) -> Path:
    """Where torchvision keeps the model's default weights on this machine."""
    name = PurePosixPath(urlparse(imagenet_url(facts)).path).name
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def _resolve_path(spec: str, facts: ModelFacts, *, base: Path, classes: Sequence[str]) -> Weights:
    try:
        path = (base / Path(spec).expanduser()).absolute()
        is_folder = path.is_dir()
    except RuntimeError as error:  # ~stranger
        raise UserError("no such home folder", where="weights", got=spec) from error
    except (OSError, ValueError):  # what is wrong with it is told when it is read
        is_folder = False
    head, which, said = False, "", {}
    if is_folder:
        exported = find_exported(path, model=facts.name)
        path, head = exported.path, bool(classes) and exported.classes == tuple(classes)
        said = {"task": exported.task, "scores": exported.scores, "activation": exported.activation}
        which = ", with a new head: its classes are others"
        if head:
            means = f"{exported.task}, {exported.scores}"
            which = f", head included, as the classes are the same, where a trial's outputs mean the same ({means})"
        if exported.activation not in ("auto", "relu"):
            which += f", for activation {exported.activation}"
    report = _compare(path, facts, head=len(classes) if head else None)
    return Weights(
        "file",
        str(path),
        file_digest(path),
        f"{facts.name} starts from {spec}{which}: {report.summary()}",
        head=head,
        random=report.random,
        unused=report.unexpected,
        **said,
    )


def _compare(path: Path, facts: ModelFacts, *, head: int | None = None) -> LoadReport:
    """How the tensors of a file fit the model, with a head of so many classes or without; UserError when none does."""
    network = skeleton(facts)
    if head:
        with torch.device("meta"):
            replace_head(network, facts, classes=head)
    report, _ = _fit(network.state_dict(), read_state(path), facts, head=head is not None)
    _require_match(report, path, facts)
    return report


# ---- loaded in every trial ---------------------------------------------------------------------------------------


def load_weights(network: nn.Module, facts: ModelFacts, weights: Weights) -> LoadReport:
    """Copy the weights into the network, head apart if so; what does not fit is left out and listed in the report.

    A first convolution made for another number of channels (see `heads`) and position embeddings made for another
    picture size are fitted. UserError when the file is not to be had, is not the one that was resolved, or when
    not one of its tensors fits.
    """
    if weights.kind == "none":
        return LoadReport()
    if weights.kind == "imagenet":
        path = imagenet_path(facts)
        try:
            if not path.exists():  # another machine of the cluster than the one that resolved them
                download(imagenet_url(facts), path, reach_s=_REACH_S)
        except OSError as error:
            raise _no_imagenet(facts, path, error) from error
    else:
        path = Path(weights.path or "")
    state = read_state(path)
    if weights.digest is not None and (now := file_digest(path)) != weights.digest:
        raise UserError(
            "this file of weights has changed since the sweep began",
            where="weights",
            got=f"{path}, SHA-256 {now[:12]}…",
            expected=f"SHA-256 {weights.digest[:12]}…",
            hint="put the former file back, or start a new sweep",
        )
    report, fitting = _fit(network.state_dict(), state, facts, head=weights.head)
    _require_match(report, path, facts)
    with torch.no_grad():
        own = network.state_dict()
        for name, tensor in fitting.items():
            own[name].copy_(tensor)
    return report


def _no_imagenet(facts: ModelFacts, path: Path, error: OSError) -> UserError:
    return UserError(
        f"no ImageNet weights for {facts.name} ({reason(error)})",
        where="weights",
        hint=f"connect to the network, put {path.name} into {path.parent}, or use weights: none or a file's path",
    )


def _require_match(report: LoadReport, path: Path, facts: ModelFacts) -> None:
    if report.matched:
        return
    names = (*report.unexpected, *(name for name, *_ in report.wrong_shape), *report.skipped)
    raise UserError(
        f"not one tensor of this file fits {facts.name}'s backbone (it has {', '.join(names[:_EXAMPLES])} …)",
        where="weights",
        got=str(path),
        hint="are these the weights of another model?",
    )


def _fit(
    own: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor], facts: ModelFacts, *, head: bool = False
) -> tuple[LoadReport, dict[str, torch.Tensor]]:
    """Compare a file's tensors with the network's: the report, and the tensors to copy, shaped as the network's."""
    heads = tuple(f"{path}." for path in (*(() if head else (facts.head,)), *facts.aux_heads))
    fitting: dict[str, torch.Tensor] = {}
    unexpected, wrong_shape, skipped = [], [], []
    for given, tensor in state.items():
        name = _modern_name(given)
        if name.startswith(heads):
            skipped.append(given)
        elif name not in own:
            unexpected.append(given)
        elif (fitted := _fitted(name, tensor, own[name], facts)) is None:
            wrong_shape.append((name, tuple(tensor.shape), tuple(own[name].shape)))
        else:
            fitting[name] = fitted
    found = {*fitting, *(name for name, *_ in wrong_shape)}
    # Files from before torch 0.4.1 lack BatchNorm's batch counts, which nothing here reads.
    needed = (name for name in own if not name.startswith(heads) and not name.endswith(".num_batches_tracked"))
    missing = tuple(name for name in needed if name not in found)
    return LoadReport(tuple(fitting), missing, tuple(unexpected), tuple(wrong_shape), tuple(skipped)), fitting


def _fitted(name: str, tensor: torch.Tensor, own: torch.Tensor, facts: ModelFacts) -> torch.Tensor | None:
    """The tensor in the shape of the network's own, or None where that cannot be."""
    if tensor.is_complex() or tensor.is_floating_point() != own.is_floating_point():
        return None
    if tensor.shape != own.shape:
        if name == f"{facts.first_conv}.weight" and tensor.ndim == 4:
            tensor = spread_channels(tensor, channels=own.shape[1])
        elif name == "encoder.pos_embedding" and tensor.ndim == 3:
            tensor = _resample_positions(tensor, length=own.shape[1])
    return tensor if tensor.shape == own.shape else None


def _resample_positions(embedding: torch.Tensor, *, length: int) -> torch.Tensor:
    """A vision transformer's position embeddings [1, 1 + s², d] → [1, length, d] for another picture size.

    The first is the class token's and stays. The others are a square grid and are interpolated as one (Dosovitskiy
    et al. 2021, section 3.2; bicubic, as torchvision does). Not a square: returned as it is.
    """
    token, grid = embedding[:, :1], embedding[:, 1:]
    old, new = round(grid.shape[1] ** 0.5), round((length - 1) ** 0.5)
    if old == 0 or old * old != grid.shape[1]:
        return embedding
    square = grid.transpose(1, 2).reshape(embedding.shape[0], -1, old, old)
    square = nn.functional.interpolate(square.float(), size=(new, new), mode="bicubic", align_corners=True)
    return torch.cat([token, square.flatten(2).transpose(1, 2)], dim=1)


def _modern_name(name: str) -> str:
    """A tensor's name today: torchvision's published DenseNets and vision transformers carry former ones."""
    name = re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2", name)
    return re.sub(r"(mlp\.)linear_([12])\.", lambda match: f"{match[1]}{3 * (int(match[2]) - 1)}.", name)
