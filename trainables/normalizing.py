"""Which mean and standard deviation a trial's pictures are normalised with.

    mean, std = normalization(settings.normalize, facts=model.facts, channels=3, measured=(store.mean, store.std))

Both are for values 0 to 1, one entry a channel. Importing this module imports no torch.
"""

from trainables.models import zoo
from trainables.settings import Normalize

MeanStd = tuple[tuple[float, ...], tuple[float, ...]]

IMAGENET: MeanStd = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalization(choice: Normalize, *, facts: zoo.ModelFacts, channels: int, measured: MeanStd) -> MeanStd:
    """The mean and deviation of each channel.

    `auto` is what the model's own weights were trained with, `imagenet` the usual three colours' (for grey their
    average), `half` 0.5 and 0.5, `data` what was `measured` of the training pictures, `none` leaves values 0 to 1.
    """
    if choice == "auto":
        return zoo.normalization(facts, channels=channels)
    if choice == "data":
        return measured
    if choice == "imagenet" and channels == 3:
        return IMAGENET
    mean, std = {"imagenet": (0.449, 0.226), "half": (0.5, 0.5), "none": (0.0, 1.0)}[choice]
    return (mean,) * channels, (std,) * channels
