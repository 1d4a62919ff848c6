"""How architecture parameters become the weights of a mixture. A new method is a class here and a yaml."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from halfnas.networks import Mixing, Supernet


class Relaxation(nn.Module, ABC):
    """The weights of all candidates from the supernet's architecture parameters, differentiable.

    What changes from epoch to epoch, such as a temperature, is a buffer: it moves to the device of the supernet, a
    checkpoint has it, and a captured step sees it change. What is random comes from `draw`, which depends on the seed,
    the epoch and the number of the step alone.

    Attributes:
        captures: whether a step may be captured into a CUDA graph. A relaxation that looks at values on the host, to
            pick the candidates that are computed, sets it to False, and steps run as they are.
    """

    captures: ClassVar[bool] = True

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set what changes, before the first step of `epoch` (0-based) of `epochs`; buffers are changed in place."""

    def draw(self, supernet: Supernet, generator: torch.Generator) -> Tensor | None:
        """Draw what one forward pass needs of chance, on the CPU and always in the same shape; None for nothing.

        The two passes of a search step, which train the architecture and the weights, have draws of their own.
        """
        return None

    @abstractmethod
    def forward(self, supernet: Supernet, noise: Tensor | None = None) -> Mapping[str, Mixing]:
        """Kind of cell -> its weights, and the candidates of it that are computed.

        Args:
            noise: what `draw` gave: on the device of the supernet, or where `captures` is False still on the CPU.
        """

    def validated(self, supernet: Supernet, noise: Tensor | None = None) -> Mapping[str, Mixing]:
        """The weights with which the supernet is validated: by default the softmax over all candidates.

        A relaxation that trains one candidate at a time validates one at a time.
        """
        return supernet.mixing()


class Softmax(Relaxation):
    """Eq. 1 of arXiv 2505.13586: the softmax over the kept candidates of every edge, as in DARTS and PC-DARTS."""

    def forward(self, supernet: Supernet, noise: Tensor | None = None) -> Mapping[str, Mixing]:
        """Kind of cell -> its weights."""
        return supernet.mixing()


def draw(relaxation: Relaxation, supernet: Supernet, generator: torch.Generator) -> Tensor | None:
    """The noise of one forward pass, on the device where the relaxation wants to have it; None for none."""
    noise = relaxation.draw(supernet, generator)
    if noise is None or not relaxation.captures:
        return noise
    return noise.to(supernet.architecture_parameters()[0].device)
