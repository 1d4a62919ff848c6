"""history.csv: the learning curves of a run, whatever the logger."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from halfnas.runs.history import append_history


class HistoryFile(Checkpoint):
    """Adds a row after every epoch of every stage. Reads `stage` of the module.

    A `Checkpoint` because Lightning calls those last, when the module has logged what it logs at the end of an epoch.

    Args:
        path: the file.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation metrics of its own."""
        self._validated = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch's metrics; those of a validation in an earlier epoch are left out."""
        if not trainer.is_global_zero:
            return
        prefix = f"{pl_module.stage}/"
        row: dict[str, Any] = {"stage": pl_module.stage, "epoch": trainer.current_epoch}
        for key, value in trainer.callback_metrics.items():
            stale = key.removeprefix(prefix).startswith(("val_", "test_")) and not self._validated
            if key.startswith(prefix) and not stale:
                row[key] = float(value)
        append_history(self._path, row)
        self._validated = False
