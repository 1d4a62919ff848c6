"""A batch norm without scale and shift, folded into the 1x1 convolution before it.

With S the covariance of centred features x over images and positions, z = A x has the variances diag(A S A^T) and no
mean. So a batch norm without scale and shift of z is a linear map of x again,

    BN(A x) = D A x        with D = diag(1 / sqrt(diag(A S A^T) + eps))

and z itself is not needed, neither here nor in the backward pass: the gradient through the statistics of the batch is
that through S. As z does not change when x is centred, features are centred in place.

Letters as in the package docstring; m blocks of c features, each with its matrix A [c', c] and its batch norm;
P = B * H * W positions.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from halfnas.networks.fused.batch_norms import EPS, Moments, accurate, count_positions


class Fold(NamedTuple):
    """A batch norm folded into a linear map, for each of m blocks.

    Attributes:
        folded: D A, [m, c', c].
        scale: the diagonals of D, [m, c', 1].
        products: P S, [m, c, c].
    """

    folded: Tensor
    scale: Tensor
    products: Tensor


def fold_(features: Tensor, linear: Tensor, identity: Tensor) -> tuple[Fold, Moments]:
    """Centre features in place, and fold the batch norms of A x into A.

    Args:
        features: x, [B, m * c, H, W].
        linear: A, [m, c', c].
        identity: [c', c'].
    """
    positions = count_positions(features)
    linear = linear.to(accurate(features.dtype))
    identity = identity.to(linear.dtype)
    mean = features.mean(dim=(0, 2, 3), dtype=linear.dtype)
    features.sub_(mean[:, None, None])  # products less the product of means would cancel
    products = _products(features.to(linear.dtype), linear.shape[2])
    covariance = torch.baddbmm(identity, linear @ products, linear.mT, beta=EPS, alpha=1 / positions)
    variance = covariance.flatten(1)[:, :: linear.shape[1] + 1]  # the diagonals
    scale = torch.rsqrt(variance)[..., None]
    moments = Moments((linear @ mean.view(len(linear), -1, 1))[..., 0], variance, positions)
    return Fold(linear * scale, scale, products), moments


def fold_backward(
    grad_folded: Tensor, fold: Fold, positions: int, *, needs_linear: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradient of A [m, c', c]; and the gradient of x through D, which is linear in x.

    Args:
        grad_folded: the gradient of D A, [m, c', c].
        fold: what `fold_` gave.
        positions: P.
        needs_linear: whether the gradient of A is needed; otherwise it is None.

    Returns:
        The gradient of A, and the symmetric matrices [m, c, c] that times x are the gradient of x.
    """
    folded, scale, products = fold
    along = (grad_folded * folded).sum(dim=2, keepdim=True) * folded
    quadratic = torch.baddbmm(products, folded.mT, along, beta=0, alpha=-1 / positions)
    grad_linear = None
    if needs_linear:
        grad_linear = torch.baddbmm(grad_folded, along, products, alpha=-1 / positions).mul_(scale)
    return grad_linear, quadratic


def _products(features: Tensor, c: int) -> Tensor:
    """The sums over positions of x x^T, [m, c, c]."""
    if features.is_contiguous():
        blocks = features.unflatten(1, (-1, c)).flatten(3)  # [B, m, c, H * W]
        return (blocks @ blocks.mT).sum(dim=0)
    blocks = features.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (-1, c)).permute(1, 2, 0)  # [m, c, P]
    return blocks @ blocks.mT
