"""Batch norms of several processes that see their joined batch, as one process with all of its images would.

Torch's own (SyncBatchNorm) works on GPUs alone, and replaces modules whose statistics the fused engine keeps up.
Processes have as many images each. What is added up over processes is a differentiable function of what each of them
has: its backward pass adds up gradients likewise, and gradients are those of the sum of the losses of all processes.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.training import num_processes


class JoinedNorm(_BatchNorm):
    """A batch norm that, in training, uses the statistics of the joined batch."""

    def forward(self, x: Tensor) -> Tensor:
        processes = processes_of(self)
        if processes == 1:
            return super().forward(x)
        self._check_input_dim(x)
        output, mean, variance = JoinedStep.apply(x, self.weight, self.bias, self.eps, processes)
        if self.track_running_stats:
            self._remember(mean, variance, processes * x.numel() // x.shape[1])
        return output

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, positions: int) -> None:
        counter, factor = self.num_batches_tracked, self.momentum
        if counter is not None:  # it is hidden where a pass is not to be remembered
            counter.add_(1)
        running_mean, running_var = cast(Tensor, self.running_mean), cast(Tensor, self.running_var)
        weight = running_mean.new_tensor(factor) if factor is not None else 1 / cast(Tensor, counter)
        running_mean.lerp_(mean.to(running_mean), weight.to(running_mean))
        running_var.lerp_((variance * (positions / (positions - 1))).to(running_var), weight.to(running_var))


class _Joined1d(JoinedNorm, nn.BatchNorm1d):
    pass


class _Joined2d(JoinedNorm, nn.BatchNorm2d):
    pass


class _Joined3d(JoinedNorm, nn.BatchNorm3d):
    pass


_JOINED: dict[type[_BatchNorm], type[JoinedNorm]] = {
    nn.BatchNorm1d: _Joined1d,
    nn.BatchNorm2d: _Joined2d,
    nn.BatchNorm3d: _Joined3d,
}


class JoinedNorms:
    """Joins the batch norms of a module while it is trained, as a LayerSync of Lightning.

    They stay the objects that they are: the fused engine knows them too.
    """

    def apply(self, model: nn.Module) -> nn.Module:
        """Join them.

        Raises:
            ValueError: parts of the module are compiled.
        """
        if num_processes() > 1 and any(getattr(part, "compiled", False) is True for part in model.modules()):
            raise ValueError(
                "`supernet.compile=true` does not go with batch norms of several processes; use supernet.compile=false "
                "or trainer.sync_batchnorm=false"
            )
        return _exchanged(model, _JOINED)

    def revert(self, model: nn.Module) -> nn.Module:
        """Let every process have its own statistics again."""
        return _exchanged(model, {joined: plain for plain, joined in _JOINED.items()})


def _exchanged(model: nn.Module, classes: Any) -> nn.Module:
    for part in model.modules():
        if type(part) in classes:
            part.__class__ = classes[type(part)]
    return model


def processes_of(norm: nn.Module) -> int:
    """The number of processes whose batches a batch norm sees as one."""
    return num_processes() if isinstance(norm, JoinedNorm) and norm.training else 1


def over_processes(x: Tensor, processes: int) -> Tensor:
    """The sum of the tensors of so many processes; without gradient."""
    if processes > 1:
        x = x.contiguous()
        distributed.all_reduce(x)
    return x


def mean_over_processes(x: Tensor, processes: int) -> Tensor:
    """The mean of the tensors of so many processes; without gradient."""
    return over_processes(x, processes) / processes if processes > 1 else x


def joined_moments(x: Tensor, processes: int) -> tuple[Tensor, Tensor]:
    """Mean and variance (divided by the number of positions) of the channels of x [B, C, ...] in all processes."""
    variance, mean = torch.var_mean(x.to(torch.promote_types(x.dtype, torch.float32)), _axes(x), correction=0)
    own = torch.stack([mean, variance])
    parts = [torch.empty_like(own) for _ in range(processes)]
    distributed.all_gather(parts, own)
    means, variances = torch.stack(parts).unbind(dim=1)
    mean = means.mean(dim=0)
    return mean, variances.mean(dim=0) + (means - mean).square().mean(dim=0)


def norm_backward(
    gradient: Tensor, normalized: Tensor, factor: Tensor, processes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient of x, where `normalized` is (x - mean) / std.

    Args:
        gradient: of the output, [B, C, ...].
        normalized: [B, C, ...].
        factor: scale / std, [C].

    Returns:
        The gradient of x, and those of scale and shift that come from the output of this process, [C].
    """
    axes, shape = _axes(gradient), _shape(gradient)
    for_shift, for_scale = gradient.sum(axes), (gradient * normalized).sum(axes)
    positions = processes * gradient.numel() // gradient.shape[1]
    mean, along = (over_processes(torch.stack([for_shift, for_scale]), processes) / positions).view(2, *shape)
    return (gradient - mean - normalized * along) * factor.view(shape), for_scale, for_shift


class JoinedStep(torch.autograd.Function):
    """Batch norm with the statistics of the joined batch; gives them, mean and variance [C], too."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, processes: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = joined_moments(x, processes)
        scale, shift = (None if part is None else part.to(mean) for part in (weight, bias))
        ctx.save_for_backward(x, mean, torch.rsqrt(variance + eps), scale)
        ctx.processes = processes
        ctx.dtypes = [None if part is None else part.dtype for part in (weight, bias)]
        ctx.mark_non_differentiable(mean, variance)
        ctx.set_materialize_grads(False)
        return F.batch_norm(x, mean, variance, scale, shift, training=False, eps=eps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, mean, invstd, scale = ctx.saved_tensors
        shape = _shape(x)
        normalized = (x.to(mean.dtype) - mean.view(shape)) * invstd.view(shape)
        factor = invstd if scale is None else invstd * scale
        grad_x, *others = norm_backward(gradient.to(mean.dtype), normalized, factor, ctx.processes)
        for_parameters = [
            None if dtype is None else part.to(dtype) for dtype, part in zip(ctx.dtypes, others, strict=True)
        ]
        return grad_x.to(x.dtype), *for_parameters, None, None


def _axes(x: Tensor) -> list[int]:
    return [0, *range(2, x.dim())]


def _shape(x: Tensor) -> Sequence[int]:
    return (1, -1, *[1] * (x.dim() - 2))
