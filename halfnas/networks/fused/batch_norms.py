"""Batch norms without scale and shift, folded into the 1x1 convolution before them.

With S the covariance of centred features x over images and positions, z = A x has the variances diag(A S A^T) and no
mean. So a batch norm without scale and shift of z is a linear map of x again,

    BN(A x) = D A x        with D = diag(1 / sqrt(diag(A S A^T) + eps))

and z itself is not needed, neither here nor in the backward pass: the gradient through the statistics of the batch is
that through S. As z does not change when x is centred, features are centred in place.

Shapes: n blocks of w features each, c outputs of each block; P = B * H * W positions.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from halfnas.networks.recompute import in_second_pass

#: Batch norms that fold have the defaults of torch, and neither scale nor shift.
EPS = nn.BatchNorm2d(1).eps
MOMENTUM = cast(float, nn.BatchNorm2d(1).momentum)


class Fold(NamedTuple):
    """A batch norm folded into a linear map.

    Attributes:
        folded: D A, [n, c, w].
        scale: the diagonals of D, [n, c, 1].
        products: P S, [n, w, w].
    """

    folded: Tensor
    scale: Tensor
    products: Tensor


class Moments(NamedTuple):
    """What n batch norms saw in one batch.

    Attributes:
        mean: [n, c].
        variance: [n, c], divided by the number of positions, plus eps.
        positions: of the batch, that is images times pixels.
    """

    mean: Tensor
    variance: Tensor
    positions: int


def fold_(features: Tensor, linear: Tensor, identity: Tensor) -> tuple[Fold, Moments]:
    """Centre features [B, n * w, H, W] in place, and fold the batch norms of A x into A [n, c, w].

    Args:
        identity: [c, c].
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
    for_folded: Tensor, fold: Fold, positions: int, *, needs_linear: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradient of A; and the symmetric matrices [n, w, w] that times x are the gradient of x through D."""
    folded, scale, products = fold
    along = (for_folded * folded).sum(dim=2, keepdim=True) * folded
    quadratic = torch.baddbmm(products, folded.mT, along, beta=0, alpha=-1 / positions)
    for_linear = None
    if needs_linear:
        for_linear = torch.baddbmm(for_folded, along, products, alpha=-1 / positions).mul_(scale)
    return for_linear, quadratic


def running_statistics(norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """1 / sqrt(running variance + eps) and running mean of each, [n, c]."""
    mean = torch.stack([cast(Tensor, norm.running_mean) for norm in norms])
    variance = torch.stack([cast(Tensor, norm.running_var) for norm in norms])
    return torch.rsqrt(variance + EPS), mean


def _products(features: Tensor, w: int) -> Tensor:
    """Sums over positions of x x^T, [n, w, w]."""
    if features.is_contiguous():
        blocks = features.unflatten(1, (-1, w)).flatten(3)  # [B, n, w, H * W]
        return (blocks @ blocks.mT).sum(dim=0)
    blocks = features.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (-1, w)).permute(1, 2, 0)  # [n, w, P]
    return blocks @ blocks.mT


@torch.no_grad()
def remember(seen: Sequence[tuple[Sequence[Sequence[nn.BatchNorm2d]], Moments]]) -> None:
    """Update running statistics as batch norms do in training mode; in a second pass they were updated before.

    Args:
        seen: moments, and for each of their n rows the batch norms that saw it.
    """
    if not seen or in_second_pass():
        return
    factors = [moments.positions / (moments.positions - 1) for _, moments in seen]
    variances = torch._foreach_sub([moments.variance for _, moments in seen], EPS)
    torch._foreach_mul_(variances, factors)
    running: list[Tensor] = []
    batch: list[Tensor] = []
    counters: list[Tensor] = []
    for (norms, moments), variance in zip(seen, variances, strict=True):
        for group, *rows in zip(norms, moments.mean.unbind(), variance.unbind(), strict=True):
            for norm in group:
                if norm.track_running_stats:
                    running += [cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)]
                    batch += rows
                    counters.append(cast(Tensor, norm.num_batches_tracked))
    if running:
        torch._foreach_lerp_(running, batch, MOMENTUM)
        torch._foreach_add_(counters, 1)


def count_positions(x: Tensor) -> int:
    """Values a channel; as in torch's batch norm a single one is an error."""
    positions = x.numel() // x.shape[1]
    if positions == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    return positions


def accurate(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics: at least float32."""
    return torch.promote_types(dtype, torch.float32)
