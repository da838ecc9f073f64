"""An exported model at work on pictures, with the very views of the sweep's validation.

    predictor = Predictor.load("runs/resnet18")                # its best model; or any exported folder
    for prediction in predictor.predict(["holiday/", "bees/*.jpg"]):
        print(prediction.path, prediction.label or prediction.error)

Needs the exported folder and nothing else of the sweep. A folder from a stranger is safe to load: it is JSON and
safetensors, both checked, and nothing in it is executed. Computes in fp32.
"""

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from reports.modelfile import WEIGHTS, Description, model_folder, model_settings, read_description
from reports.picture_files import Found, find_pictures
from trainables.arithmetic import forwarded
from trainables.data.catalog import Task
from trainables.data.decode import BadPictureError, decode
from trainables.data.parallel import ordered_map
from trainables.data.transforms import normalize, validation_view
from trainables.errors import UserError
from trainables.files import file_digest
from trainables.hardware import is_gpu_out_of_memory, pick_device
from trainables.models.build import build_model
from trainables.models.weights import Weights
from trainables.training.losses import FROM_OUTPUTS

THRESHOLD = 0.5  # from this probability on a picture has a label, in multilabel


@dataclass(frozen=True)
class Prediction:
    """What the model says of one picture.

    `top` has the likeliest classes with their probabilities, best first. Classification tells the first of them as
    `label` with its `probability`; multilabel tells as `labels` all that are likely enough; regression tells `values`,
    by target, and no `top`. With an `error` all of these are empty.
    """

    path: str
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    error: str | None = None
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, float], ...] = ()
    task: Task = "classification"

    def to_json(self) -> dict[str, Any]:
        """`path` and `error`, and between them what the task has."""
        top = [list(pair) for pair in self.top]
        told: dict[str, Any]
        if self.task == "classification":
            told = {"label": self.label, "probability": self.probability, "top": top}
        elif self.task == "multilabel":
            told = {"labels": list(self.labels), "top": top}
        else:
            told = {"values": dict(self.values)}
        return {"path": self.path, **told, "error": self.error}


class Predictor:
    """A network with its description, ready to predict.

    Args:
        network: normalised pictures to logits (in regression to values); it is put in evaluation mode on `device`.
        device: where to compute; the GPU when there is one.
    """

    def __init__(self, description: Description, network: nn.Module, *, device: torch.device | None = None) -> None:
        self.description = description
        self._device = device or pick_device()
        with _lack_of_memory_told():
            network.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._network = network.eval()

    @classmethod
    def load(cls, folder: Path | str, *, device: torch.device | None = None) -> "Predictor":
        """Loads an exported model's folder, or the best model of a sweep's folder.

        Raises:
            UserError: there is no such model, or a file is missing, damaged, or not what the others say.
        """
        folder = model_folder(Path(folder))
        description = read_description(folder)
        return cls(description, load_network(description, folder / WEIGHTS), device=device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, labels or targets, in the order of the scores."""
        return self.description.classes

    @property
    def task(self) -> Task:
        return self.description.task

    def predict(
        self, paths: Iterable[Path | str], *, batch_size: int = 32, top: int = 5, threshold: float = THRESHOLD
    ) -> Iterator[Prediction]:
        """Predicts the pictures that `find_pictures` finds, in that order; one that cannot be read gives an error.

        Args:
            paths: files, folders and globs.
            batch_size: pictures computed at a time.
            top: how many of the likeliest classes to tell.
            threshold: in multilabel, the probability from which a picture has a label.
        """
        views = ordered_map(self._view, find_pictures(paths))
        while batch := list(itertools.islice(views, batch_size)):
            readable = [view for _, view in batch if isinstance(view, Tensor)]
            scores = iter(self.scores(torch.stack(readable)).tolist() if readable else ())
            for path, view in batch:
                if isinstance(view, Tensor):
                    yield self._told(path, next(scores), top=top, threshold=threshold)
                else:
                    yield Prediction(path, error=view, task=self.task)

    @torch.inference_mode()
    def logits(self, pictures: Tensor) -> Tensor:
        """uint8 [N, C, S, S], 0–255, to what the network puts out, float32 [N, classes] on the CPU.

        UserError where a GPU's memory does not suffice.
        """
        with _full_fp32(), _lack_of_memory_told():
            pictures = pictures.to(self._device, memory_format=torch.channels_last)
            inputs = normalize(pictures, mean=self.description.mean, std=self.description.std)
            return forwarded(self._network, inputs).float().cpu()

    def scores(self, pictures: Tensor) -> Tensor:
        """uint8 [N, C, S, S], 0–255, to float32 [N, classes]: probabilities, or values in regression."""
        return as_scores(self.logits(pictures), self.description)

    def _told(self, path: str, scores: list[float], *, top: int, threshold: float) -> Prediction:
        named = list(zip(self.classes, scores, strict=True))
        if self.task == "regression":
            return Prediction(path, values=tuple(named), task=self.task)
        likeliest = sorted(named, key=lambda pair: -pair[1])
        best = tuple(likeliest[: max(top, 1)])
        if self.task == "multilabel":
            labels = tuple(name for name, probability in likeliest if probability >= threshold)
            return Prediction(path, top=best, labels=labels, task=self.task)
        return Prediction(path, label=best[0][0], probability=best[0][1], top=best)

    def _view(self, found: Found) -> tuple[str, Tensor | str]:
        """A picture as validation sees it, uint8 [C, S, S]; or the reason why it cannot be read."""
        if found.error is not None:
            return str(found.path), found.error
        description = self.description
        try:
            pixels = decode(found.path, channels=description.channels, short_side=description.short_side)
        except BadPictureError as error:
            return str(found.path), str(error)
        # Laid out as the sweep's stored pictures are, so that resizing rounds the same.
        picture = torch.from_numpy(pixels.transpose(1, 2, 0).copy()).permute(2, 0, 1)
        view = validation_view(picture, size=description.image_size, center_crop=description.center_crop)
        return str(found.path), view.contiguous()


def as_scores(outputs: Tensor, description: Description) -> Tensor:
    """A network's outputs [N, K] as what they stand for: probabilities, or values in the targets' own units."""
    return FROM_OUTPUTS[description.scores](outputs)


@contextmanager
def _full_fp32() -> Iterator[None]:
    """fp32 on a GPU without TF32, which rounds to 10 bits."""
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, conv


@contextmanager
def _lack_of_memory_told() -> Iterator[None]:
    """UserError where a GPU's memory does not suffice, as beside a sweep that is at work there."""
    try:
        yield
    except RuntimeError as error:
        if not is_gpu_out_of_memory(error):
            raise
        hint = "CUDA_VISIBLE_DEVICES= in front of the command has the CPU do it; smaller batches take less memory"
        raise UserError("the GPU's free memory does not suffice", hint=hint) from error


# the weights


def load_network(description: Description, path: Path) -> nn.Module:
    """The described network with the weights of a safetensors file, on the CPU.

    Raises:
        UserError: the file is missing, damaged, or does not fit.
    """
    tensors = _read_tensors(path, sha256=description.sha256)
    network = build_model(
        model_settings(description),
        classes=len(description.classes),
        channels=description.channels,
        weights=Weights("none", None, None, ""),
        task=description.task,
    ).network
    _check_fit(tensors, network.state_dict(), where=path)
    network.load_state_dict(tensors)
    return network


def _read_tensors(path: Path, *, sha256: str) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError("the model's weights are missing", where=str(path), hint="export the model again")
    if file_digest(path) != sha256:
        raise UserError(
            "not the weights that the description names", where=str(path), expected=f"SHA-256 {sha256[:12]}…"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot be read ({error})", where=str(path), expected="a safetensors file") from error


def _check_fit(tensors: dict[str, Tensor], own: dict[str, Tensor], *, where: Path) -> None:
    """The file's tensors must be the network's, all of them, in shape and kind, and finite."""
    if odd := sorted(tensors.keys() ^ own.keys()):
        what = "lacks" if odd[0] in own else "has, and the model has not,"
        raise UserError(f"not this model's weights: the file {what} {odd[0]}", where=str(where))
    for name, tensor in tensors.items():
        if tensor.shape != own[name].shape:
            raise UserError(
                f"not this model's weights: {name}",
                where=str(where),
                got=list(tensor.shape),
                expected=f"shape {list(own[name].shape)}",
                hint="do the classes match the head?",
            )
        if tensor.dtype != own[name].dtype:
            raise UserError(f"{name} is {tensor.dtype}", where=str(where), expected=str(own[name].dtype))
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{name} holds NaN or infinity", where=str(where))
