"""The pruning stage as a LightningModule: one epoch, a training step is a repeat of the pruner."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from halfnas.pruning.pruner import Pruner
from halfnas.pruning.sample import split
from halfnas.spaces import Mask, SearchSpace


class PruningModule(LightningModule):
    """Runs a pruner over batches of training images. Nothing is trained, so there is no optimiser.

    Args:
        cuda_graphs: whether scores are captured, see `halfnas.training.Replay`.

    Attributes:
        stage: prefix of the metrics.
        epochs: 1, or 0 where the mask needs no data.
    """

    stage = "prune"

    def __init__(
        self,
        pruner: Pruner,
        space: SearchSpace,
        scoring_space: SearchSpace,
        *,
        ratio: float,
        seed: int,
        cuda_graphs: str | bool = "auto",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.pruner = pruner
        pruner.cuda_graphs = cuda_graphs
        pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
        self.epochs = min(pruner.max_steps, 1)

    @property
    def mask(self) -> Mask:
        """The mask so far; final after the last step."""
        return self.pruner.mask

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """None: candidates are rated, not trained."""
        return []

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Take a step of the pruner on `num_batches` batches, which arrive joined; stop when it is done."""
        images, labels = batch
        found = self.pruner.step(split(images, labels, self.pruner.batch_size))
        metrics = {f"prune/{name}": value for name, value in found.items()}
        self.log_dict(metrics, on_step=True, on_epoch=False, logger=False)
        for logger in self.loggers:  # every step: there are few
            logger.log_metrics(metrics, step=batch_idx)
        self.trainer.should_stop = self.pruner.done

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the pruner has found so far."""
        checkpoint["pruner"] = self.pruner.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the pruner go on from there."""
        self.pruner.load_state_dict(checkpoint["pruner"])

    def on_train_epoch_end(self) -> None:
        """Say how far the mask can be relied on."""
        self.log_dict({f"prune/{name}": value for name, value in self.pruner.metrics().items()})
