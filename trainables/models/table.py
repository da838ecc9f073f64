"""The models: torchvision's eighty classifiers and our own networks, family by family, in one literal table.

    MODELS["resnet18"].stages[1]                # Stage(name="layer1", modules=("layer1",))
    MODELS["squeezenet1_1"].head                # "classifier.1"

The tests compare every fact with torchvision's own metadata and with the built networks. No torch is imported here.

A stage is a run of modules that computes one after the other, and stages stand in the order of the forward pass,
so "the first k stages" is a prefix of the computation. Every parameter and buffer outside the head belongs to
exactly one stage. Names are torchvision's own where it has some (`layer1`, `fire2`, `inception3a`, `Mixed_5b`,
`conv5`), else `stem`, `stage1`… or `block1`…, `last_conv` (the 1×1 convolution that ends mobile networks) and
`classifier` (fully connected layers between the features and the head). Dropout right before the head belongs to
no stage: it stays active when the whole backbone is frozen.
"""

from dataclasses import dataclass

NO_LICENCE = "none needed: there are no published weights"
BSD = "BSD-3-Clause (torchvision); trained on ImageNet-1K, whose terms cover its pictures"
SWAG = "CC-BY-NC-4.0 (SWAG, https://github.com/facebookresearch/SWAG/blob/main/LICENSE): no commercial use"

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Stage:
    """A named run of modules; `modules` are dotted paths of modules, or of parameters that no module owns alone."""

    name: str
    modules: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """One model. Sizes are sides of square pictures in pixels; mean and std are per channel, for values 0 to 1."""

    name: str
    family: str
    stages: tuple[Stage, ...]
    head: str  # path of the final layer (Linear, or Conv2d in SqueezeNet)
    first_conv: str  # path of the convolution that sees the picture
    image_size: int  # what the ImageNet weights were made for
    min_size: int  # smallest picture the network can take
    size_multiple: int  # the side must be a multiple of this
    mean: tuple[float, ...]
    std: tuple[float, ...]
    aux_heads: tuple[str, ...]  # extra heads for training from scratch; this project drops them
    rescales_input: bool  # torchvision's `transform_input`: the network undoes ImageNet's mean and std itself
    licence: str  # of the ImageNet weights, as far as torchvision states it
    has_dropout: bool  # layers of dropout, whatever their probability
    clipped: str  # path of what clips the head's outputs at zero, "" where nothing does
    own: bool  # of `own_nets`, not torchvision's: made for any activation, without ImageNet weights

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)


def _family(
    family: str,
    *,
    stages: dict[str, str] | None = None,
    head: str,
    first_conv: str,
    min_size: int = 8,
    size_multiple: int = 1,
    aux_heads: tuple[str, ...] = (),
    rescales_input: bool = False,
    has_dropout: bool = False,
    clipped: str = "",
    own: bool = False,
    variants: dict[str, dict],
) -> dict[str, ModelFacts]:
    """The models of one family. A variant gives its `size`, which is `image_size`, and what differs in it."""
    models = {}
    for name, variant in variants.items():
        layout = variant.get("stages", stages) or {}
        models[name] = ModelFacts(
            name=name,
            family=family,
            stages=tuple(Stage(stage, tuple(modules.split())) for stage, modules in layout.items()),
            head=head,
            first_conv=first_conv,
            image_size=variant["size"],
            min_size=variant.get("min_size", min_size),
            size_multiple=variant.get("size_multiple", size_multiple),
            mean=variant.get("mean", _IMAGENET_MEAN),
            std=variant.get("std", _IMAGENET_STD),
            aux_heads=aux_heads,
            rescales_input=rescales_input,
            licence=NO_LICENCE if own else variant.get("licence", BSD),
            has_dropout=has_dropout,
            clipped=clipped,
            own=own,
        )
    return models


def _split(container: str, ends: str, *, last: str = "") -> dict[str, str]:
    """Stages that cut a Sequential: "stem:3 fire2:4" are children 0 to 2 and child 3; `last` joins the last stage."""
    stages, start = {}, 0
    for stage, end in (part.split(":") for part in ends.split()):
        stages[stage] = " ".join(f"{container}.{index}" for index in range(start, int(end)))
        start = int(end)
    stages[stage] = f"{stages[stage]} {last}".strip()
    return stages


def _vgg(*pools: int) -> dict[str, str]:
    """A VGG's five blocks, each ending in the pooling layer at that place, and its two wide layers."""
    blocks = " ".join(f"block{number}:{pool + 1}" for number, pool in enumerate(pools, start=1))
    # The last of the classifier's children before the head is dropout.
    return _split("features", blocks, last="avgpool") | _split("classifier", "classifier:5")


def _vit(blocks: int) -> dict[str, str]:
    """A vision transformer of so many encoder blocks; the last norm goes with the last block."""
    layers = {f"block{number}": f"encoder.layers.encoder_layer_{number - 1}" for number in range(1, blocks + 1)}
    layers[f"block{blocks}"] += " encoder.ln"
    return {"stem": "conv_proj class_token encoder.pos_embedding encoder.dropout", **layers}


_RESNET = {
    "stem": "conv1 bn1 relu maxpool",
    "layer1": "layer1",
    "layer2": "layer2",
    "layer3": "layer3",
    "layer4": "layer4 avgpool",
}
_MOBILENET_V3_WIDE = {"classifier": "classifier.0 classifier.1"}  # 2 is the dropout before the head
_EFFICIENTNET = _split(
    "features", "stem:1 stage1:2 stage2:3 stage3:4 stage4:5 stage5:6 stage6:7 stage7:8 last_conv:9", last="avgpool"
)
_EFFICIENTNET_V2_S = _split(
    "features", "stem:1 stage1:2 stage2:3 stage3:4 stage4:5 stage5:6 stage6:7 last_conv:8", last="avgpool"
)
# Each later stage begins with the layer that halves the resolution.
_CONVNEXT = _split("features", "stem:1 stage1:2 stage2:4 stage3:6 stage4:8", last="avgpool classifier.0 classifier.1")
_SWIN = _split("features", "stem:1 stage1:2 stage2:4 stage3:6 stage4:8", last="norm permute avgpool flatten")

MODELS: dict[str, ModelFacts] = {
    **_family(
        "resnet",
        stages=_RESNET,
        head="fc",
        first_conv="conv1",
        variants={
            "resnet18": {"size": 224},
            "resnet34": {"size": 224},
            "resnet50": {"size": 224},
            "resnet101": {"size": 224},
            "resnet152": {"size": 224},
        },
    ),
    **_family(
        "resnext",
        stages=_RESNET,
        head="fc",
        first_conv="conv1",
        variants={
            "resnext50_32x4d": {"size": 224},
            "resnext101_32x8d": {"size": 224},
            "resnext101_64x4d": {"size": 224},
        },
    ),
    **_family(
        "wide_resnet",
        stages=_RESNET,
        head="fc",
        first_conv="conv1",
        variants={"wide_resnet50_2": {"size": 224}, "wide_resnet101_2": {"size": 224}},
    ),
    **_family(
        "alexnet",
        stages=_split("features", "conv1:3 conv2:6 conv3:8 conv4:10 conv5:13", last="avgpool")
        | _split("classifier", "classifier:6"),
        head="classifier.6",
        first_conv="features.0",
        min_size=63,
        has_dropout=True,
        variants={"alexnet": {"size": 224}},
    ),
    **_family(
        "vgg",
        head="classifier.6",
        first_conv="features.0",
        min_size=32,
        has_dropout=True,
        variants={
            "vgg11": {"size": 224, "stages": _vgg(2, 5, 10, 15, 20)},
            "vgg13": {"size": 224, "stages": _vgg(4, 9, 14, 19, 24)},
            "vgg16": {"size": 224, "stages": _vgg(4, 9, 16, 23, 30)},
            "vgg19": {"size": 224, "stages": _vgg(4, 9, 18, 27, 36)},
        },
    ),
    **_family(
        "vgg_bn",
        head="classifier.6",
        first_conv="features.0",
        min_size=32,
        has_dropout=True,
        variants={
            "vgg11_bn": {"size": 224, "stages": _vgg(3, 7, 14, 21, 28)},
            "vgg13_bn": {"size": 224, "stages": _vgg(6, 13, 20, 27, 34)},
            "vgg16_bn": {"size": 224, "stages": _vgg(6, 13, 23, 33, 43)},
            "vgg19_bn": {"size": 224, "stages": _vgg(6, 13, 26, 39, 52)},
        },
    ),
    **_family(
        "squeezenet",
        head="classifier.1",
        first_conv="features.0",
        has_dropout=True,
        clipped="classifier.2",
        variants={
            "squeezenet1_0": {
                "size": 224,
                "min_size": 21,
                "stages": _split(
                    "features", "stem:3 fire2:4 fire3:5 fire4:7 fire5:8 fire6:9 fire7:10 fire8:12 fire9:13"
                ),
            },
            "squeezenet1_1": {
                "size": 224,
                "min_size": 17,
                "stages": _split(
                    "features", "stem:3 fire2:4 fire3:6 fire4:7 fire5:9 fire6:10 fire7:11 fire8:12 fire9:13"
                ),
            },
        },
    ),
    **_family(
        "densenet",
        stages={
            "stem": "features.conv0 features.norm0 features.relu0 features.pool0",
            "block1": "features.denseblock1 features.transition1",
            "block2": "features.denseblock2 features.transition2",
            "block3": "features.denseblock3 features.transition3",
            "block4": "features.denseblock4 features.norm5",
        },
        head="classifier",
        first_conv="features.conv0",
        min_size=29,
        variants={
            "densenet121": {"size": 224},
            "densenet161": {"size": 224},
            "densenet169": {"size": 224},
            "densenet201": {"size": 224},
        },
    ),
    **_family(
        "googlenet",
        stages={
            "stem": "conv1 maxpool1 conv2 conv3 maxpool2",
            "inception3a": "inception3a",
            "inception3b": "inception3b maxpool3",
            "inception4a": "inception4a",
            "inception4b": "inception4b",
            "inception4c": "inception4c",
            "inception4d": "inception4d",
            "inception4e": "inception4e maxpool4",
            "inception5a": "inception5a",
            "inception5b": "inception5b avgpool",
        },
        head="fc",
        first_conv="conv1.conv",
        min_size=15,
        aux_heads=("aux1", "aux2"),
        rescales_input=True,
        has_dropout=True,
        variants={"googlenet": {"size": 224}},
    ),
    **_family(
        "inception_v3",
        stages={
            "stem": "Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3 maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2",
            "Mixed_5b": "Mixed_5b",
            "Mixed_5c": "Mixed_5c",
            "Mixed_5d": "Mixed_5d",
            "Mixed_6a": "Mixed_6a",
            "Mixed_6b": "Mixed_6b",
            "Mixed_6c": "Mixed_6c",
            "Mixed_6d": "Mixed_6d",
            "Mixed_6e": "Mixed_6e",
            "Mixed_7a": "Mixed_7a",
            "Mixed_7b": "Mixed_7b",
            "Mixed_7c": "Mixed_7c avgpool",
        },
        head="fc",
        first_conv="Conv2d_1a_3x3.conv",
        min_size=75,
        aux_heads=("AuxLogits",),
        rescales_input=True,
        has_dropout=True,
        variants={"inception_v3": {"size": 299}},
    ),
    **_family(
        "mnasnet",
        stages=_split("layers", "stem:8 stage1:9 stage2:10 stage3:11 stage4:12 stage5:13 stage6:14 last_conv:17"),
        head="classifier.1",
        first_conv="layers.0",
        has_dropout=True,
        variants={
            "mnasnet0_5": {"size": 224},
            "mnasnet0_75": {"size": 224},
            "mnasnet1_0": {"size": 224},
            "mnasnet1_3": {"size": 224},
        },
    ),
    **_family(
        "mobilenet_v2",
        # The stages are the rows of the paper's table: blocks of one width.
        stages=_split(
            "features", "stem:1 stage1:2 stage2:4 stage3:7 stage4:11 stage5:14 stage6:17 stage7:18 last_conv:19"
        ),
        head="classifier.1",
        first_conv="features.0.0",
        has_dropout=True,
        variants={"mobilenet_v2": {"size": 224}},
    ),
    **_family(
        "mobilenet_v3",
        head="classifier.3",
        first_conv="features.0.0",
        has_dropout=True,
        variants={
            "mobilenet_v3_large": {
                "size": 224,
                "stages": _split(
                    "features",
                    "stem:1 stage1:2 stage2:4 stage3:7 stage4:11 stage5:13 stage6:16 last_conv:17",
                    last="avgpool",
                )
                | _MOBILENET_V3_WIDE,
            },
            "mobilenet_v3_small": {
                "size": 224,
                "stages": _split(
                    "features", "stem:1 stage1:2 stage2:4 stage3:7 stage4:9 stage5:12 last_conv:13", last="avgpool"
                )
                | _MOBILENET_V3_WIDE,
            },
        },
    ),
    **_family(
        "efficientnet",
        stages=_EFFICIENTNET,
        head="classifier.1",
        first_conv="features.0.0",
        has_dropout=True,
        variants={
            "efficientnet_b0": {"size": 224},
            "efficientnet_b1": {"size": 240},
            "efficientnet_b2": {"size": 288},
            "efficientnet_b3": {"size": 300},
            "efficientnet_b4": {"size": 380},
            "efficientnet_b5": {"size": 456},
            "efficientnet_b6": {"size": 528},
            "efficientnet_b7": {"size": 600},
        },
    ),
    **_family(
        "efficientnet_v2",
        stages=_EFFICIENTNET,
        head="classifier.1",
        first_conv="features.0.0",
        has_dropout=True,
        variants={
            "efficientnet_v2_s": {"size": 384, "stages": _EFFICIENTNET_V2_S},
            "efficientnet_v2_m": {"size": 480},
            "efficientnet_v2_l": {"size": 480, "mean": _HALF, "std": _HALF},
        },
    ),
    **_family(
        "convnext",
        stages=_CONVNEXT,
        head="classifier.2",
        first_conv="features.0.0",
        min_size=32,
        variants={
            "convnext_tiny": {"size": 224},
            "convnext_small": {"size": 224},
            "convnext_base": {"size": 224},
            "convnext_large": {"size": 224},
        },
    ),
    **_family(
        "regnet",
        stages={
            "stem": "stem",
            "block1": "trunk_output.block1",
            "block2": "trunk_output.block2",
            "block3": "trunk_output.block3",
            "block4": "trunk_output.block4 avgpool",
        },
        head="fc",
        first_conv="stem.0",
        variants={
            "regnet_x_400mf": {"size": 224},
            "regnet_x_800mf": {"size": 224},
            "regnet_x_1_6gf": {"size": 224},
            "regnet_x_3_2gf": {"size": 224},
            "regnet_x_8gf": {"size": 224},
            "regnet_x_16gf": {"size": 224},
            "regnet_x_32gf": {"size": 224},
            "regnet_y_400mf": {"size": 224},
            "regnet_y_800mf": {"size": 224},
            "regnet_y_1_6gf": {"size": 224},
            "regnet_y_3_2gf": {"size": 224},
            "regnet_y_8gf": {"size": 224},
            "regnet_y_16gf": {"size": 224},
            "regnet_y_32gf": {"size": 224},
            "regnet_y_128gf": {"size": 384, "licence": SWAG},
        },
    ),
    **_family(
        "shufflenet",
        stages={
            "stem": "conv1 maxpool",
            "stage2": "stage2",
            "stage3": "stage3",
            "stage4": "stage4",
            "conv5": "conv5",
        },
        head="fc",
        first_conv="conv1.0",
        variants={
            "shufflenet_v2_x0_5": {"size": 224},
            "shufflenet_v2_x1_0": {"size": 224},
            "shufflenet_v2_x1_5": {"size": 224},
            "shufflenet_v2_x2_0": {"size": 224},
        },
    ),
    **_family(
        "swin",
        stages=_SWIN,
        head="head",
        first_conv="features.0.0",
        has_dropout=True,
        variants={
            "swin_t": {"size": 224},
            "swin_s": {"size": 224},
            "swin_b": {"size": 224},
        },
    ),
    **_family(
        "swin_v2",
        stages=_SWIN,
        head="head",
        first_conv="features.0.0",
        has_dropout=True,
        variants={
            "swin_v2_t": {"size": 256},
            "swin_v2_s": {"size": 256},
            "swin_v2_b": {"size": 256},
        },
    ),
    # Position embeddings are resampled to the picture's grid of patches, so any whole number of patches will do.
    **_family(
        "vit",
        head="heads.head",
        first_conv="conv_proj",
        has_dropout=True,
        variants={
            "vit_b_16": {"size": 224, "stages": _vit(12), "min_size": 16, "size_multiple": 16},
            "vit_b_32": {"size": 224, "stages": _vit(12), "min_size": 32, "size_multiple": 32},
            "vit_l_16": {"size": 224, "stages": _vit(24), "min_size": 16, "size_multiple": 16},
            "vit_l_32": {"size": 224, "stages": _vit(24), "min_size": 32, "size_multiple": 32},
            "vit_h_14": {
                "size": 518,
                "stages": _vit(32),
                "min_size": 14,
                "size_multiple": 14,
                "licence": SWAG,
            },
        },
    ),
    # Its windows of 7×7 must tile every stage, the last of which sees a 32nd of the picture's side.
    **_family(
        "maxvit",
        stages={
            "stem": "stem",
            "block1": "blocks.0",
            "block2": "blocks.1",
            "block3": "blocks.2",
            "block4": "blocks.3",
            "classifier": "classifier.0 classifier.1 classifier.2 classifier.3 classifier.4",
        },
        head="classifier.5",
        first_conv="stem.0.0",
        min_size=224,
        size_multiple=224,
        has_dropout=True,
        variants={"maxvit_t": {"size": 224}},
    ),
    # ---- our own -------------------------------------------------------------------------------------------------
    **_family(
        "small_cnn",
        stages={"conv1": "conv1", "conv2": "conv2 grid flatten", "fc1": "fc1", "fc2": "fc2"},
        head="head",
        first_conv="conv1.0",
        has_dropout=True,
        own=True,
        variants={"small_cnn": {"size": 28}},
    ),
    **_family(
        "alexnet_2012",
        stages={
            "conv1": "conv1",
            "conv2": "conv2",
            "conv3": "conv3",
            "conv4": "conv4",
            "conv5": "conv5 grid flatten",
            "fc1": "fc1",
            "fc2": "fc2",
        },
        head="head",
        first_conv="conv1.0",
        min_size=65,
        has_dropout=True,
        own=True,
        variants={"alexnet_2012": {"size": 224}},
    ),
    **_family(
        "residual34",
        stages={
            "stem": "stem",
            "layer1": "layer1",
            "layer2": "layer2",
            "layer3": "layer3",
            "layer4": "layer4 avgpool flatten",
        },
        head="head",
        first_conv="stem.0",
        has_dropout=True,
        own=True,
        variants={"residual34": {"size": 224}},
    ),
}
