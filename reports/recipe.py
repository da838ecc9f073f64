"""Python that uses an exported model without this package, for its model card.

print(traced_recipe(description))          # by model.pt2: torch alone
print(plain_recipe(description))           # by model.safetensors: torch, torchvision and safetensors
"""

from typing import Any

from reports.modelfile import PT2, WEIGHTS, Description
from trainables.data.catalog import Task
from trainables.models import zoo
from trainables.tasks import Scores

# What is said of a picture, from the scores of the network.
_ANSWERS: dict[Task, str] = {
    "classification": 'print(facts["classes"][scores.argmax().item()], scores.max().item())',
    "multilabel": 'print([name for name, score in zip(facts["classes"], scores.tolist()) if score >= 0.5])',
    "regression": 'print(dict(zip(facts["classes"], scores.tolist())))',
}
# `Description.scores` → what is called upon the outputs of the network.
_CALLS: dict[Scores, str] = {"softmax": ".softmax(dim=1)", "sigmoid": ".sigmoid()", "identity": "", "exp": ".exp()"}


def traced_recipe(description: Description) -> str:
    """Python that loads `model.pt2` and says what is in `picture.jpg`."""
    return f"""\
import json, torch
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional
facts = json.load(open("model.json", encoding="utf-8"))
network = torch.export.load("{PT2}").module()
{_view(description)}
with torch.inference_mode():
    scores = network(view[None])[0]
{_ANSWERS[description.task]}"""


def plain_recipe(description: Description) -> str | None:
    """Python that loads `model.safetensors` and says what is in `picture.jpg`; None where torchvision has no such
    network."""
    facts = zoo.facts(description.architecture)
    if facts.own:
        return None
    return f"""\
import json, torch, torchvision
from PIL import Image, ImageOps
from safetensors.torch import load_file
from torchvision.transforms.v2 import functional
facts = json.load(open("model.json", encoding="utf-8"))
network = torchvision.models.get_model("{description.architecture}", weights=None{_options(description)})
{_adapted(description, facts)}network.load_state_dict(load_file("{WEIGHTS}"))
network.eval()
{_view(description)}
view = functional.normalize(functional.to_dtype(view, scale=True), facts["mean"], facts["std"])
with torch.inference_mode():
    scores = network(view[None]){_CALLS[description.scores]}[0]
{_ANSWERS[description.task]}"""


def _view(description: Description) -> str:
    size = description.image_size
    mode = "RGB" if description.channels == 3 else "L"
    lines = [f'picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{mode}")']
    lines.append("picture = functional.pil_to_tensor(picture)")
    if description.shrinks_first:
        shorter = f"min({description.short_side}, *picture.shape[1:])"  # a smaller one stays as it is
        lines.append(f"picture = functional.resize(picture, [{shorter}], antialias=True)")
    resized = f"functional.resize(picture, [{description.resize}], antialias=True)"
    lines.append(f"view = functional.center_crop({resized}, [{size}, {size}])")
    return "\n".join(lines)


def _options(description: Description) -> str:
    """What torchvision must be told beside the name."""
    facts = zoo.facts(description.architecture)
    options: dict[str, Any] = {"num_classes": len(description.classes)}
    if facts.rescales_input:
        options |= {"aux_logits": False, "init_weights": False, "transform_input": description.channels == 3}
    elif facts.family == "vit":
        options["image_size"] = description.image_size
    elif facts.family == "maxvit":
        options["input_size"] = (description.image_size, description.image_size)
    return "".join(f", {name}={value!r}" for name, value in options.items())


def _adapted(description: Description, facts: zoo.ModelFacts) -> str:
    """The lines that fit the first convolution to grey pictures, and take out what keeps outputs above zero."""
    lines = ""
    if facts.clipped and description.task != "classification":
        parent, _, name = facts.clipped.rpartition(".")
        lines = f'network.get_submodule("{parent}")[{name}] = torch.nn.Identity()\n'
    if description.channels == 3:
        return lines
    return lines + (
        f'conv = network.get_submodule("{facts.first_conv}")\n'
        f"conv.weight = torch.nn.Parameter(conv.weight[:, :{description.channels}])\n"
        f"conv.in_channels = {description.channels}\n"
    )
