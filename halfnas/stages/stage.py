"""What a stage is: an object that holds all it works on, built before anything is trained."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.loggers import Logger

from halfnas.callbacks import Lineage
from halfnas.data import ImageDataset
from halfnas.runs.folder import RunFolder
from halfnas.spaces import Genotype, Mask, SearchSpace

#: What one stage hands to the next one.
Product = Mask | Genotype
#: Group of settings -> what takes some of them.
Takers = Mapping[str, Sequence[Callable[..., Any]]]
#: Name of a product -> how its file is read.
READERS: Mapping[str, Callable[[Path], Product]] = {"mask": Mask.load, "genotype": Genotype.load}
T = TypeVar("T")


@dataclass(frozen=True)
class Origin:
    """Where the architecture of a run comes from: what names the run, whatever its other settings say.

    Attributes:
        name: pruner, ratio and seed of the mask, `nngp-r0.50-s0`, or the name of a genotype that is given, `darts_v2`.
        pruner, ratio, seed: those of the mask; None where there is none.
    """

    name: str
    pruner: str | None = None
    ratio: float | None = None
    seed: int | None = None

    @classmethod
    def of_mask(cls, mask: Mask) -> "Origin":
        """That of what a mask leaves."""
        ratio = f"{mask.ratio:.2f}" if mask.ratio == round(mask.ratio, 2) else f"{mask.ratio:g}"
        return cls(f"{mask.pruner}-r{ratio}-s{mask.seed}", mask.pruner, mask.ratio, mask.seed)

    @property
    def tag(self) -> str:
        """What runs with other seeds and ratios have in common: the pruner, or the genotype's name."""
        return self.pruner or self.name

    def run_name(self, seed: int) -> str:
        """The name of a run with a seed of its own, which is told where the origin's is another or none."""
        return self.name if self.seed == seed else f"{self.name}-{'run' if self.pruner else 's'}{seed}"


class Parts(Protocol):
    """What stages are built from; `halfnas.config` makes it of the settings, and notes every mistake.

    Attributes:
        dataset: the images, not loaded yet.
        settings: all settings, as plain containers.
    """

    dataset: ImageDataset
    settings: Mapping[str, Any]

    def space(self, setting: str = "space", sizes: Mapping[str, Any] | None = None) -> SearchSpace:
        """The space for the images of the dataset.

        Args:
            setting: where `sizes` stand, for the message of a mistake.
            sizes: what they are in place of those of the space; sizes that the space does not have are left out.
        """
        ...

    def make(self, group: str, target: Callable[..., T] | None = None, **given: Any) -> T:
        """Build what a group of settings names, or `target`, of those of its settings that it takes.

        Args:
            given: arguments that are no settings.
        """
        ...

    def checking(self, setting: str, *, then_stop: bool = False) -> AbstractContextManager[None]:
        """Inside, an error is noted as one of that setting; `then_stop` ends the building of the stage."""
        ...


class Stage(ABC):
    """A part of a run that can run alone, from the file that the one before it leaves.

    Attributes:
        name: as in `stage=<name>`, status.json and the keys of metrics.json.
        done_to: what is done to an architecture, in a word: "pruned".
        needs: the file that it starts from, "mask" or "genotype", which is also the setting that gives one; None for
            none.
        leaves: the file that it ends with, likewise.
        given_by: how a user gives that file in place of running the stage.
        axis: what its curves are drawn over in Weights & Biases.
        tests: whether the test set is looked at in the end.
        takers: group of settings -> what takes some of them besides the class that the group names.
        reserved: group of settings -> arguments that are no settings, since `build` gives them.
        sizes: where settings stand that are sizes of the space, in place of those that it has.
        reads: the settings, whole groups among them, that no other stage reads.
        mistakes: errors of a training that are a mistake in the settings -> the group that is wrong.
        module: what is trained.
        data: what it is trained on.
        given: what it starts from, where the user gives that.
    """

    name: ClassVar[str]
    done_to: ClassVar[str]
    needs: ClassVar[str | None] = None
    leaves: ClassVar[str | None] = None
    given_by: ClassVar[str] = ""
    axis: ClassVar[str] = "epoch"
    tests: ClassVar[bool] = False
    takers: ClassVar[Takers] = {}
    reserved: ClassVar[Mapping[str, Sequence[str]]] = {}
    sizes: ClassVar[Sequence[str]] = ()
    reads: ClassVar[Sequence[str]] = ()
    mistakes: ClassVar[Mapping[type[Exception], str]] = {}

    module: LightningModule
    data: LightningDataModule
    given: Product | None = None

    @classmethod
    @abstractmethod
    def build(cls, parts: Parts) -> "Stage":
        """Build everything that the stage works on; mistakes are noted by `parts`."""

    @classmethod
    def runs_unasked(cls, settings: Mapping[str, Any]) -> bool:
        """Whether it also runs where only a later stage is asked for, as nothing has to be decided."""
        return False

    @abstractmethod
    def origin(self) -> Origin:
        """Where the architecture of a run comes from that begins with this stage."""

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        """What a user should know of the settings before the stage runs."""
        return []

    def check_images(self, dataset: ImageDataset) -> None:  # noqa: B027 - many have nothing to do
        """Raise ValueError where the images, now loaded, are too few."""

    def begin(self, needed: Product | None) -> None:  # noqa: B027 - many have nothing to do
        """Take over what the stage starts from, and draw initial weights."""

    def restore(self, checkpoint: Mapping[str, Any]) -> bool:
        """Go on from a checkpoint, after `begin`; False where Lightning does so when the training begins."""
        return False

    @property
    def epochs(self) -> int:
        """Epochs of the training; 0 where the result is there without one."""
        return self.module.epochs  # type: ignore[return-value]

    def product(self) -> Product | None:
        """What the stage leaves, after its training."""
        return None

    def metrics(self) -> dict[str, float]:
        """Numbers for metrics.json besides those that the module has logged."""
        return {}

    def publish(self, folder: RunFolder, loggers: Sequence[Logger], lineage: Lineage) -> None:  # noqa: B027 - many have nothing to do
        """Draw and log what was found."""

    @classmethod
    def note(cls, product: Product, file: Path, lineage: Lineage, *, given: bool = False) -> None:
        """Note what a stage starts from or leaves in the lineage of the run."""
        if isinstance(product, Mask):
            lineage.mask(product, file, given=given)
        else:
            lineage.genotype(product, file, given=given)
