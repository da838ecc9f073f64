"""Loss and accuracy over a pass, gathered on the device.

running = RunningMetrics(device)
running.update(loss, logits, labels)      # no wait for the device
running.compute()                         # one wait, at the end: {"loss": …, "accuracy": …}
"""

import torch
from torch import Tensor


class RunningMetrics:
    """Means over pictures. Sums stay on the device in float64 until `compute`."""

    def __init__(self, device: torch.device) -> None:
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._count = 0

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss (scalar), logits [N, classes] and labels int64 [N]."""
        count = len(labels)
        self._loss += loss.detach().double() * count
        self._correct += (logits.detach().argmax(dim=1) == labels).sum()
        self._count += count

    def compute(self) -> dict[str, float]:
        """The mean loss and the share of pictures labelled right, over all batches so far."""
        if self._count == 0:
            raise ValueError("no batch was seen")
        return {"loss": self._loss.item() / self._count, "accuracy": self._correct.item() / self._count}
