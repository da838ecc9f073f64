"""A short model card, in Markdown: a pure function of an exported model's description.

    (folder / "README.md").write_text(card(description))

Texts from outside (class names, the sweep's name, notes) are escaped.
"""

from typing import Any

from reports.modelfile import Description
from reports.tables import Table, escaped, markdown, printable, shown
from trainables.models import zoo

_MOST_CLASSES = 60


def card(description: Description) -> str:
    """What the model is, how it was chosen, how good it is on which pictures, and how to use it."""
    facts = description.facts
    metrics, selected, data = facts["metrics"], facts["selected_by"], facts["data"]
    names = [escaped(shown(name)) for name in description.classes[:_MOST_CLASSES]]
    more = len(description.classes) - len(names)
    counts = ", ".join(f"{sum(classes.values())} {split}" for split, classes in data["counts"].items())
    origin = (
        "chosen by hand, not" if selected["trials"] is None else f"the best of {selected['trials']} complete trials"
    )
    numbers = tuple((name, value) for name, value in metrics.items() if name.startswith(metrics["split"]))
    return f"""\
# {description.architecture} for {len(description.classes)} classes

{", ".join(names)}{f" and {more} more (see model.json)" if more else ""}

- Pictures: {counts or "counts not recorded"}; fingerprint `{data["fingerprint"]}`.
- Sees {description.image_size} × {description.image_size} pixels, {_CHANNELS[description.channels]}.
- Trial {facts["trial"]} of the sweep {escaped(shown(facts["sweep"]))}, {origin} by {selected["metric"]}, and of its \
epochs the best one, epoch {metrics["epoch"]}.
- Starting weights: {escaped(printable(facts["starting_weights"]["note"]))}. \
Licence: {escaped(printable(facts["starting_weights"]["licence"]))}.

## How good it is

On the `{metrics["split"]}` pictures, which also chose the trial and the epoch: on new pictures expect somewhat less.

{markdown(Table("Metrics", ("metric", "value"), numbers))}
## How to use it

```
tune predict . pictures/
```

or with torch, torchvision and safetensors alone (`tune predict` also turns pictures upright by their EXIF data):

```python
{_recipe(description)}
```
"""


_CHANNELS = {1: "grey", 3: "RGB"}


def _recipe(description: Description) -> str:
    """Python that loads the model and names the class of `picture.jpg`, without this package."""
    facts = zoo.facts(description.architecture)
    options: dict[str, Any] = {"num_classes": len(description.classes)}
    if facts.rescales_input:
        options |= {"aux_logits": False, "init_weights": False, "transform_input": description.channels == 3}
    elif facts.family == "vit":
        options["image_size"] = description.image_size
    elif facts.family == "maxvit":
        options["input_size"] = (description.image_size, description.image_size)
    arguments = "".join(f", {name}={value!r}" for name, value in options.items())
    adapt = ""
    if description.channels != 3:
        adapt = (
            f'conv = network.get_submodule("{facts.first_conv}")\n'
            f"conv.weight = torch.nn.Parameter(conv.weight[:, :{description.channels}])\n"
            f"conv.in_channels = {description.channels}\n"
        )
    short_side = round(description.image_size / description.center_crop)
    return f"""\
import json
from pathlib import Path

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2

facts = json.loads(Path("model.json").read_text(encoding="utf-8"))
network = torchvision.models.get_model("{description.architecture}", weights=None{arguments})
{adapt}network.load_state_dict(load_file("model.safetensors"))
network.eval()
view = v2.Compose([
    v2.PILToTensor(),
    v2.Resize({short_side}, antialias=True),
    v2.CenterCrop({description.image_size}),
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize(facts["mean"], facts["std"]),
])
picture = Image.open("picture.jpg").convert("{"RGB" if description.channels == 3 else "L"}")
with torch.inference_mode():
    probabilities = network(view(picture)[None]).softmax(dim=1)[0]
print(facts["classes"][probabilities.argmax().item()], probabilities.max().item())"""
