"""What a stage needs in memory."""

import copy
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from halfnas.memory import MIB, peak_memory, reset_peak_memory, saved_for_backward


class MemoryMonitor(Callback):
    """Logs, each epoch, the peaks of the stage so far, and what one weight step keeps for its backward pass.

    `<stage>/step_activations_mib` is measured once, before training, on a copy of the module and random images of the
    size of a training batch: memory does not depend on pixels, and nothing of the training is touched. It exists on any
    device, for modules with a `loss(images, labels)`; the CUDA peaks only on CUDA devices.
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
    generator = torch.Generator().manual_seed(0)
    batch_size: int = module.batch_size  # type: ignore[assignment]
    shape = (batch_size, dataset.in_channels, dataset.image_size, dataset.image_size)
    images = torch.randn(shape, generator=generator).to(module.device)
    labels = torch.randint(dataset.num_classes, (batch_size,), generator=generator).to(module.device)
    links, module.trainer = module._trainer, None  # not copied
    try:
        twin: Any = copy.deepcopy(module).train()
    finally:
        module.trainer = links
    # Random numbers of the step (drop path) are drawn aside.
    devices = [module.device] if module.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), trainer.precision_plugin.forward_context():
        return saved_for_backward(lambda: twin.loss(images, labels), twin)
