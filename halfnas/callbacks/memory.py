"""What a stage needs in memory."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from halfnas.memory import MIB, can_count, peak_live_memory, peak_memory, reset_peak_memory, saved_for_backward
from halfnas.training.rehearsal import random_batch, rehearsal

log = logging.getLogger(__name__)


class MemoryMonitor(Callback):
    """Logs, each epoch, the peaks of the stage so far, and what one step needs.

    Two figures of a step are measured once, before training, on random images of the size of a training batch: memory
    does not depend on pixels, and training does not notice.

    * `<stage>/peak_live_mib`: the largest sum of live tensors in one full step, above weights and optimiser state. What
      comparisons use, as it is right under recomputation too. For modules with `full_step()`, on CPUs and CUDA
      devices; it takes the time of two steps. Of methods that pick candidates anew in every step it is that of the
      first.
    * `<stage>/step_activations_mib`: what one weight step keeps for its backward pass, for modules with a
      `loss(images, labels)`. What is recomputed is kept by nobody and still needs memory: it is shown, never compared.

    The CUDA peaks exist only on CUDA devices. A training that goes on has the figures, and the peaks, of before.
    """

    def __init__(self) -> None:
        self._figures: dict[str, float] = {}
        self._peaks: dict[str, float] = {}

    def state_dict(self) -> dict[str, Any]:
        """The figures so far."""
        return {"figures": self._figures, "peaks": self._peaks}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from those."""
        self._figures, self._peaks = dict(state_dict["figures"]), dict(state_dict["peaks"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure one step, then start the peaks anew."""
        if not self._figures:
            self._measure(trainer, pl_module)
        reset_peak_memory(pl_module.device)

    def _measure(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if hasattr(pl_module, "full_step"):
            if (reason := can_count(pl_module.device)) is None:
                self._figures["peak_live_mib"] = step_peak(trainer, pl_module) / MIB
            else:
                log.warning("%s/peak_live_mib is not measured: %s", pl_module.stage, reason)
        if hasattr(pl_module, "loss"):
            self._figures["step_activations_mib"] = step_activations(trainer, pl_module) / MIB

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the figures."""
        for name, value in peak_memory(pl_module.device).items():
            self._peaks[name] = max(value, self._peaks.get(name, 0.0))
        for name, value in {**self._figures, **self._peaks}.items():
            pl_module.log(f"{pl_module.stage}/{name}", value)


def step_activations(trainer: Trainer, module: LightningModule) -> int:
    """Bytes kept for the backward pass of one weight step at the batch size and precision of the training."""
    with _batch(trainer, module) as (images, labels), trainer.precision_plugin.forward_context():
        return saved_for_backward(lambda: module.loss(images, labels), module)  # type: ignore[operator]


def step_peak(trainer: Trainer, module: LightningModule) -> int:
    """Most bytes that live at one time in a full step at the batch size and precision of the training."""
    with _batch(trainer, module) as (images, labels):
        take: Callable[[Tensor, Tensor], None] = module.full_step()  # type: ignore[operator]

        def step() -> None:
            with trainer.precision_plugin.forward_context():
                take(images, labels)

        step()  # optimisers make their state, and libraries what they hold on to
        module.zero_grad(set_to_none=True)
        return peak_live_memory(step, module.device)


@contextmanager
def _batch(trainer: Trainer, module: LightningModule) -> Iterator[tuple[Tensor, Tensor]]:
    """Inside, nothing that is done to the module with these images and labels leaves a trace."""
    dataset = trainer.datamodule.dataset  # type: ignore[attr-defined]
    batch_size: int = module.batch_size  # type: ignore[assignment]
    images, labels = trainer.precision_plugin.convert_input(random_batch(dataset, batch_size, module.device))
    with rehearsal(module, module.device), torch.enable_grad():
        yield images, labels
