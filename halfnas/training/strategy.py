"""How Lightning runs a training in several processes."""

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed


class Ranks(DDPStrategy):
    """Processes that train copies of one module, one a device. The module's steps are what averages the gradients.

    DDP's own wrapper averages them inside a backward pass, of which it expects one a step, through all parameters. A
    step of a search has several; with a single path most parameters take no part; and a pruning has no parameters at
    all, which the wrapper refuses.

    Args:
        norms: what batch norms are joined by where `trainer.sync_batchnorm` is set, see `halfnas.networks.JoinedNorms`.
        settings: those of DDPStrategy.
    """

    def __init__(self, norms: Any = None, **settings: Any) -> None:
        super().__init__(**settings)
        self._norms = norms

    def setup(self, trainer: Trainer) -> None:
        """Take the batch norms of ours in place of torch's, which work on GPUs alone."""
        if self._layer_sync is not None and self._norms is not None:
            self._layer_sync = self._norms
        super().setup(trainer)

    def configure_ddp(self) -> None:
        """Start from what the first process has, and let what draws random numbers know which part of a batch it sees.

        Such a module has an attribute `draws` that is true, see `halfnas.spaces.operations.Noise`.
        """
        assert self.lightning_module is not None
        for part in self.lightning_module.modules():
            if getattr(part, "draws", False) is True:
                part.share = (self.global_rank, self.world_size)  # type: ignore[assignment]
        for tensor in (*self.lightning_module.parameters(), *self.lightning_module.buffers()):
            distributed.broadcast(tensor.detach(), 0)
