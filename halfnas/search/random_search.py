"""Random search without training: the baseline that every method must beat."""

from typing import Any

import torch

from halfnas.search.method import SearchMethod
from halfnas.spaces import Genotype, Mask, SearchSpace, sample_genotype
from halfnas.training import generator


class RandomSearch(SearchMethod):
    """An architecture drawn uniformly from what the mask leaves. Nothing is trained, and no image is looked at.

    Source: Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019.

    Args:
        space: what is searched.
        supernet: how others compute a supernet; here there is none.
        epochs, warmup_epochs, batch_size: as every method has them; without effect.
        seed: the architecture.
        cuda_graphs: without effect.
    """

    epochs = 0
    frozen_epochs = 0

    def __init__(
        self,
        space: SearchSpace,
        supernet: Any = None,
        *,
        epochs: int = 0,
        warmup_epochs: int = 0,
        batch_size: int = 1,
        seed: int = 0,
        cuda_graphs: str | bool = "auto",
    ) -> None:
        super().__init__()
        self._space = space
        self._seed = seed
        self._mask: Mask | None = None

    def begin(self, mask: Mask) -> None:
        self._mask = mask.ordered(self._space)

    @property
    def genotype(self) -> Genotype:
        assert self._mask is not None, "`begin` comes first"
        # A stream of its own: with the same seed a random mask says nothing of the architecture drawn from it.
        numbers = generator(self._seed, "random architecture", 0)
        return sample_genotype(self._space, self._mask, lambda: float(torch.rand((), generator=numbers)))
