"""What batch norms do in the ranking functions that take gradients of one sample after the other."""

from typing import Literal, get_args

import torch
from torch import Tensor

from halfnas.pruning.scoring_network import Norm, ScoringNetwork, smooth_norm

#: "frozen": statistics count as constants; "published": they are functions of the batch, as in the published codes.
BatchNorm = Literal["frozen", "published"]


def checked(batch_norm: BatchNorm) -> BatchNorm:
    """Return it, or raise ValueError where there is no such way."""
    if batch_norm not in get_args(BatchNorm):
        raise ValueError(f"`batch_norm` must be one of {', '.join(get_args(BatchNorm))}, got {batch_norm!r}")
    return batch_norm


def norms(network: ScoringNetwork, images: Tensor, batch_norm: BatchNorm) -> Norm | None:
    """The batch norms of a call of the network on these images; None for torch's own.

    Torch's own are faster, but the derivative of a gradient that `jacrev` took through them is wrong (torch 2.15).
    """
    if batch_norm == "frozen":
        return network.frozen_norms(images)
    return smooth_norm if torch.is_grad_enabled() else None
