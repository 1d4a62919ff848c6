"""One progress bar a stage, with the time left for all of it."""

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

#: metrics shown beside the bar, by the end of their name
SHOWN = ("train_acc", "val_acc", "test_acc", "agreement", "agreement_of_halves")


class StageProgress(ProgressBar):
    """A Rich bar over all epochs of a stage. Reads `stage` of the module."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._progress: Progress | None = None

    def enable(self) -> None:
        """Show the bar."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, as on all ranks but the first."""
        self._enabled = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        if not self._enabled:
            return
        self._progress = Progress(
            TextColumn("[bold]{task.fields[stage]:<8}"),
            TextColumn("{task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(bar_width=12),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._progress.start()
        epochs, batches = trainer.max_epochs or 0, int(trainer.num_training_batches)
        shown: dict[str, Any] = {
            "stage": pl_module.stage,
            "epoch": trainer.current_epoch + 1,
            "epochs": epochs,
            "metrics": "",
        }
        done = trainer.current_epoch * batches  # of a training that goes on
        self._task = self._progress.add_task("", total=epochs * batches, completed=done, **shown)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch."""
        if self._progress is not None:
            self._progress.update(self._task, epoch=trainer.current_epoch + 1)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any, **kwargs: Any) -> None:
        """Move on by a batch."""
        if self._progress is not None:
            self._progress.update(self._task, advance=1)
            if trainer.max_epochs == 1:  # the only epoch: show how far it is
                self._show_metrics(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the epoch's metrics."""
        self._show_metrics(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar, leaving it on the screen with what the module said in the end."""
        self._show_metrics(trainer, pl_module)
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close the bar, so that the error can be read."""
        self._close()

    def _show_metrics(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._progress is not None:
            shown = {
                key.split("/")[1]: float(value)
                for key, value in trainer.callback_metrics.items()
                if key.startswith(f"{pl_module.stage}/") and key.endswith(SHOWN)
            }
            self._progress.update(self._task, metrics="  ".join(f"{key} {value:.4g}" for key, value in shown.items()))

    def _close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
