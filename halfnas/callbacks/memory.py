"""What a stage needs in memory."""

from lightning.pytorch import Callback, LightningModule, Trainer

from halfnas.memory import MIB, peak_memory, reset_peak_memory, saved_for_backward
from halfnas.training.rehearsal import random_batch, rehearsal


class MemoryMonitor(Callback):
    """Logs, each epoch, the peaks of the stage so far, and what one weight step keeps for its backward pass.

    `<stage>/step_activations_mib` is measured once, before training, on random images of the size of a training batch:
    memory does not depend on pixels, and training does not notice. It exists on any device, for modules with a
    `loss(images, labels)`; the CUDA peaks only on CUDA devices.
    """

    def __init__(self) -> None:
        self._figures: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure one step, then start the peaks anew."""
        self._figures = {}
        if hasattr(pl_module, "loss"):
            self._figures["step_activations_mib"] = step_activations(trainer, pl_module) / MIB
        reset_peak_memory(pl_module.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures."""
        for name, value in {**self._figures, **peak_memory(pl_module.device)}.items():
            pl_module.log(f"{pl_module.stage}/{name}", value)


def step_activations(trainer: Trainer, module: LightningModule) -> int:
    """Bytes kept for the backward pass of one weight step at the batch size and precision of the training."""
    dataset = trainer.datamodule.dataset  # type: ignore[attr-defined]
    batch_size: int = module.batch_size  # type: ignore[assignment]
    batch = random_batch(dataset, batch_size, module.device)
    images, labels = trainer.precision_plugin.convert_input(batch)
    with rehearsal(module, module.device), trainer.precision_plugin.forward_context():
        return saved_for_backward(lambda: module.loss(images, labels), module)  # type: ignore[operator]
