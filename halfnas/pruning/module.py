"""The pruning stage as a LightningModule: one epoch, a training step is a step of the pruner, of each process one."""

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from halfnas.pruning.pruner import Pruner
from halfnas.pruning.sample import split
from halfnas.spaces import Mask, SearchSpace
from halfnas.training import gathered


class PruningModule(LightningModule):
    """Runs a pruner over batches of training images. Nothing is trained, so there is no optimiser.

    Several processes rate other steps each, and take the ratings of all: each has the mask of one process alone.

    Args:
        cuda_graphs: whether scores are captured, see `halfnas.training.Replay`.

    Attributes:
        stage: prefix of the metrics.
        epochs: 1, or 0 where the mask needs no data.
        saved_after_steps: what has been found is saved after every step, see `halfnas.callbacks.StageCheckpoint`.
    """

    stage = "prune"
    saved_after_steps = True

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
        """Rate a step of the pruner and take those of all processes; stop when it is done.

        Args:
            batch: the `num_batches` batches of the step of this process, joined. The first process has those of the
                next step, the second one those of the step after it.
        """
        pruner = self.pruner
        images, labels = batch
        batches = split(images, labels, pruner.batch_size)
        mine = pruner.steps_taken + self.global_rank
        last = pruner.steps_taken + self.trainer.world_size
        # Where a step is not ready before others are taken, there is another turn.
        while pruner.steps_taken < last and not pruner.done:
            ready = range(pruner.steps_taken, pruner.steps_ready)
            for rating in gathered([pruner.rate(mine, batches)] if mine in ready else []):
                if not pruner.done:
                    self._log(pruner.take(rating), on_epoch=False)  # every step: there are few
        self.trainer.should_stop = pruner.done

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the pruner has found so far."""
        checkpoint["pruner"] = self.pruner.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the pruner go on from there."""
        self.pruner.load_state_dict(checkpoint["pruner"])

    def on_train_epoch_end(self) -> None:
        """Say how far the mask can be relied on."""
        self._log(self.pruner.metrics(), on_epoch=True)

    def _log(self, metrics: dict[str, float], *, on_epoch: bool) -> None:
        """Log what the step that was taken last has found, or all steps up to it, whichever process rated them."""
        named = {f"prune/{name}": value for name, value in metrics.items()}
        self.log_dict(named, logger=False, on_step=not on_epoch, on_epoch=on_epoch)
        for logger in self.loggers:
            logger.log_metrics(named, step=self.pruner.steps_taken - 1)
