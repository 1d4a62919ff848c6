"""The state of each stage after its last finished epochs, to go on from."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from halfnas.runs.checkpoints import HEADER, Header, next_checkpoint, previous, save_state


class StageCheckpoint(Checkpoint):
    """Keeps two files a stage, `<dirpath>/<stage>.ckpt` and, one epoch older, `<stage>-previous.ckpt`.

    A module with `saved_after_steps`, whose one epoch is long and changes no weights, is saved after every step.

    Not Lightning's ModelCheckpoint, which skips an epoch in which none of its own optimisers has stepped, and whose
    writer copies over the last good file.

    Args:
        dirpath: the folder.
    """

    def __init__(self, dirpath: str) -> None:
        self._dirpath = Path(dirpath)
        self._header = Header("", {})
        self._in_place = False
        self._start = time.perf_counter()

    def begin(self, header: Header, gone_on_from: Path | None = None) -> None:
        """Say what the next checkpoints are of; the clock goes on from its seconds.

        Args:
            header: that of the checkpoint that is gone on from, or one of its own.
            gone_on_from: that checkpoint.
        """
        self._header = header
        self._in_place = gone_on_from == previous(self._dirpath, header.stage)
        self._start = time.perf_counter() - header.seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Write what a step has added, where steps are what counts."""
        if not (getattr(pl_module, "saved_after_steps", False) and trainer.is_global_zero):
            return
        state: dict[str, Any] = {HEADER: self._now(0, last=trainer.should_stop)}
        pl_module.on_save_checkpoint(state)
        with self._next(pl_module) as beside:
            save_state(beside, state)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file beside its place, then rename it: the last good one is never lost."""
        if next(pl_module.parameters(), None) is None:
            return
        if not trainer.is_global_zero:
            trainer.save_checkpoint(self._dirpath)  # the first process writes; all have a part in it
            return
        with self._next(pl_module) as beside:
            trainer.save_checkpoint(beside)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what it is a checkpoint of."""
        epochs = trainer.current_epoch + 1
        checkpoint[HEADER] = self._now(epochs, last=epochs == trainer.max_epochs)

    @contextmanager
    def _next(self, pl_module: LightningModule) -> Iterator[Path]:
        with next_checkpoint(self._dirpath, str(pl_module.stage), in_place=self._in_place) as beside:
            yield beside
        self._in_place = False

    def _now(self, epochs: int, *, last: bool) -> dict[str, Any]:
        seconds = time.perf_counter() - self._start
        return replace(self._header, epochs=epochs, seconds=seconds, last=last).to_content()
