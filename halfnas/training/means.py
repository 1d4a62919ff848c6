"""Means over the images of an epoch, added up on the device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class EpochMeans:
    """Sums of what a step measures. Nothing is read before the epoch ends, so that no step waits for the device.

    Args:
        names: what is measured.
        device: the device of the training.
    """

    def __init__(self, names: Sequence[str], device: torch.device) -> None:
        self._index = {name: i for i, name in enumerate(names)}
        # float32 is exact to 16 million images only; MPS has nothing wider
        wide = torch.float32 if device.type == "mps" else torch.float64
        self._sums = torch.zeros(2, len(names), dtype=wide, device=device)  # of the values, of the images

    @torch.no_grad()
    def add(self, num_images: int, **means: Tensor) -> None:
        """Add what a step saw: scalars on the device, means over its `num_images` images."""
        totals, images = self._sums
        for name, value in means.items():
            totals[self._index[name]].add_(value.detach(), alpha=num_images)
            images[self._index[name]].add_(num_images)

    def take(self, reduce: Callable[[Tensor], Tensor] = lambda sums: sums) -> dict[str, float]:
        """Means by name, of what was measured since the last time; starts anew.

        Args:
            reduce: adds the sums [2, names] of several processes up.
        """
        totals, images = reduce(self._sums.clone()).tolist()
        self._sums.zero_()
        return {name: totals[i] / images[i] for name, i in self._index.items() if images[i] > 0}


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of images whose largest logit [B, num_classes] is that of their label [B], as a scalar."""
    return logits.detach().argmax(dim=1).eq(labels).double().mean()
