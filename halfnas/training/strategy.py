"""How Lightning runs a training in several processes."""

import time
import warnings
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from halfnas.training.processes import INTERVAL, Launcher, end_with_parent, failure


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
        #: Is told that another process has failed where this one did not notice by itself, before it ends.
        self.when_lost: Callable[[str], None] | None = None
        end_with_parent()

    def _configure_launcher(self) -> None:
        assert self.cluster_environment is not None
        self._launcher = Launcher(self.cluster_environment, self.num_processes, self.num_nodes)
        self._launcher.when_lost = lambda message: None if self.when_lost is None else self.when_lost(message)

    def on_exception(self, exception: BaseException) -> None:
        """Add to the error of a connection, which is a plain RuntimeError with Gloo, whose process was lost."""
        if type(exception) is RuntimeError or isinstance(exception, distributed.DistError):
            time.sleep(2 * INTERVAL)  # the connection is gone before the process
            if (message := failure()) is not None:
                exception.args = (f"{message}; here: {exception}",)

    def setup(self, trainer: Trainer) -> None:
        """Take the batch norms of ours in place of torch's, which work on GPUs alone.

        What modules log is reduced already, or the same in all processes: Lightning, which advises otherwise, would
        reduce it when a process first looks at it, and the first process shows numbers that the others do not look at.
        """
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
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
