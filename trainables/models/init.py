"""How weights that start at random are drawn, instead of the architecture's own way.

    with seeded(0, "network"):
        report = initialise(network, settings, keep=loaded)      # all but the tensors of these names
    print(report.summary())        # "init sparse: 2 weights drawn; 2 keep the default: conv1.0.weight (sparse needs …)"

Weights of convolutions, linear layers and attention are drawn by torch's own function of the name; their biases become
zero, and normalisation layers multiply by one and add zero. What a function cannot do to a tensor of that shape, and
parameters that are no layer's weight (class tokens, position embeddings, scales) keep what the architecture gives
them; the report names each. `default` changes nothing.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainables.settings import TrialSettings
from trainables.wording import counted, few

# Each fills a tensor of two or more dimensions in place, from torch's global generator.
INITS: dict[str, Callable[[Tensor, TrialSettings], Tensor]] = {
    "xavier_uniform": lambda weight, s: nn.init.xavier_uniform_(weight, gain=s.init_gain),
    "xavier_normal": lambda weight, s: nn.init.xavier_normal_(weight, gain=s.init_gain),
    "kaiming_uniform": lambda weight, s: nn.init.kaiming_uniform_(
        weight, a=s.init_slope, mode=s.init_mode, nonlinearity=s.init_nonlinearity
    ),
    "kaiming_normal": lambda weight, s: nn.init.kaiming_normal_(
        weight, a=s.init_slope, mode=s.init_mode, nonlinearity=s.init_nonlinearity
    ),
    "normal": lambda weight, s: nn.init.normal_(weight, mean=s.init_mean, std=s.init_std),
    "uniform": lambda weight, s: nn.init.uniform_(weight, a=s.init_low, b=s.init_high),
    "constant": lambda weight, s: nn.init.constant_(weight, s.init_value),
    "orthogonal": lambda weight, s: nn.init.orthogonal_(weight, gain=s.init_gain),
    "sparse": lambda weight, s: nn.init.sparse_(weight, sparsity=s.init_sparsity, std=s.init_std),
}


@dataclass(frozen=True)
class InitReport:
    """What became of the parameters that start at random: names of those drawn; (name, why) of those kept."""

    init: str = "default"
    drawn: tuple[str, ...] = ()
    kept: tuple[tuple[str, str], ...] = ()

    def __add__(self, other: "InitReport") -> "InitReport":
        return InitReport(self.init, self.drawn + other.drawn, self.kept + other.kept)

    def summary(self) -> str:
        """One line, naming a few of the parameters kept."""
        line = f"init {self.init}: {counted(len(self.drawn), 'weight')} drawn"
        if not self.kept:
            return line
        shown = few((f"{name} ({why})" for name, why in self.kept), limit=3)
        return f"{line}; {counted(len(self.kept), 'weight')} not, as by default: {shown}"


def initialise(
    network: nn.Module, settings: TrialSettings, *, keep: Collection[str] = (), prefix: str = ""
) -> InitReport:
    """Draws the parameters of a network, or of a part of one, by `settings.init`, in the network's order.

    Args:
        network: changed in place, on whatever device it is; on the meta device the report is all that comes of it.
        settings: `init` and what belongs to it.
        keep: names of parameters that stay, such as those loaded from a file.
        prefix: where the part is in its network, such as `fc.`, for the names.
    """
    if settings.init == "default":
        return InitReport()
    drawn: list[str] = []
    kept: list[tuple[str, str]] = []
    with torch.no_grad():
        for name, parameter, role in _roles(network):
            full = prefix + name
            if full in keep:
                continue
            if role == "other":
                kept.append((full, "no layer's weight"))
            elif role == "weight" and (why := misfit(settings.init, parameter)):
                kept.append((full, why))
            elif role == "weight":
                INITS[settings.init](parameter, settings)
                drawn.append(full)
            else:
                parameter.fill_(1.0 if role == "scale" else 0.0)
    return InitReport(settings.init, tuple(drawn), tuple(kept))


def misfit(init: str, weight: Tensor) -> str | None:
    """Why torch's function of this name cannot fill a tensor of this shape; None where it can."""
    if init == "sparse" and weight.ndim != 2:
        return f"sparse needs 2 dimensions, it has {weight.ndim}"
    return None  # the others take any layer's weight, which has 2 or more


_NORMS = (_BatchNorm, nn.LayerNorm)


def _roles(network: nn.Module) -> Iterator[tuple[str, Tensor, str]]:
    """Each parameter with its name and its role: `weight`, `bias`, `scale` (of a normalisation) or `other`."""
    for path, module in network.named_modules():
        for short, parameter in module.named_parameters(recurse=False):
            name = f"{path}.{short}" if path else short
            if short.endswith("bias") and isinstance(module, (nn.Conv2d, nn.Linear, nn.MultiheadAttention, *_NORMS)):
                yield name, parameter, "bias"
            elif isinstance(module, _NORMS):
                yield name, parameter, "scale"
            elif isinstance(module, (nn.Conv2d, nn.Linear, nn.MultiheadAttention)):
                yield name, parameter, "weight"
            else:
                yield name, parameter, "other"
