"""What the processes of a distributed run tell each other; with one process nothing is told."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, distributed, nn


def num_processes() -> int:
    """The processes of the run."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gathered(mine: Sequence[Any]) -> list[Any]:
    """Join the lists of all processes, in the order of their ranks; every process has to call it.

    Args:
        mine: what this process has, picklable; any number of things.
    """
    if num_processes() == 1:
        return list(mine)
    found: list[Sequence[Any]] = [()] * num_processes()
    distributed.all_gather_object(found, mine)
    return [each for part in found for each in part]


def averaged(backward: Callable[[Tensor], None], parameters: Iterable[nn.Parameter]) -> Callable[[Tensor], None]:
    """A backward pass after which every process has the mean of the gradients of all.

    That is the gradient of their joined batch, as they have as many images each. Parameters that took no part have no
    gradient; they have to be the same in every process. All others are averaged in one go a dtype, after the pass, as
    the networks are small and a step may have several passes.

    Args:
        backward: computes the gradients of a loss.
        parameters: all that may have gradients.
    """
    parameters = list(parameters)

    def pass_and_average(loss: Tensor) -> None:
        backward(loss)
        if num_processes() > 1:
            _average([p.grad for p in parameters if p.grad is not None])

    return pass_and_average


@torch.no_grad()
def _average(gradients: Sequence[Tensor]) -> None:
    by_dtype: dict[torch.dtype, list[Tensor]] = {}
    for gradient in gradients:
        by_dtype.setdefault(gradient.dtype, []).append(gradient)
    for alike in by_dtype.values():
        together = torch.cat([gradient.flatten() for gradient in alike])
        distributed.all_reduce(together)
        parts = together.div_(num_processes()).split([gradient.numel() for gradient in alike])
        torch._foreach_copy_(alike, [part.view_as(gradient) for part, gradient in zip(parts, alike, strict=True)])
