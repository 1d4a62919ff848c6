"""What the search stage asks of a method, whatever it does to choose."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

from lightning.pytorch import LightningModule

from halfnas.spaces import Genotype, Mask, Strengths
from halfnas.spaces.trained import TrainedTable


class SearchMethod(LightningModule, ABC):
    """Chooses one architecture of what a mask leaves.

    Every one has settings `epochs`, `warmup_epochs` and `batch_size`, so that recipes and sweeps can name them.

    Attributes:
        stage: prefix of the metrics.
        epochs: of the training; 0 where nothing is trained.
        frozen_epochs: those, from the first one on, that do not read the second half of the images.
        table: what architectures are worth, to be told after every epoch; never used to choose one.
    """

    stage = "search"
    epochs: int
    frozen_epochs: int
    table: TrainedTable | None = None

    def warnings(self) -> list[str]:
        """What a user should know of the settings before the search runs."""
        return []

    @abstractmethod
    def begin(self, mask: Mask) -> None:
        """Take over the mask, and draw initial weights."""

    @property
    @abstractmethod
    def genotype(self) -> Genotype:
        """The architecture found so far."""

    def strengths(self) -> Mapping[str, Strengths] | None:
        """Kind -> for each edge {operation: strength}, what the choice was made by; None if there is nothing of it."""
        return None

    def metrics(self) -> dict[str, float]:
        """Numbers for metrics.json besides those that were logged over the epochs."""
        return {}
