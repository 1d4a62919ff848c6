"""Convolutions of square kernels and their backward passes, without autograd.

Letters as in the package docstring; m blocks of channels, each with a matrix of its own, c' outputs of a block.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

aten = torch.ops.aten


class Geometry(NamedTuple):
    """The stride, padding and dilation of a convolution with a square kernel."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1


POINTWISE = Geometry()


class Needed(NamedTuple):
    """Which gradients a backward pass has to give: of what was read, of the weights."""

    read: bool
    weights: bool


def geometry_of(convolution: nn.Conv2d) -> Geometry:
    """The geometry of a module with a square kernel."""
    return Geometry(convolution.stride[0], cast(int, convolution.padding[0]), convolution.dilation[0])


def conv_backward(
    grad_output: Tensor,
    read: Tensor,
    weight: Tensor,
    geometry: Geometry = POINTWISE,
    *,
    groups: int = 1,
    needed: Sequence[bool],
) -> tuple[Any, Any, Any]:
    """The gradients of what was read, of the weight and of a bias, as far as `needed`; the others are None."""
    if not any(needed):
        return None, None, None
    stride, padding, dilation = ([size, size] for size in geometry)
    return aten.convolution_backward(
        grad_output, read, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, needed
    )


def depthwise(read: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """The convolution of every channel with its own filter: [B, C, H, W], [C, 1, k, k] -> [B, C, H', W']."""
    return F.conv2d(read, weight, None, *geometry, groups=len(weight))


def depthwise_backward(
    grad_output: Tensor, read: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, bool]
) -> tuple[Any, Any]:
    """The gradients of what was read [B, C, H, W] and of the filters [C, 1, k, k], as far as `needed`.

    On a CPU several times faster than torch's own: oneDNN has no fast backward pass for strides, nor for dilated
    convolutions. A strided convolution is one of stride 1 of which some outputs are dropped. The gradient of what such
    a one reads, with an odd kernel that leaves the size as it is, is a convolution again, with the kernel turned round.
    """
    groups = len(weight)
    if read.device.type != "cpu":
        return conv_backward(grad_output, read, weight, geometry, groups=groups, needed=(*needed, False))[:2]
    needs_read, needs_weight = needed
    if geometry.stride > 1:
        with_dropped = torch.zeros_like(read)
        with_dropped[:, :, :: geometry.stride, :: geometry.stride] = grad_output
        grad_output, geometry = with_dropped, geometry._replace(stride=1)
    grad_read = depthwise(grad_output, weight.flip(2, 3), geometry) if needs_read else None
    needed_of_conv = (False, needs_weight, False)
    _, grad_weight, _ = conv_backward(grad_output, read, weight, geometry, groups=groups, needed=needed_of_conv)
    return grad_read, grad_weight


def pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """The 1x1 convolution of each of m blocks of channels with its matrix, in the dtype of x.

    Args:
        x: [B, m * c, H, W].
        kernel: [m, c', c].
        bias: [m, c', ...] or None.

    Returns:
        [B, m * c', H, W].
    """
    kernel = kernel.to(x.dtype)
    return F.conv2d(x, as_kernel(kernel), None if bias is None else bias.flatten().to(x.dtype), groups=len(kernel))


def as_kernel(matrices: Tensor) -> Tensor:
    """Matrices as the weight of a grouped 1x1 convolution: [m, c', c] -> [m * c', c, 1, 1]."""
    return matrices.flatten(0, 1)[..., None, None]


def as_matrices(weight: Tensor) -> Tensor:
    """The weights of m 1x1 convolutions that keep the channels as matrices: [m * c, c, ...] -> [m, c, c]."""
    return weight.flatten(1).unflatten(0, (-1, weight.shape[1]))
