"""Trading time for memory: parts of a supernet are forgotten after the forward pass and computed again in the backward.

Gradients do not change. Batch norms update their running statistics in the first pass only: whatever runs inside
`second_pass` finds the flag `in_second_pass()` set. The fused engine, which updates running statistics by itself, reads
it. The batch norms of torch cannot be told, so `second_pass` gives those of the part settings with which they update
nothing, see `frozen_statistics`.
"""

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

from halfnas.spaces.operations import draws_random_numbers

#: What is computed again: nothing, what leads into (plain) or out of (fused) every node, or whole cells and, inside
#: them, nodes.
RECOMPUTE = ("none", "nodes", "cells")

_second_pass: ContextVar[bool] = ContextVar("second_pass", default=False)


def check_recompute(recompute: str) -> None:
    """Raise ValueError for a mode that does not exist."""
    if recompute not in RECOMPUTE:
        raise ValueError(f"`recompute` must be one of {', '.join(RECOMPUTE)}, got {recompute!r}")


def recomputed(function: Callable[..., Any], *inputs: Any, owner: nn.Module) -> Any:
    """`function(*inputs)`, keeping only `inputs` for the backward pass, which runs it again as a second pass.

    Args:
        function: a function of modules inside `owner`. Where one of these draws random numbers, the second pass draws
            the same ones: the state of the generators is kept on the host, which no CUDA graph can capture.
        inputs: tensors, or tuples of them.
        owner: the module whose batch norms leave their running statistics alone the second time.
    """
    if not torch.is_grad_enabled():
        return function(*inputs)
    tensors, structure = tree_flatten(inputs)
    return checkpoint(
        lambda *tensors: function(*tree_unflatten(tensors, structure)),
        *tensors,
        use_reentrant=False,
        preserve_rng_state=draws_random_numbers(owner),
        context_fn=lambda: (contextlib.nullcontext(), second_pass(owner)),
    )


def in_second_pass() -> bool:
    """Whether what runs now has run before, in the forward pass. Not for use inside what is compiled."""
    return _second_pass.get()


@contextlib.contextmanager
def second_pass(owner: nn.Module) -> Iterator[None]:
    """Mark all that runs inside as a second pass of a part of `owner`, and freeze the statistics of its batch norms."""
    token = _second_pass.set(True)
    try:
        with frozen_statistics(owner):
            yield
    finally:
        _second_pass.reset(token)


@contextlib.contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Let the batch norms inside `module` use the statistics of the batch, in training mode, without remembering them.

    For those that torch runs: momentum 0 leaves the running mean and variance as they are, and a counter that is hidden
    does not count.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    settings = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:  # with track_running_stats off it would keep other tensors than the first time
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, num_batches_tracked) in zip(norms, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, num_batches_tracked
