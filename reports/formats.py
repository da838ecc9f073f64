"""The exported network in files that plain torch or onnxruntime run: `model.pt2` and `model.onnx`.

    portable = Portable(network, description)
    FORMATS["pt2"].write(portable, folder / "model.pt2", size=(3, 224, 224))
    scores = FORMATS["pt2"].open(folder / "model.pt2")(pictures)       # uint8 [N, 3, 224, 224] → float32 [N, classes]

Both take the pictures as validation cuts them, in whole numbers from 0 to 255, any number at a time, normalise them
inside, and give probabilities (in regression, values): whoever uses one resizes, crops and nothing else.
"""

import copy
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from reports.modelfile import ONNX, ONNX_DATA, PT2, Description
from reports.predict import as_scores
from trainables.errors import UserError

INPUT, OUTPUT = "pictures", "scores"
# Files of the ONNX format end at 2 GB; a network near that keeps its weights in a file beside.
_LARGEST_ONNX_BYTES = 1_800_000_000
_TRACED = 2  # pictures that the network is traced with; torch takes 1 for a constant

Run = Callable[[Tensor], Tensor]


class Portable(nn.Module):
    """A network between its normalisation and its scores: uint8 [N, C, S, S], 0–255, to float32 [N, classes].

    A copy on the CPU, in fp32, in evaluation mode.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, description: Description) -> None:
        super().__init__()
        # As `trainables.data.transforms.normalize` computes it.
        means, stds = (
            torch.tensor(numbers, dtype=torch.float64).view(1, -1, 1, 1)
            for numbers in (description.mean, description.std)
        )
        self.register_buffer("scale", (1 / (255 * stds)).float())
        self.register_buffer("shift", (means / stds).float())
        self.network = copy.deepcopy(network).cpu().float().to(memory_format=torch.contiguous_format)
        self._description = description
        self.eval().requires_grad_(False)

    def forward(self, pictures: Tensor) -> Tensor:
        outputs = self.network(pictures.to(torch.float32) * self.scale - self.shift)
        return as_scores(outputs, self._description)


@dataclass(frozen=True)
class Format:
    """One kind of file. `write(portable, path, size=(C, S, S))` makes it and `open(path)` gives what runs it.

    `files` are those it may consist of, the one to open first. `needs` are the modules without which it cannot be
    written, or not be run to be checked; `extra` installs them.
    """

    files: tuple[str, ...]
    write: Callable[..., None]
    open: Callable[[Path], Run]
    needs: tuple[str, ...] = ()
    extra: str | None = None

    def missing(self) -> list[str]:
        """The modules that it needs and that are not installed."""
        return [name for name in self.needs if importlib.util.find_spec(name) is None]


def available_formats() -> tuple[str, ...]:
    """The formats that can be written with what is installed."""
    return tuple(name for name, kind in FORMATS.items() if not kind.missing())


def check_formats(formats: tuple[str, ...]) -> None:
    """Raises UserError when one of the formats needs what is not installed."""
    for name in formats:
        if missing := FORMATS[name].missing():
            raise UserError(
                f"the format {name} needs {', '.join(missing)}",
                where="--formats",
                got="not installed",
                hint=f"pip install 'tuneyard[{FORMATS[name].extra}]'",
            )


def _write_pt2(portable: Portable, path: Path, *, size: tuple[int, int, int]) -> None:
    program = _traced(portable, size)
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # lines of code, with the folders of this machine
    program.example_inputs = None  # torch would pickle them
    torch.export.save(program, path)


def _open_pt2(path: Path) -> Run:
    return torch.export.load(path).module()


def _write_onnx(portable: Portable, path: Path, *, size: tuple[int, int, int]) -> None:
    weights = sum(tensor.numel() * tensor.element_size() for tensor in portable.state_dict().values())
    with _quiet():
        program = torch.onnx.export(
            portable,
            (_example(size),),
            dynamo=True,
            dynamic_shapes={INPUT: {0: "batch"}},
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of code, with the folders of this machine
    program.save(path, external_data=weights > _LARGEST_ONNX_BYTES)


def _open_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pictures: torch.from_numpy(session.run([OUTPUT], {INPUT: pictures.numpy()})[0])


# name → how it is written and run. The safetensors file is no format of these: it is always there.
FORMATS: dict[str, Format] = {
    "pt2": Format((PT2,), _write_pt2, _open_pt2),
    "onnx": Format(
        (ONNX, ONNX_DATA), _write_onnx, _open_onnx, needs=("onnx", "onnxscript", "onnxruntime"), extra="onnx"
    ),
}


def write_format(name: str, portable: Portable, folder: Path, *, size: tuple[int, int, int]) -> Run:
    """Writes one format into a folder and opens it again, as somebody else would.

    Raises:
        UserError: torch cannot bring this network into that form.
        OSError: the file cannot be written.
    """
    kind = FORMATS[name]
    path = folder / kind.files[0]
    try:
        kind.write(portable, path, size=size)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a tracer fails in as many ways as there are networks
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"{path.name} cannot be made of this network ({type(error).__name__}: {reason[:200]})",
            hint="choose the others with --formats; the weights themselves can always be exported",
        ) from error
    return kind.open(path)


def _traced(portable: Portable, size: tuple[int, int, int]) -> ExportedProgram:
    with _quiet():
        return torch.export.export(portable, (_example(size),), dynamic_shapes={INPUT: {0: Dim("batch", min=1)}})


def _example(size: tuple[int, int, int]) -> Tensor:
    return torch.zeros((_TRACED, *size), dtype=torch.uint8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps what tracers tell of themselves off the screen."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
