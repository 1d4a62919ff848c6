"""The state of each stage after its last finished epoch."""

import os
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class StageCheckpoint(Checkpoint):
    """Keeps one file a stage, `<dirpath>/<stage>.ckpt`. Reads `stage` of the module; a stage without weights has none.

    Not Lightning's ModelCheckpoint, which skips an epoch in which none of its own optimisers has stepped; those of
    halfnas belong to plain torch.

    Args:
        dirpath: the folder.
    """

    def __init__(self, dirpath: str) -> None:
        self._dirpath = Path(dirpath)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file beside its place, then rename it: the last good one is never lost."""
        if next(pl_module.parameters(), None) is None:
            return
        path = self._dirpath / f"{pl_module.stage}.ckpt"
        beside = path.with_suffix(".tmp")
        trainer.save_checkpoint(beside)  # in every process: the first one writes
        if trainer.is_global_zero:
            os.replace(beside, path)
