"""Convolutions of a ReLU, alone and many depthwise ones at once, that keep nothing but what they read."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from halfnas.networks.step import Step

aten = torch.ops.aten


class Geometry(NamedTuple):
    """Of a convolution with a square kernel."""

    stride: int = 1
    padding: int = 0
    dilation: int = 1


def relu_conv(parts: Sequence[Tensor], weight: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolution of the ReLU of parts, concatenated over channels; keeps the parts.

    Parts [B, ..., H, W] of C channels together, weight [C', C, k, k] -> [B, C', H', W'].
    """
    return _ReluConv.run(Geometry(stride, padding), weight, *parts)


class _ReluConv(Step):
    @staticmethod
    def compute(geometry: Geometry, weight: Tensor, *parts: Tensor) -> Tensor:
        return F.conv2d(torch.cat(parts, dim=1).relu(), weight, None, *geometry)

    @staticmethod
    def forward(ctx: Any, geometry: Geometry, *tensors: Tensor) -> Tensor:
        ctx.geometry = geometry
        ctx.save_for_backward(*tensors)
        return _ReluConv.compute(geometry, *tensors)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with _in_dtype_of(gradient, *ctx.saved_tensors) as (weight, *parts):
            active = torch.cat(parts, dim=1).relu_()
            needs_parts = any(ctx.needs_input_grad[2:])
            for_active, for_weight, _ = _conv_backward(
                gradient, active, weight, ctx.geometry, groups=1, needed=(needs_parts, ctx.needs_input_grad[1], False)
            )
            if not needs_parts:
                return None, for_weight, *(None for _ in parts)
            for_parts = aten.threshold_backward(for_active, active, 0).split([p.shape[1] for p in parts], dim=1)
        return None, for_weight, *for_parts


def relu_depthwise(x: Tensor, weights: Sequence[Tensor], geometries: Sequence[Geometry]) -> tuple[Tensor, ...]:
    """Depthwise convolutions of relu(x); keeps x.

    Args:
        x: [B, C, H, W].
        weights: of each convolution, [n * C, 1, k, k]: n filters a channel, the first ones of all channels, then the
            second ones. n may differ.

    Returns:
        The output of each, [B, n * C, H', W'].
    """
    return _ReluDepthwise.run(geometries, x, *weights)


class _ReluDepthwise(Step):
    @staticmethod
    def compute(geometries: Sequence[Geometry], x: Tensor, *weights: Tensor) -> tuple[Tensor, ...]:
        return _depthwise(_repeated(x.relu(), weights), weights, geometries)

    @staticmethod
    def forward(ctx: Any, geometries: Sequence[Geometry], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.geometries = geometries
        ctx.save_for_backward(*tensors)
        return _ReluDepthwise.compute(geometries, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with _in_dtype_of(gradients[0], *ctx.saved_tensors) as (x, *weights):
            active = x.relu()
            needed = ctx.needs_input_grad[1], any(ctx.needs_input_grad[2:])
            for_reads, for_weights = _depthwise_backward(
                gradients, _repeated(active, weights), weights, ctx.geometries, needed
            )
            if not needed[0]:
                return None, None, *for_weights
            for_active = _sum(part for read in for_reads for part in read.split(x.shape[1], dim=1))
            for_x = aten.threshold_backward(for_active, active, 0)
        return None, for_x, *for_weights


def pointwise_relu_depthwise(
    x: Tensor, linear: Tensor, bias: Tensor, weights: Sequence[Tensor], geometries: Sequence[Geometry]
) -> tuple[Tensor, ...]:
    """Depthwise convolutions of relu(linear x + bias); keeps x.

    Args:
        x: [B, n * c, H, W], n blocks of channels.
        linear: [n, c, c], a 1x1 convolution of each block.
        bias: [n, c].
        weights: of each convolution, [m * c, 1, k, k]: they share the n blocks out among themselves, in order.

    Returns:
        The output of each, [B, m * c, H', W'].
    """
    return _PointwiseReluDepthwise.run(geometries, x, linear.flatten(0, 1)[..., None, None], bias.flatten(), *weights)


class _PointwiseReluDepthwise(Step):
    @staticmethod
    def compute(
        geometries: Sequence[Geometry], x: Tensor, linear: Tensor, bias: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        active = F.conv2d(x, linear, bias, groups=_num_blocks(linear)).relu()
        return _depthwise(_shared_out(active, weights), weights, geometries)

    @staticmethod
    def forward(ctx: Any, geometries: Sequence[Geometry], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.geometries = geometries
        ctx.save_for_backward(*tensors)
        return _PointwiseReluDepthwise.compute(geometries, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with _in_dtype_of(gradients[0], *ctx.saved_tensors) as (x, linear, bias, *weights):
            active = F.conv2d(x, linear, bias, groups=_num_blocks(linear)).relu_()
            needed = any(ctx.needs_input_grad[1:4]), any(ctx.needs_input_grad[4:])
            for_reads, for_weights = _depthwise_backward(
                gradients, _shared_out(active, weights), weights, ctx.geometries, needed
            )
            if not needed[0]:
                return None, None, None, None, *for_weights
            for_product = aten.threshold_backward(torch.cat(for_reads, dim=1), active, 0)
            for_x, for_linear, for_bias = _conv_backward(
                for_product, x, linear, Geometry(), groups=_num_blocks(linear), needed=ctx.needs_input_grad[1:4]
            )
        return None, for_x, for_linear, for_bias, *for_weights


def _num_blocks(linear: Tensor) -> int:
    return linear.shape[0] // linear.shape[1]


def _repeated(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """What each convolution reads where all of them read every channel."""
    repeats = [len(weight) // x.shape[1] for weight in weights]
    return [torch.cat([x] * n, dim=1) if n > 1 else x for n in repeats]


def _shared_out(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """What each convolution reads where each has channels of its own."""
    return [_dense(part) for part in x.split([len(weight) for weight in weights], dim=1)]


def _depthwise(
    reads: Sequence[Tensor], weights: Sequence[Tensor], geometries: Sequence[Geometry]
) -> tuple[Tensor, ...]:
    return tuple(
        F.conv2d(read, weight, None, *geometry, groups=len(weight))
        for read, weight, geometry in zip(reads, weights, geometries, strict=True)
    )


def _depthwise_backward(
    gradients: Sequence[Tensor],
    reads: Sequence[Tensor],
    weights: Sequence[Tensor],
    geometries: Sequence[Geometry],
    needed: tuple[bool, bool],
) -> tuple[list[Any], list[Any]]:
    """Gradients of what was read and of the weights, as far as `needed`; the others are None."""
    for_reads, for_weights = [], []
    for gradient, read, weight, geometry in zip(gradients, reads, weights, geometries, strict=True):
        if read.device.type == "cpu":
            for_read, for_weight = _depthwise_backward_cpu(_dense(gradient), read, weight, geometry, needed)
        else:
            for_read, for_weight, _ = _conv_backward(
                gradient, read, weight, geometry, groups=len(weight), needed=(*needed, False)
            )
        for_reads.append(for_read)
        for_weights.append(for_weight)
    return for_reads, for_weights


def _depthwise_backward_cpu(
    gradient: Tensor, read: Tensor, weight: Tensor, geometry: Geometry, needed: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The same several times faster: oneDNN has no fast backward pass for strides, nor for dilated convolutions.

    A strided convolution is one of stride 1 of which some outputs are dropped. The gradient of what such a one reads,
    with an odd kernel that leaves the size as it is, is a convolution again, with the kernel turned round.
    """
    if geometry.stride > 1:
        dropped = torch.zeros_like(read)
        dropped[:, :, :: geometry.stride, :: geometry.stride] = gradient
        gradient, geometry = dropped, geometry._replace(stride=1)
    for_read, for_weight = None, None
    if needed[0]:
        for_read = F.conv2d(gradient, weight.flip(2, 3), None, *geometry, groups=len(weight))
    if needed[1]:
        mask = (False, True, False)
        _, for_weight, _ = _conv_backward(gradient, read, weight, geometry, groups=len(weight), needed=mask)
    return for_read, for_weight


def _conv_backward(
    gradient: Tensor,
    read: Tensor,
    weight: Tensor,
    geometry: Geometry,
    *,
    groups: int,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what was read, of the weight and of a bias, as far as `needed`."""
    stride, padding, dilation = ([size, size] for size in geometry)
    return aten.convolution_backward(
        gradient, read, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, needed
    )


@contextlib.contextmanager
def _in_dtype_of(gradient: Tensor, *tensors: Tensor) -> Iterator[list[Tensor]]:
    """Tensors in the dtype of a gradient, and no autocast: whether there is any in a backward pass is left open."""
    with torch.autocast(gradient.device.type, enabled=False):
        yield [tensor.to(gradient.dtype) for tensor in tensors]


def _dense(x: Tensor) -> Tensor:
    """Without gaps, in the memory format that it nearly has."""
    return x.contiguous(memory_format=torch.channels_last if x.stride(1) == 1 else torch.contiguous_format)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    total, *rest = parts
    if rest:
        total = total + rest[0]
        for part in rest[1:]:
            total += part
    return total
