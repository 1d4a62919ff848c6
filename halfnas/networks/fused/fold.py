"""A batch norm without scale and shift, folded into the 1x1 convolution before it.

With S the covariance of centred features x over images and positions, z = A x has the variances diag(A S A^T) and no
mean. So a batch norm without scale and shift of z is a linear map of x again,

    BN(A x) = D A x        with D = diag(1 / sqrt(diag(A S A^T) + eps))

and z itself is not kept, neither for what comes next nor for the backward pass: the gradient through the statistics of
the batch is that through S. As the variance of z does not change when x is centred, features are centred in place.

How accurate that is. Channels can cancel in z: with collinear ones and weights that sum to zero little is left of them,

    k = sum_i |a_i| std(x_i) / std(z)        for a row a of A, large where they cancel, 1 for a single channel

A variance summed up from the entries of S, each of them rounded, is off by about u k^2, with u the machine epsilon: in
float32 by a tenth for k = 1000, and below zero beyond. So z comes first, for one product of matrices: A S is the
covariance of z with x, whose rounding errors are of the size of std(z) std(x_i), and

    |variance found - variance| <= u sqrt(P) k variance        (tests/networks/fused/test_fold.py)

where sqrt(P) stands for the errors of a sum of P terms, of which little is left where sums are made in blocks. Rounding
D A is off by u k std(BN(z)) at most, as rounding z is in a batch norm of z itself; but its error is the same linear map
of x at all positions, so that nothing averages it out later. Beyond k = 1 / u nothing of z is right, in either engine:
then the variance is kept from falling below zero.

Letters as in the package docstring; m blocks of c features, each with its matrix A [c', c] and its batch norm;
P = B * H * W positions, of all processes together where several see their joined batch.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from halfnas.networks.fused.batch_norms import EPS, Moments, accurate, count_positions
from halfnas.networks.fused.precision import full_precision
from halfnas.networks.joined import mean_over_processes, over_processes


class Fold(NamedTuple):
    """A batch norm folded into a linear map, for each of m blocks.

    Attributes:
        folded: D A, [m, c', c].
        scale: the diagonals of D, [m, c', 1].
        crossed: P A S, [m, c', c].
    """

    folded: Tensor
    scale: Tensor
    crossed: Tensor


def fold_(features: Tensor, linear: Tensor, identity: Tensor, processes: int = 1) -> tuple[Fold, Moments]:
    """Centre features in place, and fold the batch norms of A x into A.

    Args:
        features: x, [B, m * c, H, W].
        linear: A, [m, c', c].
        identity: [c', c'].
        processes: the number of processes whose features the batch norms see as one.
    """
    positions = count_positions(features) * processes
    linear = linear.to(accurate(features.dtype))
    identity = identity.to(linear.dtype)
    mean = mean_over_processes(features.mean(dim=(0, 2, 3), dtype=linear.dtype), processes)
    features.sub_(mean[:, None, None])  # products less the product of means would cancel
    with full_precision():
        crossed = over_processes(_crossed(features.to(linear.dtype), linear), processes)
        covariance = torch.baddbmm(identity, crossed, linear.mT, beta=EPS, alpha=1 / positions)
        mean = (linear @ mean.view(len(linear), -1, 1))[..., 0]
    variance = covariance.flatten(1)[:, :: linear.shape[1] + 1].clamp_min(EPS)  # the diagonals
    scale = torch.rsqrt(variance)[..., None]
    return Fold(linear * scale, scale, crossed), Moments(mean, variance, positions)


def fold_backward(
    grad_folded: Tensor, fold: Fold, positions: int, *, needs_linear: bool, processes: int = 1
) -> tuple[Tensor | None, Tensor]:
    """The gradient of A [m, c', c]; and the gradient of x through D, which is linear in x.

    Args:
        grad_folded: the gradient of D A, [m, c', c].
        fold: what `fold_` gave.
        positions: P, in all processes.
        needs_linear: whether the gradient of A is needed; otherwise it is None.
        processes: see `fold_`.

    Returns:
        The gradient of A, as far as it comes from the D A of this process, and the symmetric matrices [m, c, c] that
        times x are the gradient of x, which comes from that of all.
    """
    folded, scale, crossed = fold
    along = (grad_folded * folded).sum(dim=2, keepdim=True)
    grad_linear = None
    if needs_linear:
        grad_linear = torch.addcmul(grad_folded, along * scale, crossed, value=-1 / positions).mul_(scale)
    along = over_processes(along, processes)
    with full_precision():
        quadratic = torch.baddbmm(folded[:, :1], folded.mT, along * folded, beta=0, alpha=-1 / positions)
    return grad_linear, quadratic


def _crossed(features: Tensor, linear: Tensor) -> Tensor:
    """The sums over positions of A x x^T, [m, c', c]: of the products with x, as entries of x x^T would cancel."""
    c = linear.shape[2]
    if features.is_contiguous():
        blocks = features.unflatten(1, (-1, c)).flatten(3)  # [B, m, c, H * W]
        return ((linear @ blocks) @ blocks.mT).sum(dim=0)
    blocks = features.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (-1, c)).permute(1, 2, 0)  # [m, c, P]
    return (linear @ blocks) @ blocks.mT
