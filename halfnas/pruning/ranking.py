"""What a ranking function is: a number that a network without training gets from a few batches."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, TypeGuard

import torch
from torch import Tensor
from torch.nn import functional as F

from halfnas.pruning.sample import Sample
from halfnas.pruning.scoring_network import Norm, ScoringNetwork


class RankingFunction(ABC):
    """r(N): a scalar from a network and a sample. A new one is a file in `rankers` and a yaml in conf/pruner.

    It is called inside `torch.func.vmap`, once for many masks: write it in torch operations, and take gradients with
    `torch.func`.

    Attributes:
        differentiable: whether r has derivatives that mean something; counts and codes of ReLUs have none.
        log_scale: whether r is a logarithm, so that its ratios mean nothing: it enters sums by rank.
        fewest_batches: how many it needs.

    Args:
        weight: its factor in a sum of ranking functions.
        sign: +1 where a larger value means a better network, -1 where a smaller one does.
    """

    differentiable: ClassVar[bool] = True
    log_scale: ClassVar[bool] = False
    fewest_batches: ClassVar[int] = 1

    def __init__(self, weight: float = 1.0, sign: int = 1) -> None:
        if sign not in (1, -1):
            raise ValueError(f"`sign` must be 1 (larger is better) or -1 (smaller is better), got {sign}")
        self.weight = weight
        self.sign = sign

    @abstractmethod
    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        """Rate a network."""


class LogitRanking(RankingFunction):
    """r(N): a scalar from nothing but the logits of all images, each batch with batch norm statistics of its own.

    First-order importance needs one pass for all of these, on a network made for it (`StackedSupernet`); on CUDA
    together with its backward pass it is one graph. A class that overrides the call is given a network like any other.
    """

    @abstractmethod
    def rate(self, logits: Tensor) -> Tensor:
        """Rate a network by its logits, [N, num_classes], batch after batch."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        """Rate any network, one batch after the other."""
        return self.rate(torch.cat([network(batch.images) for batch in sample.batches]))


def rates_logits(ranker: RankingFunction) -> TypeGuard[LogitRanking]:
    """Whether a ranking function sees nothing but logits."""
    return isinstance(ranker, LogitRanking) and type(ranker).__call__ is LogitRanking.__call__


def loss(network: ScoringNetwork, sample: Sample, parameters: Mapping[str, Tensor], norm: Norm | None = None) -> Tensor:
    """Cross entropy on all images of the sample together; `norm` as for a call of the network."""
    return F.cross_entropy(network(sample.images, parameters, norm=norm), sample.labels)


def check_several(images: Tensor, ranker: str) -> None:
    """Raise ValueError where there is a single image to compare with others."""
    if len(images) < 2:
        raise ValueError(f"{ranker} compares images and needs at least 2, got {len(images)}")
