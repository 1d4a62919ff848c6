"""How long a step of a stage takes."""

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class StepTimer(Callback):
    """Logs `<stage>/step_ms`, each epoch: wall time from its first step to its last over their number.

    Waiting for images is part of it, validation and compilation are not. For modules with a `loss(images, labels)`.
    """

    def __init__(self) -> None:
        self._start = self._milliseconds = 0.0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Start the clock with the epoch."""
        if batch_idx == 0:
            _synchronize(pl_module.device)
            self._start = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop it after the last step."""
        if trainer.is_last_batch:
            _synchronize(pl_module.device)
            self._milliseconds = 1e3 * (time.perf_counter() - self._start) / (batch_idx + 1)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the time."""
        if hasattr(pl_module, "loss"):
            pl_module.log(f"{pl_module.stage}/step_ms", self._milliseconds)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
