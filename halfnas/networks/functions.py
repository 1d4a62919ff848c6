"""Steps of the fused engine that keep less for their backward pass than autograd would by itself.

Each keeps a tensor that exists anyway, its input or its output, and computes the cheap part again: a ReLU, a copy, the
1x1 convolution in front of a depthwise one. They work in any memory format, and in the dtype of autocast.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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


class _Step(torch.autograd.Function):
    """A function with a backward pass of its own."""

    @staticmethod
    def compute(*inputs: Any) -> Any:
        """The function itself; what it returns beyond the outputs is for the backward pass."""
        raise NotImplementedError

    @classmethod
    def run(cls, *inputs: Any) -> Any:
        """Compiled, the backward pass is the compiler's, which also decides what is kept."""
        return cls.compute(*inputs) if torch.compiler.is_compiling() else cls.apply(*inputs)


# ------------------------------------------------------------------------------------------------------ convolutions


def relu_conv(parts: Sequence[Tensor], weight: Tensor, stride: int = 1) -> Tensor:
    """Convolution without padding of the ReLU of parts, concatenated over channels; keeps the parts.

    Parts [B, ..., H, W] of C channels together, weight [C', C, k, k] -> [B, C', H', W'].
    """
    return _ReluConv.run(Geometry(stride), weight, *parts)


class _ReluConv(_Step):
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
            for_active, for_weight, _ = _conv_backward(gradient, active, weight, ctx.geometry, groups=1)
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


class _ReluDepthwise(_Step):
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
            for_reads, for_weights = _depthwise_backward(gradients, _repeated(active, weights), weights, ctx.geometries)
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


class _PointwiseReluDepthwise(_Step):
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
            for_reads, for_weights = _depthwise_backward(
                gradients, _shared_out(active, weights), weights, ctx.geometries
            )
            for_product = aten.threshold_backward(torch.cat(for_reads, dim=1), active, 0)
            for_x, for_linear, for_bias = _conv_backward(
                for_product, x, linear, Geometry(), groups=_num_blocks(linear), needed=(True, True, True)
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
    gradients: Sequence[Tensor], reads: Sequence[Tensor], weights: Sequence[Tensor], geometries: Sequence[Geometry]
) -> tuple[list[Tensor], list[Tensor]]:
    """Gradients of what was read and of the weights."""
    for_reads, for_weights = [], []
    for gradient, read, weight, geometry in zip(gradients, reads, weights, geometries, strict=True):
        if read.device.type == "cpu":
            for_read, for_weight = _depthwise_backward_cpu(_dense(gradient), read, weight, geometry)
        else:
            for_read, for_weight, _ = _conv_backward(gradient, read, weight, geometry, groups=len(weight))
        for_reads.append(for_read)
        for_weights.append(for_weight)
    return for_reads, for_weights


def _depthwise_backward_cpu(
    gradient: Tensor, read: Tensor, weight: Tensor, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """The same several times faster: oneDNN has no fast backward pass for strides, nor for dilated convolutions.

    A strided convolution is one of stride 1 of which some outputs are dropped. The gradient of what such a one reads,
    with an odd kernel that leaves the size as it is, is a convolution again, with the kernel turned round.
    """
    if geometry.stride > 1:
        dropped = torch.zeros_like(read)
        dropped[:, :, :: geometry.stride, :: geometry.stride] = gradient
        gradient, geometry = dropped, geometry._replace(stride=1)
    for_read = F.conv2d(gradient, weight.flip(2, 3), None, *geometry, groups=len(weight))
    _, for_weight, _ = _conv_backward(gradient, read, weight, geometry, groups=len(weight), needed=(False, True, False))
    return for_read, for_weight


def _conv_backward(
    gradient: Tensor,
    read: Tensor,
    weight: Tensor,
    geometry: Geometry,
    *,
    groups: int,
    needed: tuple[bool, bool, bool] = (True, True, False),
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what was read, of the weight and of a bias, as far as `needed`."""
    stride, padding, dilation = ([size, size] for size in geometry)
    return aten.convolution_backward(
        gradient, read, weight, [len(weight)], stride, padding, dilation, False, [0, 0], groups, needed
    )


# -------------------------------------------------------------------------------------------------------- batch norms


def standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm without scale and shift; keeps its output, which is what its gradient is made of.

    Args:
        x: [B, C, H, W].

    Returns:
        The normalised x, and mean and variance [C] of the batch, without a gradient.
    """
    return _Standardize.run(x, eps)[:3]


class _Standardize(_Step):
    @staticmethod
    def compute(x: Tensor, eps: float) -> tuple[Tensor, ...]:
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(_accurate(x.dtype))
            variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
            scale = torch.rsqrt(variance + eps)
            y = ((wide - mean[:, None, None]) * scale[:, None, None]).to(x.dtype)
        return y, mean.detach(), variance.detach(), scale

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, ...]:
        y, mean, variance, scale = _Standardize.compute(x, eps)
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(y, scale)
        return y, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        y, scale = ctx.saved_tensors
        with torch.autocast(y.device.type, enabled=False):
            wide = gradient.to(scale.dtype)
            mean = (wide.mean(dim=(0, 2, 3)) * scale)[:, None, None]
            along = ((wide * y).mean(dim=(0, 2, 3)) * scale)[:, None, None]
            for_x = (wide * scale[:, None, None]).sub_(y * along).sub_(mean)
        return for_x.to(gradient.dtype), None


def fold_batch_norm(features: Tensor, linear: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The linear map that a 1x1 convolution and a batch norm make together. Keeps `features`.

    With mu and S the mean and covariance of features x over images and positions, z = A x has the mean A mu and the
    variances diag(A S A^T). So a batch norm without scale and shift of z is a linear map of x again,

        BN(A x) = D A x - D A mu        with D = diag(1 / sqrt(diag(A S A^T) + eps))

    and z itself is not needed, neither here nor in the backward pass: the gradient through the statistics of the batch
    is that through mu and S.

    Args:
        features: [B, m * w, H, W], m blocks of channels.
        linear: A of the first n <= m blocks, [n, c, w].

    Returns:
        D A [n, c, w] and -D A mu [n, c]; mean and variance [n, c] of z in the batch, without a gradient.
    """
    return _FoldBatchNorm.run(features, linear.to(_accurate(linear.dtype)), eps)[:4]


class _FoldBatchNorm(_Step):
    @staticmethod
    def compute(features: Tensor, linear: Tensor, eps: float) -> tuple[Tensor, ...]:
        n, _, w = linear.shape
        with torch.autocast(features.device.type, enabled=False):
            mean_MW, covariance_MWW = _moments(features.to(linear.dtype), w)
            mean_N1W, covariance = mean_MW[:n, None], covariance_MWW[:n]
            product = linear @ covariance
            variance = (product * linear).sum(dim=2)
            mean = (linear * mean_N1W).sum(dim=2)
            scale = torch.rsqrt(variance + eps)
        return linear * scale[..., None], -mean * scale, mean.detach(), variance.detach(), mean_N1W, product, scale

    @staticmethod
    def forward(ctx: Any, features: Tensor, linear: Tensor, eps: float) -> tuple[Tensor, ...]:
        folded, bias, mean, variance, *rest = _FoldBatchNorm.compute(features, linear, eps)
        ctx.mark_non_differentiable(mean, variance)
        ctx.save_for_backward(features, linear, mean, *rest)
        return folded, bias, mean, variance

    @staticmethod
    def backward(ctx: Any, for_folded: Tensor, for_bias: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        features, linear, mean, mean_N1W, product, scale = ctx.saved_tensors
        with torch.autocast(features.device.type, enabled=False):
            for_scale = (for_folded * linear).sum(dim=2) - for_bias * mean
            for_mean = (-for_bias * scale)[..., None]
            for_variance = (-0.5 * scale**3 * for_scale)[..., None]
            for_linear = for_folded * scale[..., None] + for_mean * mean_N1W + 2 * for_variance * product
            # mu and S are means over positions: d mu / dx = 1 / count and d S / dx = (x - mu) / count, twice.
            count = features.numel() // features.shape[1]
            quadratic = linear.mT @ (2 / count * for_variance * linear)
            shift = (for_mean / count * linear).sum(dim=1) - (mean_N1W @ quadratic)[:, 0]
            w = linear.shape[2]
            unused = features.shape[1] // w - len(linear)
            for_features = F.conv2d(
                features.to(linear.dtype),
                F.pad(quadratic, (0, 0, 0, 0, 0, unused)).flatten(0, 1)[..., None, None],
                F.pad(shift, (0, 0, 0, unused)).flatten(),
                groups=len(linear) + unused,
            )
        return for_features.to(features.dtype), for_linear, None


def _moments(features: Tensor, w: int) -> tuple[Tensor, Tensor]:
    """Mean [m, w] and covariance [m, w, w] of m blocks of w channels."""
    mean = features.mean(dim=(0, 2, 3))
    centred = features - mean[:, None, None]  # products less the product of means would cancel
    if centred.is_contiguous():
        blocks = centred.unflatten(1, (-1, w)).flatten(3)  # [B, m, w, positions]
        products = (blocks @ blocks.mT).sum(dim=0)
    else:  # channels last
        blocks = centred.permute(0, 2, 3, 1).flatten(0, 2).unflatten(1, (-1, w)).permute(1, 2, 0)  # [m, w, positions]
        products = blocks @ blocks.mT
    return mean.unflatten(0, (-1, w)), products / (features.numel() // features.shape[1])


# ------------------------------------------------------------------------------------------------------------ helpers


@contextlib.contextmanager
def _in_dtype_of(gradient: Tensor, *tensors: Tensor) -> Iterator[list[Tensor]]:
    """Tensors in the dtype of a gradient, and no autocast: whether there is any in a backward pass is left open."""
    with torch.autocast(gradient.device.type, enabled=False):
        yield [tensor.to(gradient.dtype) for tensor in tensors]


def _accurate(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics: at least float32."""
    return torch.promote_types(dtype, torch.float32)


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
