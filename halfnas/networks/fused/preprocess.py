"""The layers through which a cell reads its inputs: ReLU, convolution, batch norm, as one step.

Letters as in the package docstring; C channels of the inputs together, C' of the output.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from halfnas.networks.fused.batch_norms import EPS, Moments, accurate, count_positions
from halfnas.networks.fused.convolutions import Geometry, aten, conv_backward, geometry_of
from halfnas.networks.fused.dense import corners, even
from halfnas.networks.fused.parts import relu_of_parts
from halfnas.networks.fused.step import Step, without_autocast, working_dtype
from halfnas.networks.joined import joined_moments, norm_backward, processes_of
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN


def preprocessed(
    module: ReLUConvBN | FactorizedReduce, parts: Sequence[Tensor]
) -> tuple[Tensor, nn.BatchNorm2d, Moments]:
    """What the module gives with the statistics of the batch; its batch norm, and what that saw.

    For the backward pass the parts and the output are kept.

    Args:
        module: how the cell reads one of its inputs.
        parts: the parts of that input, [B, ..., H, W] of C channels together.

    Returns:
        [B, C', H', W'], the batch norm, and its moments.
    """
    if isinstance(module, FactorizedReduce):
        geometry, norm = Geometry(2), module.bn
        weight = corners([module.conv_1.weight, module.conv_2.weight], 1)
    else:
        _, convolution, norm = cast(tuple[nn.ReLU, nn.Conv2d, nn.BatchNorm2d], module)
        geometry, weight = geometry_of(convolution), convolution.weight
    processes = processes_of(norm)
    output, mean, scale = ReluConvNorm.run(geometry, processes, weight, *parts)
    with torch.no_grad():
        variance = scale.pow(-2)
    return output, norm, Moments(mean[None], variance[None], processes * count_positions(output))


class ReluConvNorm(Step):
    """The batch norm of a convolution of a ReLU; gives its mean and 1 / sqrt(variance + eps), [C'] both, too.

    `processes`: the number of processes whose batches it sees as one.
    """

    @staticmethod
    def compute(geometry: Geometry, processes: int, weight: Tensor, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with without_autocast(weight):
            dtype = working_dtype(parts[0])
            if torch.compiler.is_compiling():
                active = torch.cat(list(parts), dim=1).relu().to(dtype)
            else:
                active = relu_of_parts(parts, dtype)
            if geometry.stride > 1:
                active = even(active)
            z = F.conv2d(active, weight.to(dtype), None, *geometry)
            count_positions(z)
            z = z.to(accurate(dtype))
            if processes > 1:
                mean, variance = joined_moments(z, processes)
                y, scale = F.batch_norm(z, mean, variance, eps=EPS), torch.rsqrt(variance + EPS)
            else:
                y, mean, scale = torch.native_batch_norm(z, None, None, None, None, True, 0.0, EPS)
            return y.to(dtype), mean, scale

    @staticmethod
    def forward(
        ctx: Any, geometry: Geometry, processes: int, weight: Tensor, *parts: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        y, mean, scale = ReluConvNorm.compute(geometry, processes, weight, *parts)
        ctx.mark_non_differentiable(mean, scale)
        ctx.set_materialize_grads(False)
        ctx.geometry, ctx.processes = geometry, processes
        ctx.save_for_backward(y, scale, weight, *parts)
        return y, mean, scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
        if grad_output is None:
            return tuple(None for _ in ctx.needs_input_grad)
        y, scale, weight, *parts = ctx.saved_tensors
        needs_parts = any(ctx.needs_input_grad[3:])
        with without_autocast(y):
            grad_y, wide_y = grad_output.to(scale.dtype), y.to(scale.dtype)
            if ctx.processes > 1:
                grad_z = norm_backward(grad_y, wide_y, scale, ctx.processes)[0]
            else:
                # As if y were what was normalised: its mean is 0 and its scale 1, and `scale` multiplies it.
                grad_z, _, _ = aten.native_batch_norm_backward(
                    grad_y, wide_y, scale, None, None,
                    torch.zeros_like(scale), torch.ones_like(scale), True, EPS, [True, False, False],
                )  # fmt: skip
            active = relu_of_parts(parts, y.dtype)
            read = even(active) if ctx.geometry.stride > 1 else active
            grad_read, grad_weight, _ = conv_backward(
                grad_z.to(y.dtype), read, weight.to(y.dtype), ctx.geometry,
                needed=(needs_parts, ctx.needs_input_grad[2], False),
            )  # fmt: skip
            if not needs_parts:
                return None, None, grad_weight, *(None for _ in parts)
            grad_active = grad_read[:, :, : active.shape[2], : active.shape[3]]
            aten.threshold_backward.grad_input(grad_active, active, 0, grad_input=grad_active)  # in place
        return None, None, grad_weight, *grad_active.split([part.shape[1] for part in parts], dim=1)
