"""The pruning stage as a LightningModule: an epoch is a round, a training step one scoring network."""

from collections.abc import Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from halfnas.pruning.pruner import Pruner
from halfnas.pruning.ranking import Batch
from halfnas.spaces import Mask, SearchSpace


class PruningModule(LightningModule):
    """Runs a pruner over batches of training images. Nothing is trained, so there is no optimiser.

    Attributes:
        stage: prefix of the metrics.
        epochs: rounds of the pruner.
    """

    stage = "prune"

    def __init__(
        self, pruner: Pruner, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.pruner = pruner
        pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
        self.epochs = pruner.num_rounds

    @property
    def mask(self) -> Mask:
        """The mask so far; final after the last round."""
        return self.pruner.mask

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None: candidates are rated, not trained."""
        return []

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Score the candidates on one initialisation and `num_batches` batches, which arrive joined."""
        images, labels = batch
        size = self.pruner.batch_size
        batches = [Batch(*pair) for pair in zip(images.split(size), labels.split(size), strict=True)]
        for name, value in self.pruner.step(batches).items():
            self.log(f"prune/{name}", value, on_step=False, on_epoch=True, batch_size=len(images))
        kept = sum(len(edge) for edges in self.mask.kept.values() for edge in edges)
        self.log("prune/candidates_left", float(kept), on_step=True, on_epoch=False, batch_size=len(images))
