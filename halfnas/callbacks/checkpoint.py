"""The state of each stage after its last finished epoch."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint


class StageCheckpoint(ModelCheckpoint):
    """Keeps one file a stage, `<dirpath>/<stage>.ckpt`. Reads `stage` of the module; a stage without weights has none.

    Args:
        dirpath: the folder.
    """

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath=dirpath, save_top_k=1, monitor=None, save_on_train_epoch_end=True, enable_version_counter=False
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Name the file after the stage."""
        self.filename = str(pl_module.stage)
        self._has_weights = any(True for _ in pl_module.parameters())
        super().setup(trainer, pl_module, stage)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save, unless there is nothing to save."""
        if self._has_weights:
            super().on_train_epoch_end(trainer, pl_module)

    def _should_save_on_train_epoch_end(self, trainer: Trainer) -> Any:
        return self._has_weights
