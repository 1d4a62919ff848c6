"""Random search with weight sharing: single paths are trained, then the best of many is taken."""

import logging
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Unpack

import torch
from pydantic import Field
from torch import Tensor

from halfnas.search.path import RandomPath, path
from halfnas.search.step import WeightStep
from halfnas.search.supernet_search import SupernetSearch, WeightTraining
from halfnas.spaces import Genotype, SearchSpace, sample_genotype
from halfnas.training import gathered, generator

log = logging.getLogger(__name__)


class RandomWS(SupernetSearch):
    """Every step trains the weights of one architecture drawn uniformly; nothing else of the supernet is computed.

    After the last epoch `samples` architectures are drawn, and rated by their accuracy in the supernet on some batches
    of the second half, the same for all; the best of these are rated on the whole half, and the best one is taken.

    Source: Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, and
    liamcli/randomNAS_release, searchers/random_weight_share.py, whose batches differ from sample to sample and are
    augmented.

    Args:
        space: what is searched.
        supernet: how the supernet is computed, see `build_supernet`.
        warmup_epochs: as every method has them; without effect, as there is no architecture to train.
        samples: architectures that are rated.
        sample_batches: batches of the first rating, spread over the second half.
        finalists: architectures rated on the whole half.
        training: how the weights are trained.
    """

    def __init__(
        self,
        space: SearchSpace,
        supernet: Mapping[str, Any],
        *,
        warmup_epochs: int = 0,
        samples: Annotated[int, Field(ge=1, description="one of them is taken")],
        sample_batches: Annotated[int, Field(ge=1, description="they are rated on these")],
        finalists: Annotated[int, Field(ge=1, description="one of them is taken")],
        **training: Unpack[WeightTraining],
    ) -> None:
        super().__init__(space, supernet, relaxation=RandomPath(), **training)
        self.frozen_epochs = self.epochs
        self.samples = samples
        self.sample_batches = sample_batches
        self.finalists = finalists
        self._best: tuple[Genotype, float] | None = None

    @property
    def genotype(self) -> Genotype:
        assert self._best is not None, "it is chosen after the last epoch"
        return self._best[0]

    def metrics(self) -> dict[str, float]:
        """K, and the accuracy on the whole second half of the architecture that was taken."""
        return super().metrics() | ({} if self._best is None else {"search/best_val_acc": self._best[1]})

    def make_step(self, weights: torch.optim.SGD) -> WeightStep:
        return WeightStep(
            self.supernet,
            weights,
            gradient_clip=self.gradient_clip,
            relaxation=self.relaxation,
            seed=self.seed,
            backward=self.backward_pass,
        )

    @torch.no_grad()
    def on_train_end(self) -> None:
        """Choose."""
        self.supernet.eval()
        loader = self.trainer.datamodule.val_dataloader()  # type: ignore[attr-defined]
        every = max(gathered([len(loader)]))  # one of several processes may have no part of the last batch
        count = min(self.sample_batches, every)
        numbers = generator(self.seed, "architectures to choose from", 0)
        drawn = [self._draw(numbers) for _ in range(self.samples)]
        log.info("%d architectures are rated on %d of %d batches each", self.samples, count, every)
        some = [batch for number, batch in enumerate(loader) if number * count % every < count]
        rated = {genotype: self._accuracy(genotype, some) for genotype in drawn}
        best = sorted(rated, key=lambda genotype: -rated[genotype])[: self.finalists]
        finals = {genotype: self._accuracy(genotype, loader) for genotype in best}
        self._best = max(finals.items(), key=lambda item: item[1])
        self.supernet.train()

    def _draw(self, numbers: torch.Generator) -> Genotype:
        return sample_genotype(
            self._space, self.supernet.mask, lambda: float(torch.rand((), generator=numbers, dtype=torch.float64))
        )

    def _accuracy(self, genotype: Genotype, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        """That of one architecture, with the weights of the supernet."""
        mixing = path(self.supernet, genotype)
        precision = self.trainer.precision_plugin
        right = torch.zeros(2, device=self.device)
        for batch in batches:
            images, labels = precision.convert_input(batch)
            with precision.forward_context():
                logits = self.supernet(images, mixing)
            right += torch.stack([logits.argmax(dim=1).eq(labels).sum(), labels.new_tensor(len(labels))])
        total: Tensor = self.trainer.strategy.reduce(right, reduce_op="sum")
        return float(total[0] / total[1])
