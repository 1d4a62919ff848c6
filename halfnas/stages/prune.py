"""The first stage: from the whole space to a mask."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger

from halfnas.callbacks import Lineage, publish_mask
from halfnas.data import ImageDataset, PruningData
from halfnas.pruning import NoPruner, NothingUsable, Pruner, PruningModule
from halfnas.runs.folder import RunFolder
from halfnas.spaces import Mask, SearchSpace, check_ratio
from halfnas.spaces.trained import TrainedTable
from halfnas.stages.benchmark import table_for, worth_of_mask
from halfnas.stages.stage import Origin, Parts, Stage


class Prune(Stage):
    """Rates the candidates of a space and keeps a part of them."""

    name = "prune"
    done_to = "pruned"
    leaves = "mask"
    given_by = "mask=PATH of a mask.json, or pruner=none to search everything"
    sizes = ("pruner.network",)
    reads = ("pruner", "ratio")
    axis = "trainer/global_step"  # one epoch of many steps
    mistakes: ClassVar[Mapping[type[Exception], str]] = {NothingUsable: "pruner"}

    def __init__(
        self, module: PruningModule, data: PruningData, space: SearchSpace, table: TrainedTable | None = None
    ) -> None:
        self.module: PruningModule = module
        self.data: PruningData = data
        self.space = space
        self._table = table

    @classmethod
    def build(cls, parts: Parts) -> "Prune":
        ratio = parts.settings["ratio"]
        with parts.checking("ratio"):
            check_ratio(ratio)
        pruner: Pruner = parts.make("pruner")
        space = parts.space()
        with parts.checking("dataset"):
            space.check_images(parts.dataset.image_size)
        with parts.checking("pruner", then_stop=True):
            pruner.check_space(space)
        scoring_space = parts.space("pruner.network", pruner.network)
        with parts.checking("pruner"):
            _check_classes(scoring_space, parts.dataset)
            _check_scaled_images(scoring_space, parts.dataset, pruner.image_size)
        seed = parts.settings["seed"]
        with parts.checking("ratio", then_stop=True):
            module = PruningModule(
                pruner, space, scoring_space, ratio=ratio, seed=seed, cuda_graphs=parts.settings["cuda_graphs"]
            )
        data = PruningData(
            parts.dataset,
            batch_size=pruner.batch_size * pruner.num_batches,
            num_batches=pruner.max_steps,
            seed=seed,
            holdout_fraction=parts.settings["evaluation"].get("holdout_fraction", 0.0),
        )
        return cls(module, data, space, table_for(parts))

    @classmethod
    def runs_unasked(cls, settings: Mapping[str, Any]) -> bool:
        """Where everything is kept."""
        return settings["pruner"].get("name") == NoPruner.name

    def origin(self) -> Origin:
        return Origin.of_mask(self.module.mask)

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        if not self.runs_unasked(settings) or settings["ratio"] == 1:
            return []
        return [f"`ratio={settings['ratio']}` has no effect with pruner=none, which keeps every candidate"]

    def check_images(self, dataset: ImageDataset) -> None:
        """Raise ValueError where a score would need more images than there are."""
        images, size = self.data.num_train_images, self.data.batch_size
        if images < size:
            raise ValueError(
                f"{images} training images are fewer than the {size} of a score; raise `dataset.max_train_images` or "
                "lower `pruner.batch_size`"
            )

    def restore(self, checkpoint: Mapping[str, Any]) -> bool:
        """Go on with the repeat after the last one: what came before is in the pruner's own state."""
        self.module.on_load_checkpoint(dict(checkpoint))
        self.data.first_batch = self.module.pruner.steps_taken
        return True

    def product(self) -> Mask:
        return self.module.mask

    def metrics(self) -> dict[str, float]:
        mask = self.module.mask
        worth = {} if self._table is None else worth_of_mask(self._table, mask)
        return {"prune/kept_fraction": mask.kept_fraction(self.space)} | worth

    def publish(self, folder: RunFolder, loggers: Sequence[Logger], lineage: Lineage) -> None:
        publish_mask(self.module.mask, self.space, folder.figures, loggers)


def _check_classes(space: SearchSpace, dataset: ImageDataset) -> None:
    if space.num_classes < dataset.num_classes:
        raise ValueError(
            f"`pruner.network.num_classes` must be at least the {dataset.num_classes} classes of the dataset, "
            f"got {space.num_classes}"
        )


def _check_scaled_images(space: SearchSpace, dataset: ImageDataset, image_size: int | None) -> None:
    """Raise ValueError where images that are large enough are not once they are scaled down for a score."""
    if image_size is None or image_size >= dataset.image_size:
        return
    try:
        space.check_images(image_size)
    except ValueError as error:
        size = dataset.image_size
        raise ValueError(
            f"images of {size}x{size} are scaled down too far, raise `pruner.image_size` (null leaves them): {error}"
        ) from None
