"""How architecture parameters become the weights of a mixture."""

from collections.abc import Mapping
from typing import Protocol

from halfnas.networks import Mixing, Supernet


class Relaxation(Protocol):
    """The weights of all candidates from the supernet's architecture parameters, differentiable."""

    def __call__(self, supernet: Supernet) -> Mapping[str, Mixing]:
        """Kind of cell -> its weights."""
        ...


class Softmax:
    """Eq. 1 of arXiv 2505.13586: the softmax over the kept candidates of every edge, as in DARTS and PC-DARTS."""

    def __call__(self, supernet: Supernet) -> Mapping[str, Mixing]:
        """Kind of cell -> its weights."""
        return supernet.mixing()
