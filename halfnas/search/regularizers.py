"""Terms added to the loss of the architecture step."""

from typing import Protocol

import torch
from torch import Tensor

from halfnas.networks import Supernet


class Regularizer(Protocol):
    """A scalar from the supernet's architecture parameters, and how much it counts as the search goes on.

    One that has a state of its own is a `torch.nn.Module` too, whose buffers are saved with the search.
    """

    def weight_at(self, epoch: int, epochs: int) -> float:
        """The factor of the term in `epoch` (0-based) of `epochs`."""
        ...

    def __call__(self, supernet: Supernet) -> Tensor:
        """The term without its factor."""
        ...


class BetaDecay:
    """The regulariser of beta-DARTS (Ye et al., CVPR 2022, arXiv 2203.01665).

        lambda(epoch) * sum over kinds of cell of  mean over edges of  log sum_o exp(alpha_o)

    over the kept candidates o of each edge, lambda(epoch) = weight * epoch / epochs. The released code, which runs on
    NAS-Bench-201 only, has one kind of cell and lambda from 0 to 50 in 100 epochs; the port to the DARTS space in
    AI-Tech-Research-Lab/AsquaredM has lambda from 0 to 25 in 50 and adds the two kinds up. Both are epoch / 2, so that
    the published weight is half the number of epochs.

    Args:
        weight: what lambda grows to over the search, from 0.
    """

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def weight_at(self, epoch: int, epochs: int) -> float:
        """lambda(epoch)."""
        return self.weight * epoch / epochs

    def __call__(self, supernet: Supernet) -> Tensor:
        """The term without lambda."""
        return mean_logsumexp(supernet)


def mean_logsumexp(supernet: Supernet) -> Tensor:
    """Sum over kinds of the mean over edges of logsumexp(alpha), a smooth maximum of the kept candidates."""
    return torch.stack(
        [
            torch.stack([torch.logsumexp(alpha_O, dim=0) for alpha_O in supernet.edge_alphas(kind)]).mean()
            for kind in supernet.alpha
        ]
    ).sum()
