"""Networks of our own: small ones for training from scratch, with a choice of activation.

    network = OWN_NETS["small_cnn"](channels=1, activation="tanh")
    logits = network(torch.rand(8, 1, 28, 28))                    # float32 [8, 1, 28, 28] → float32 [8, 1000]

They are rows of the same table as torchvision's (`trainables.models.zoo`), so freezing, a new head and all else work on
them as on those. Each ends in `head`, a Linear layer; pictures of any size down to the table's `min_size` will do, as
what the convolutions see is averaged to a grid of fixed size, and so the same weights fit every size. `activation` is
that between the layers; the head gives plain logits. There is no control flow that depends on the pictures.
"""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn

_CLASSES = 1000  # as torchvision's networks are built; `heads.replace_head` puts in what is needed

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


def small_cnn(*, channels: int = 3, activation: str = "relu") -> nn.Module:
    """Two convolutions of 32 and 64 filters, then 256, 128 and the classes. On 28 × 28 pixels nothing is averaged."""
    act = ACTIVATIONS[activation]
    return _chain(
        conv1=nn.Sequential(nn.Conv2d(channels, 32, 3, padding=1), act(), nn.MaxPool2d(2)),
        conv2=nn.Sequential(nn.Conv2d(32, 64, 3, padding=1), act(), nn.MaxPool2d(2)),
        grid=nn.AdaptiveAvgPool2d(7),
        flatten=nn.Flatten(),
        fc1=nn.Sequential(nn.Linear(64 * 7 * 7, 256), act(), nn.Dropout(0.0)),
        fc2=nn.Sequential(nn.Linear(256, 128), act()),
        dropout=nn.Dropout(0.0),
        head=nn.Linear(128, _CLASSES),
    )


def alexnet_2012(*, channels: int = 3, activation: str = "relu") -> nn.Module:
    """AlexNet in the widths of its paper (Krizhevsky et al. 2012): 96-256-384-384-256, 4096-4096, dropout of one half.

    On one device, without local response normalisation, as it is taught today. torchvision's `alexnet` is narrower (a
    later paper's). On 224 × 224 pixels nothing is averaged.
    """
    act = ACTIVATIONS[activation]
    return _chain(
        conv1=nn.Sequential(nn.Conv2d(channels, 96, 11, stride=4, padding=1), act(), nn.MaxPool2d(3, stride=2)),
        conv2=nn.Sequential(nn.Conv2d(96, 256, 5, padding=2), act(), nn.MaxPool2d(3, stride=2)),
        conv3=nn.Sequential(nn.Conv2d(256, 384, 3, padding=1), act()),
        conv4=nn.Sequential(nn.Conv2d(384, 384, 3, padding=1), act()),
        conv5=nn.Sequential(nn.Conv2d(384, 256, 3, padding=1), act(), nn.MaxPool2d(3, stride=2)),
        grid=nn.AdaptiveAvgPool2d(5),
        flatten=nn.Flatten(),
        fc1=nn.Sequential(nn.Linear(256 * 5 * 5, 4096), act(), nn.Dropout(0.5)),
        fc2=nn.Sequential(nn.Linear(4096, 4096), act()),
        dropout=nn.Dropout(0.5),
        head=nn.Linear(4096, _CLASSES),
    )


def residual34(*, channels: int = 3, activation: str = "relu") -> nn.Module:
    """34 layers in blocks of two convolutions around a shortcut: 3, 4, 6 and 3 of them (He et al. 2016)."""
    act = ACTIVATIONS[activation]
    stem = (
        nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        act(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    return _chain(
        stem=nn.Sequential(*stem),
        layer1=_blocks(3, 64, 64, stride=1, act=act),
        layer2=_blocks(4, 64, 128, stride=2, act=act),
        layer3=_blocks(6, 128, 256, stride=2, act=act),
        layer4=_blocks(3, 256, 512, stride=2, act=act),
        avgpool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        dropout=nn.Dropout(0.0),
        head=nn.Linear(512, _CLASSES),
    )


OWN_NETS: dict[str, Callable[..., nn.Module]] = {
    "small_cnn": small_cnn,
    "alexnet_2012": alexnet_2012,
    "residual34": residual34,
}


class Residual(nn.Module):
    """float32 [N, wide_in, H, W] → [N, wide_out, H / stride, W / stride]; a 1×1 shortcut where the shape changes."""

    def __init__(self, wide_in: int, wide_out: int, *, stride: int, act: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(wide_in, wide_out, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wide_out),
            act(),
            nn.Conv2d(wide_out, wide_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide_out),
        )
        same = stride == 1 and wide_in == wide_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(wide_in, wide_out, 1, stride=stride, bias=False)
        self.act = act()

    def forward(self, maps: Tensor) -> Tensor:
        return self.act(self.body(maps) + self.shortcut(maps))


def _blocks(count: int, wide_in: int, wide_out: int, *, stride: int, act: Callable[[], nn.Module]) -> nn.Sequential:
    """So many blocks, of which the first changes the shape."""
    first = Residual(wide_in, wide_out, stride=stride, act=act)
    return nn.Sequential(first, *(Residual(wide_out, wide_out, stride=1, act=act) for _ in range(count - 1)))


def _chain(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))
