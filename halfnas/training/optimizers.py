"""Optimisers whose learning rate is a tensor: a captured step sees it change, and no step waits for it."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def sgd(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, momentum: float, weight_decay: float
) -> torch.optim.SGD:
    """SGD without Nesterov, one kernel for all parameters; to the last bit what torch does one after the other."""
    parameters = list(parameters)
    rate = _tensor(learning_rate, parameters[0])
    return torch.optim.SGD(parameters, lr=rate, momentum=momentum, weight_decay=weight_decay, fused=True)


@torch.no_grad()
def begin_momentum(optimizer: torch.optim.SGD) -> None:
    """Give parameters their momentum that have a gradient for the first time, later than others.

    Torch (2.15) has one kernel for the first step of all and one for later steps, and none for both together. From 0
    a later step does what a first one does.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and optimizer.state[parameter].get("momentum_buffer") is None:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def adam(
    parameters: Iterable[nn.Parameter], *, learning_rate: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.Adam:
    """Adam; on CUDA one that can be captured, its number of steps a tensor too. Elsewhere torch refuses that flag."""
    parameters = list(parameters)
    rate = _tensor(learning_rate, parameters[0])
    capturable = parameters[0].device.type == "cuda"
    return torch.optim.Adam(
        parameters, lr=rate, betas=betas, weight_decay=weight_decay, fused=True, capturable=capturable
    )


@torch.no_grad()
def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate for the next steps, before the first of which a checkpoint may have brought its own.

    That one may have come from another device, whose optimisers can be captured or cannot.
    """
    for group in optimizer.param_groups:
        rate, parameter = group["lr"], group["params"][0]
        if "capturable" in group:
            group["capturable"] = parameter.device.type == "cuda"
        if isinstance(rate, Tensor) and rate.device == parameter.device:
            rate.fill_(value)
        else:
            group["lr"] = _tensor(value, parameter)


def cosine(epoch: int, epochs: int, first: float, last: float = 0.0) -> float:
    """The learning rate of an epoch (0-based), from `first` to `last`, which would be reached after the last epoch.

    Source: Loshchilov & Hutter, SGDR, ICLR 2017, without restarts; as CosineAnnealingLR stepped after every epoch.
    """
    return last + (first - last) * (1 + math.cos(math.pi * epoch / epochs)) / 2


def _tensor(value: float, parameter: nn.Parameter) -> Tensor:
    # CUDA's kernels read a float32, whatever the parameters are; elsewhere the rate is as exact as they are.
    dtype = torch.float32 if parameter.device.type == "cuda" else parameter.dtype
    return torch.tensor(value, dtype=dtype, device=parameter.device)
