"""Steps of the fused engine that keep less for their backward pass than autograd would by itself.

Each keeps a tensor that exists anyway, its input or its output, and computes the cheap part again: a ReLU, a copy, the
1x1 convolution in front of a depthwise one. They work in any memory format, and in the dtype of autocast.
"""

from typing import Any

import torch


class Step(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def compute(*inputs: Any) -> Any:
        """The function itself; what it returns beyond the outputs is for the backward pass."""
        raise NotImplementedError

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Compiled, the backward pass is the compiler's, which also decides what is kept."""
        return cls.compute(*inputs) if torch.compiler.is_compiling() else cls.apply(*inputs)
