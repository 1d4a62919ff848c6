"""The batch norm modules whose work the fused engine does: which ones it can do, what they saw, what they remember.

The engine normalises by itself (fold.py, preprocess.py) and leaves to the modules their running statistics alone.
Letters as in the package docstring; m batch norms of c' channels.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.networks.recompute import in_second_pass

#: Batch norms that the engine knows have the defaults of torch, and neither scale nor shift.
EPS = nn.BatchNorm2d(1).eps
MOMENTUM = cast(float, nn.BatchNorm2d(1).momentum)


class Moments(NamedTuple):
    """What m batch norms saw in one batch.

    Attributes:
        mean: [m, c'].
        variance: [m, c'], divided by the number of positions, plus eps.
        positions: the number of positions in the batch, images times pixels.
    """

    mean: Tensor
    variance: Tensor
    positions: int


class Seen(NamedTuple):
    """Moments, and for each of their m rows the batch norms that saw it."""

    norms: Sequence[Sequence[nn.BatchNorm2d]]
    moments: Moments


@torch.no_grad()
def remember(seen: Sequence[Seen]) -> None:
    """Update running statistics as batch norms do in training mode; in a second pass they were updated before."""
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


def running_statistics(norms: Sequence[nn.BatchNorm2d]) -> tuple[Tensor, Tensor]:
    """1 / sqrt(running variance + eps) and the running mean of each batch norm, [m, c'] both."""
    mean = torch.stack([cast(Tensor, norm.running_mean) for norm in norms])
    variance = torch.stack([cast(Tensor, norm.running_var) for norm in norms])
    return torch.rsqrt(variance + EPS), mean


def has_usual_norms(module: nn.Module) -> bool:
    """Whether the batch norms of a module have neither scale nor shift and the defaults of torch."""
    return all(not norm.affine and (norm.eps, norm.momentum) == (EPS, MOMENTUM) for norm in norms_of(module))


def tracks(module: nn.Module) -> bool:
    """Whether all its batch norms have running statistics; one without uses those of the batch in evaluation too."""
    return all(norm.track_running_stats for norm in norms_of(module))


def norms_of(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms inside a module."""
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def count_positions(x: Tensor) -> int:
    """The number of values of a channel of [B, C, H, W]; as in torch's batch norm a single one is an error."""
    positions = x.numel() // x.shape[1]
    if positions == 1:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    return positions


def accurate(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics: at least float32."""
    return torch.promote_types(dtype, torch.float32)
