"""What a ranking function is: a number that a network without training gets from a few batches."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from torch import Tensor


class Batch(NamedTuple):
    """Images [B, C, H, W] and labels [B]."""

    images: Tensor
    labels: Tensor


class RankingFunction(Protocol):
    """r(N): a scalar tensor from a network and batches. One file each; configured in conf/pruner/*.yaml.

    It is called inside `torch.func.vmap`, once for many masks: write it in torch operations on the network's outputs.

    Attributes:
        weight: its factor in a sum of ranking functions.
        sign: +1 where a larger value means a better network, -1 where a smaller one does.
    """

    weight: float
    sign: int

    def __call__(self, network: Callable[[Tensor], Tensor], batches: Sequence[Batch]) -> Tensor:
        """Rate `network`, which maps images [B, C, H, W] to logits [B, num_classes]."""
        ...
