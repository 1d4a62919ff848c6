"""Batch norms without scale and shift that keep nothing but what they give, or nothing of their own at all."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from halfnas.networks.step import Step


def standardize(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Batch norm without scale and shift; keeps its output, which is what its gradient is made of.

    Args:
        x: [B, C, H, W].

    Returns:
        The normalised x, and mean and variance [C] of the batch, without a gradient.
    """
    return _Standardize.run(x, eps)[:3]


class _Standardize(Step):
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


class _FoldBatchNorm(Step):
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
    def backward(ctx: Any, for_folded: Tensor, for_bias: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        features, linear, mean, mean_N1W, product, scale = ctx.saved_tensors
        with torch.autocast(features.device.type, enabled=False):
            for_scale = (for_folded * linear).sum(dim=2) - for_bias * mean
            for_mean = (-for_bias * scale)[..., None]
            for_variance = (-0.5 * scale**3 * for_scale)[..., None]
            for_linear = None
            if ctx.needs_input_grad[1]:
                for_linear = for_folded * scale[..., None] + for_mean * mean_N1W + 2 * for_variance * product
            if not ctx.needs_input_grad[0]:
                return None, for_linear, None
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


def _accurate(dtype: torch.dtype) -> torch.dtype:
    """The dtype for statistics: at least float32."""
    return torch.promote_types(dtype, torch.float32)
