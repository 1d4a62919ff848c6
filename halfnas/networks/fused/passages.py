"""Passages: what reaches the nodes without a batch norm of its own.

These are skip_connect and the channels that pass by the candidates, both of the state itself, and pools without a batch
norm. The kernel of a passage has p weights a node, each of which goes to the channels where the shuffle sends them.

Letters as in the package docstring.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from halfnas.networks.fused.convolutions import Needed, conv_backward
from halfnas.networks.fused.parts import Accumulator
from halfnas.networks.fused.pools import pooled, pooled_backward


class Passage(nn.Module):
    """A pool, or the identity, of some channels of the state, and the 1x1 convolution that sends them to the nodes.

    Args:
        pool: a pool or the identity.
        start, stop: the channels of the state that it reads.
        pattern: zeros and ones [p, C, stop - start], where each of its p weights sends what.
    """

    pattern: Tensor

    def __init__(self, pool: nn.Module, start: int, stop: int, pattern: Tensor) -> None:
        super().__init__()
        self.pool = pool
        self.start = start
        self.stop = stop
        self.num_weights = len(pattern)
        self.register_buffer("pattern", pattern.flatten(1), persistent=False)

    def forward(self, state: Tensor) -> Sequence[Tensor]:
        """What the pool gives, and where a max pool found it; nothing for the state itself, which need not be kept."""
        return () if isinstance(self.pool, nn.Identity) else pooled(self.pool, state[:, self.start : self.stop])

    def kernel(self, weights: Tensor) -> Tensor:
        """The 1x1 convolution to all nodes: weights [T, p] -> [T * C, stop - start, 1, 1]."""
        return (weights @ self.pattern).view(-1, self.stop - self.start, 1, 1)

    def backward(
        self,
        grad_nodes: Tensor,
        state: Tensor,
        weights: Tensor,
        passed: Sequence[Tensor],
        grad_state: Accumulator,
        needed: Needed,
    ) -> Tensor | None:
        """Add to the gradient of the state; give that of the weights [T, p], as far as `needed`.

        Args:
            grad_nodes: [B, T * C, H', W'].
            state: [B, C, H, W].
            weights: [T, p].
            passed: what `forward` gave.
            grad_state: the gradient of the state so far.
            needed: whether the gradients of the state and of the weights are needed.
        """
        read, *indices = passed or [state]
        kernel = self.kernel(weights).to(grad_nodes.dtype)
        grad_read, grad_kernel, _ = conv_backward(grad_nodes, read, kernel, needed=(*needed, False))
        if needed.read:
            x = state[:, self.start : self.stop]
            grad_state.add(self.start, pooled_backward(self.pool, grad_read, x, indices))
        if not needed.weights:
            return None
        return grad_kernel.view(len(weights), -1).to(weights.dtype) @ self.pattern.mT


def shuffled_places(channels: int, width: int) -> list[int]:
    """Where the channel shuffle sends each channel: i of group g moves to i * K + g, with K = C / c groups."""
    groups = channels // width
    return [i * groups + g for g in range(groups) for i in range(width)]


def patterns(channels: int, width: int) -> tuple[Tensor, Tensor]:
    """Where the shuffle sends the c channels that are mixed, and where those that pass by: zeros and ones [C, C]."""
    ones = torch.zeros(channels, channels)
    ones[shuffled_places(channels, width), range(channels)] = 1
    mixed, passing = ones.clone(), ones.clone()
    mixed[:, width:] = 0
    passing[:, :width] = 0
    return mixed, passing
