"""A model card, in Markdown: a pure function of an exported model's description.

    (folder / "README.md").write_text(card(description))

Texts from outside (class names, the sweep's name, notes) are escaped.
"""

from typing import Any

from reports.modelfile import PT2, Description
from reports.ranking import on_new_pictures
from reports.recipe import plain_recipe, traced_recipe
from reports.tables import Cell, Table, escaped, markdown, printable, shown
from trainables.wording import counted

_MOST_CLASSES = 60
_THINGS = {
    "classification": ("class", "classes"),
    "multilabel": ("label", "labels"),
    "regression": ("target", "targets"),
}
_CHANNELS = {1: "grey", 3: "RGB"}
_PRECISIONS = {"tf32": "fp32 (TF32 on a GPU)"}


def card(description: Description) -> str:
    """What the model is, how it was chosen, how good it is on which pictures, its limits, and how to use it."""
    facts = description.facts
    names = [escaped(shown(name)) for name in description.classes[:_MOST_CLASSES]]
    more = len(description.classes) - len(names)
    start = facts["starting_weights"]
    shrunk = f"shrunk to {description.short_side}, then " if description.shrinks_first else ""
    return f"""\
# {description.architecture} for {counted(len(description.classes), *_THINGS[description.task])}

{", ".join(names)}{f" and {more} more (see model.json)" if more else ""}

- Pictures: {_counts(facts["data"])}; fingerprint {escaped(shown(facts["data"]["fingerprint"]))}.
- Sees {description.image_size} × {description.image_size} pixels, {_CHANNELS[description.channels]}: the shorter side \
is {shrunk}resized to {description.resize}, and the centre cropped.
- {_origin(facts)}
- Starting weights: {escaped(printable(start["note"]))}. Licence: {escaped(printable(start["licence"]))}.

## How good it is

{_goodness(facts)}
## Limits

{_limits(description)}

## How to use it

```
tune predict . pictures/
```

As in training, this turns pictures upright by their EXIF data, lays transparent ones on white, scales 16-bit ones, \
and has the decoder halve JPEGs that are far too large. The lines below do the first of these alone.

{_recipes(description)}
{_checks(facts.get("checked"))}"""


def _counts(data: dict[str, Any]) -> str:
    counts = data.get("pictures") or {split: sum(classes.values()) for split, classes in data["counts"].items()}
    return ", ".join(f"{n} {escaped(shown(split))}" for split, n in counts.items() if n) or "counts not recorded"


def _origin(facts: dict[str, Any]) -> str:
    selected = facts["selected_by"]
    count = selected["trials"]
    chosen = "chosen by hand, not" if count is None else f"the best of {counted(count, 'complete trial')}"
    return (
        f"Trial {facts['trial']} of the sweep {escaped(shown(facts['sweep']))}, {chosen} by {selected['metric']}, and"
        f" of its epochs the best one, epoch {facts['metrics']['epoch']}."
    )


def _goodness(facts: dict[str, Any]) -> str:
    """The metrics by split, as the trial recorded them and as the files here give them."""
    recorded, measured = facts["metrics"], facts.get("measured", {})
    split = recorded["split"]
    mine = {name.removeprefix(f"{split}_"): value for name, value in recorded.items() if name.startswith(f"{split}_")}
    columns = {f"{split}, while training": mine}
    columns |= {f"{name}, this model": found for name, found in measured.items() if isinstance(found, dict)}
    metrics = dict.fromkeys(name for column in columns.values() for name in column)
    rows: list[tuple[Cell, ...]] = [(name, *(column.get(name) for column in columns.values())) for name in metrics]
    expected = on_new_pictures(facts["selected_by"]["mode"])
    notes = [
        f"The `{split}` pictures chose the trial and the epoch, so what they say is optimistic: on new pictures expect"
        f" {expected}."
    ]
    if "test" in measured:
        notes.append("The `test` pictures chose nothing: they are the better guess.")
    if "val" in measured:
        precision = _PRECISIONS.get(recorded["precision"]) or escaped(shown(recorded["precision"]))
        notes.append(
            f"While training the network computed in {precision}; this model was measured in fp32."
            + ("" if recorded["precision"] == "fp32" else " A few pictures may be labelled otherwise for that.")
        )
    else:
        notes.append(
            f"This model itself was not measured when it was exported ({escaped(printable(measured['missing']))})."
        )
    table = markdown(Table("Metrics", ("metric", *columns), tuple(rows)))
    return " ".join(notes) + "\n\n" + table


def _limits(description: Description) -> str:
    _, things = _THINGS[description.task]
    known = {
        "classification": "It names one of its classes for every picture, also for one that shows none of them.",
        "multilabel": "It judges each of its labels for itself, and knows no others.",
        "regression": "It gives a value for every picture, also far outside of what it has learnt from.",
    }
    sure = "" if description.task == "regression" else " Its probabilities have not been calibrated."
    return (
        f"{known[description.task]}{sure} It knows its {things} from the pictures above and no others; what these have"
        " in common beside them (a camera, a background, a place) it may have learnt as well. Measure it on pictures of"
        " your own before you rely on it."
    )


def _recipes(description: Description) -> str:
    """Python that needs none of this package: by the traced network where it is there, and by torchvision's own."""
    texts = []
    if PT2 in description.facts.get("checked", {}).get("files", ()):
        texts.append(f"or with torch and torchvision alone:\n\n{_python(traced_recipe(description))}")
    if (plain := plain_recipe(description)) is not None:
        texts.append(f"or, to train on with it, with the network as torchvision has it:\n\n{_python(plain)}")
    return "\n".join(texts)


def _python(code: str) -> str:
    return f"```python\n{code}\n```\n"


def _checks(checked: dict[str, Any] | None) -> str:
    if checked is None:
        return ""
    files = ", ".join(f"`{file}`" for file in checked["files"])
    return (
        f"{files} {'were each' if len(checked['files']) > 1 else 'was'} loaded again and run on {checked['pictures']}"
        f" {checked['on']}; the scores agree with the trained network's to {checked['largest_difference']:.1g}"
        f" (allowed: {checked['tolerance']:.0e}).\n"
    )
