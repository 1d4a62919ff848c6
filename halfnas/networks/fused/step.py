"""Steps of the fused engine that keep less for their backward pass than autograd would by itself.

Each keeps a tensor that exists anyway, its input or its output, and computes the cheap part again: a ReLU, a copy, the
1x1 convolution in front of a depthwise one. Steps work in any memory format, and in the dtype of autocast.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


class Step(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def compute(*inputs: Any) -> Any:
        """The function itself; what it returns beyond the outputs is for the backward pass."""
        raise NotImplementedError

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Compute; where torch compiles it, the backward pass is the compiler's, which also decides what is kept."""
        return cls.compute(*inputs) if torch.compiler.is_compiling() else cls.apply(*inputs)


def working_dtype(x: Tensor) -> torch.dtype:
    """The dtype of autocast where it is on and would cast x, otherwise the dtype of x."""
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if casts else x.dtype


@contextlib.contextmanager
def without_autocast(x: Tensor) -> Iterator[None]:
    """Switch autocast off: steps choose their dtypes, and backward passes may run inside or outside of autocast."""
    with torch.autocast(x.device.type, enabled=False):
        yield
