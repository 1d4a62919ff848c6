"""Convolutions and their backward passes, without autograd.

Shapes: B images, C channels, H x W pixels, k x k taps; n edges, c channels of a candidate.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

aten = torch.ops.aten


class Geometry(NamedTuple):
    """Of a convolution with a square kernel."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1


POINTWISE = Geometry()


def conv_backward(
    gradient: Tensor,
    read: Tensor,
    weight: Tensor,
    geometry: Geometry = POINTWISE,
    *,
    groups: int = 1,
    needed: Sequence[bool],
) -> tuple[Any, Any, Any]:
    """Gradients of what was read, of the weight and of a bias, as far as `needed`; the others are None."""
    if not any(needed):
        return None, None, None
    stride, padding, dilation = ([size, size] for size in geometry)
    return aten.convolution_backward(
        gradient, read, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, needed
    )


def depthwise(read: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    """[B, C, H, W] with the filters [C, 1, k, k]."""
    return F.conv2d(read, weight, None, *geometry, groups=len(weight))


def depthwise_backward(
    gradient: Tensor, read: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, bool]
) -> tuple[Any, Any]:
    """Gradients of what was read and of the filters, as far as `needed`.

    On a CPU several times faster than torch's own: oneDNN has no fast backward pass for strides, nor for dilated
    convolutions. A strided convolution is one of stride 1 of which some outputs are dropped. The gradient of what such
    a one reads, with an odd kernel that leaves the size as it is, is a convolution again, with the kernel turned round.
    """
    groups = len(weight)
    if read.device.type != "cpu":
        return conv_backward(gradient, read, weight, geometry, groups=groups, needed=(*needed, False))[:2]
    if geometry.stride > 1:
        dropped = torch.zeros_like(read)
        dropped[:, :, :: geometry.stride, :: geometry.stride] = gradient
        gradient, geometry = dropped, geometry._replace(stride=1)
    for_read = depthwise(gradient, weight.flip(2, 3), geometry) if needed[0] else None
    _, for_weight, _ = conv_backward(gradient, read, weight, geometry, groups=groups, needed=(False, needed[1], False))
    return for_read, for_weight


def pointwise(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1 convolution of each of n blocks of channels with its matrix [n, c', c], in the dtype of x."""
    kernel = kernel.to(x.dtype)
    return F.conv2d(x, as_kernel(kernel), None if bias is None else bias.flatten().to(x.dtype), groups=len(kernel))


def as_kernel(matrices: Tensor) -> Tensor:
    """[n, c', c] -> [n * c', c, 1, 1]."""
    return matrices.flatten(0, 1)[..., None, None]


def as_matrices(weight: Tensor) -> Tensor:
    """[n * c, c, ...] -> [n, c, c]."""
    return weight.flatten(1).unflatten(0, (-1, weight.shape[1]))


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Over channels; one part alone is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)


def sums_of_parts(x: Tensor, y: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Sum of both in parts of so many channels, none of which keeps the memory of another."""
    return [part + other for part, other in zip(x.split(sizes, dim=1), y.split(sizes, dim=1), strict=True)]


def relu_of_parts(parts: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    """ReLU of parts, concatenated over channels, in one pass. Without autograd."""
    first, *others = parts
    if not others:
        return first.relu().to(dtype)
    batch_size, _, *size = first.shape
    memory_format = torch.channels_last if first.stride(1) == 1 else torch.contiguous_format
    sizes = [part.shape[1] for part in parts]
    together = torch.empty(batch_size, sum(sizes), *size, dtype=dtype, device=first.device, memory_format=memory_format)
    for part, into in zip(parts, together.split(sizes, dim=1), strict=True):
        torch.clamp_min(part.to(dtype), 0, out=into)
    return together


def even(x: Tensor) -> Tensor:
    """With zeros to the right and below, up to even sizes."""
    height, width = x.shape[2:]
    return F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x


def dense(x: Tensor) -> Tensor:
    """Without gaps, in the memory format that it nearly has."""
    return x.contiguous(memory_format=torch.channels_last if x.stride(1) == 1 else torch.contiguous_format)


def working_dtype(x: Tensor) -> torch.dtype:
    """That of autocast, where it is on and would cast x."""
    kind = x.device.type
    casts = torch.is_autocast_enabled(kind) and x.dtype != torch.float64
    return torch.get_autocast_dtype(kind) if casts else x.dtype


@contextlib.contextmanager
def without_autocast(x: Tensor) -> Iterator[None]:
    """Whether there is any in a backward pass is left open: steps choose their dtypes themselves."""
    with torch.autocast(x.device.type, enabled=False):
        yield
