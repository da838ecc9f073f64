"""Cuts a network between two stages, so that its frozen part can run once and its output serve every trial.

    anatomy = Anatomy(network, facts)
    frozen = anatomy.part(network, 0, 3)                   # pictures [N, C, S, S] → features [N, …] behind stage 3
    rest = anatomy.rest(network, 3, training=True)         # features → outputs [N, classes]

The cuts are found in the network's own graph (torch.fx). Behind the first k stages it is the last point that everything
passes through and that no later stage, and nothing random in training, comes before: so pooling and flattening behind
the last frozen stage are done before the cut, and dropout in front of the head after it. Both parts run the network's
own modules: `rest(part(x))` is `network(x)`, to the bit.
"""

import operator
from collections.abc import Callable, Mapping

import torch
import torchvision
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd  # what all of torch's dropout modules have in common

from trainables.models.small_maps import GuardedConv2d
from trainables.models.table import ModelFacts

# Modules and functions that draw random numbers in training; inside a frozen stage the modules are off.
_RANDOM_MODULES = (_DropoutNd, nn.RReLU, torchvision.ops.StochasticDepth, torchvision.ops.DropBlock2d)
_RANDOM_FUNCTIONS = (
    nn.functional.dropout,
    nn.functional.dropout2d,
    nn.functional.alpha_dropout,
    nn.functional.feature_alpha_dropout,
    torchvision.ops.stochastic_depth,
)
# What gives numbers, shapes or several tensors at once; the part behind the cut takes these again.
_NO_TENSOR_METHODS = ("size", "dim", "numel", "chunk", "split", "unbind", "__len__")
_NO_TENSOR_FUNCTIONS = (getattr, torch.chunk, torch.split, torch.unbind, torch._assert)
# Torchvision's operations are single steps, as torch's own modules are.
_LEAVES = tuple(value for value in vars(torchvision.ops).values() if isinstance(value, type))


_CONSTANT = "_tensor_constant"
Forward = Callable[[nn.Module, Tensor], Tensor]


class Section(nn.Module):
    """Some steps of a network, over its own modules. Kept apart from torch.fx's modules, which are cycles: those would
    hold a trial's weights after its end."""

    def __init__(self, network: nn.Module, code: Forward, *, constants: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, constant in constants.items():
            setattr(self, name, constant)
        for name, child in network.named_children():
            self.add_module(name, child)
        for name, parameter in network.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in network.named_buffers(recurse=False):
            self.register_buffer(name, buffer)
        self._code = code

    def forward(self, features: Tensor) -> Tensor:
        return self._code(self, features)


class Anatomy:
    """The graph of a network, in training and in evaluation, and where it can be cut.

    It knows structure alone, so it serves every copy of the network. The network is left in evaluation mode.
    """

    def __init__(self, network: nn.Module, facts: ModelFacts) -> None:
        self._facts = facts
        self._training = _Tracer().trace(network.train())
        self._evaluation = _Tracer().trace(network.eval())
        self._network = network
        self._modules = dict(network.named_modules())
        # What the forward pass makes anew each time, the tracer has put aside on the network.
        self._constants = {name: value for name, value in vars(network).items() if name.startswith(_CONSTANT)}
        self._codes: dict[tuple[int, int | None, bool], Forward] = {}

    def cut(self, stages: int) -> str | None:
        """The name of the point behind the first `stages` stages (0: the pictures); None where there is none."""
        node = self._point(self._evaluation, stages)
        return node.name if node else None

    def part(self, network: nn.Module, start: int, end: int) -> nn.Module:
        """From the cut behind `start` stages (0: the pictures) to the one behind `end`, in evaluation.

        `network` is the one this was made of, or a copy. ValueError where there is no such cut.
        """
        return Section(network, self._code(start, end, training=False), constants=self._constants)

    def rest(self, network: nn.Module, stages: int, *, training: bool) -> nn.Module:
        """From the cut behind `stages` stages to the network's output; its modules are in the modes they are in."""
        return Section(network, self._code(stages, None, training=training), constants=self._constants)

    def _code(self, start: int, end: int | None, *, training: bool) -> Forward:
        """The steps from one cut to another, or to the output, as a function of a module and its input."""
        key = (start, end, training)
        if key not in self._codes:
            graph = self._training if training else self._evaluation
            last = _output(graph).all_input_nodes[0] if end is None else self._required(graph, end)
            self._codes[key] = _code(self._network, graph, self._required(graph, start), last)
        return self._codes[key]

    def _required(self, graph: fx.Graph, stages: int) -> fx.Node:
        node = self._point(graph, stages)
        if node is None:
            raise ValueError(f"{self._facts.name} cannot be cut behind its first {stages} stages")
        return node

    def _point(self, graph: fx.Graph, stages: int) -> fx.Node | None:
        source = next(node for node in graph.nodes if node.op == "placeholder")
        if stages == 0:
            return source
        frozen = tuple(path for stage in self._facts.stages[:stages] for path in stage.modules)
        still: set[fx.Node] = set()  # their values depend on the pictures and the first stages alone
        for node in graph.nodes:
            if self._is_still(node, frozen) and still.issuperset(node.all_input_nodes):
                still.add(node)
        output = _output(graph)
        for node in reversed(graph.nodes):
            if node in still - {source} and _is_tensor(node) and source not in _needed(output, stop=node):
                return node
        return None

    def _is_still(self, node: fx.Node, frozen: tuple[str, ...]) -> bool:
        if node.op == "placeholder":
            return True
        if node.op not in ("call_module", "get_attr"):
            return node.op != "output" and node.target not in _RANDOM_FUNCTIONS
        path = str(node.target)
        if any(path == part or path.startswith(f"{part}.") for part in frozen):
            return True
        if node.op == "get_attr":
            return path.startswith(_CONSTANT)
        module = self._modules[path]
        return not module.state_dict() and not isinstance(module, _RANDOM_MODULES)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*_LEAVES, GuardedConv2d)) or super().is_leaf_module(m, module_qualified_name)


def _output(graph: fx.Graph) -> fx.Node:
    return next(node for node in graph.nodes if node.op == "output")


def _is_tensor(node: fx.Node) -> bool:
    """Whether a node's value is one tensor with a row for each picture."""
    if node.op == "call_module":
        return True
    if node.op == "get_attr":
        return False
    if node.op == "call_method":
        return node.target not in _NO_TENSOR_METHODS
    if node.target in _NO_TENSOR_FUNCTIONS:
        return False
    if node.target is operator.getitem:
        return True  # of a chunk; of a shape it is no point that everything passes through
    return any(_is_tensor(source) for source in node.all_input_nodes)


def _needed(node: fx.Node, *, stop: fx.Node) -> set[fx.Node]:
    """All that `node` is computed from, going back no further than `stop`."""
    found: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        if current is not stop:
            waiting.extend(current.all_input_nodes)
    return found


def _code(network: nn.Module, graph: fx.Graph, start: fx.Node, end: fx.Node) -> Forward:
    needed = _needed(end, stop=start)
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {start: part.placeholder("features")}
    for node in graph.nodes:
        if node in needed and node is not start:
            copies[node] = part.node_copy(node, copies.__getitem__)
    part.output(copies[end])
    return type(fx.GraphModule(network, part)).forward
