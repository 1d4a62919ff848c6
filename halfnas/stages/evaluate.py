"""The last stage: from an architecture to a trained network and its accuracy."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger

from halfnas.callbacks import Lineage
from halfnas.data import EvaluationData
from halfnas.evaluation import Evaluation
from halfnas.runs.folder import RunFolder
from halfnas.spaces import Genotype, Mask, find_genotype, published_cells
from halfnas.stages.stage import Origin, Parts, Product, Stage, Takers


class Evaluate(Stage):
    """Trains one architecture from scratch."""

    name = "evaluate"
    done_to = "evaluated"
    needs = "genotype"
    tests = True
    takers: ClassVar[Takers] = {"evaluation": (EvaluationData,)}
    reserved: ClassVar[Mapping[str, Sequence[str]]] = {
        "evaluation": ("space", "image_size", "cuda_graphs", "dataset", "seed", "num_classes", "in_channels")
    }
    sizes = ("evaluation",)
    reads = ("evaluation",)

    def __init__(self, module: Evaluation, data: EvaluationData, genotype: Genotype | None, name: str = "") -> None:
        self.module: Evaluation = module
        self.data: EvaluationData = data
        self.given = genotype
        self._given_as = name

    @classmethod
    def build(cls, parts: Parts) -> "Evaluate":
        settings = parts.settings
        space = parts.space("evaluation", settings["evaluation"])
        image_size = parts.dataset.image_size
        with parts.checking("evaluation"):
            space.check_images(image_size, auxiliary=settings["evaluation"]["auxiliary"] is True)
        genotype = None
        if settings["genotype"] is not None:
            with parts.checking("genotype"):
                genotype = find_genotype(settings["genotype"])
                space.check_genotype(genotype)
        module: Evaluation = parts.make(
            "evaluation", space=space, image_size=image_size, seed=settings["seed"], cuda_graphs=settings["cuda_graphs"]
        )
        data = parts.make("evaluation", EvaluationData, dataset=parts.dataset, seed=settings["seed"])
        return cls(module, data, genotype, str(settings["genotype"]))

    def origin(self) -> Origin:
        return _origin_of(self._given_as)

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        if self.given is None or self.data.holdout_fraction == 0:
            return []
        return [
            "`genotype` is given: its search may have seen the images that `evaluation.holdout_fraction="
            f"{self.data.holdout_fraction:g}` holds out for evaluate/val_acc, unless it had that setting and this seed"
        ]

    def begin(self, needed: Product | None) -> None:
        assert isinstance(needed, Genotype), "an evaluation has a genotype"
        self.module.begin(needed)

    def metrics(self) -> dict[str, float]:
        return self.module.cost() | {"evaluate/auxiliary_heads": float(self.module.auxiliary)}

    def publish(self, folder: RunFolder, loggers: Sequence[Logger], lineage: Lineage) -> None:
        lineage.weights(folder.path / "checkpoints" / f"{self.name}.ckpt", folder.metrics)


def _origin_of(name: str) -> Origin:
    """That of a published cell, of the search that left a genotype.json beside its mask, or of a file of its own."""
    if name.lower() in published_cells():
        return Origin(name.lower())
    path = Path(name).resolve()
    if path.name != "genotype.json":
        return Origin(path.stem)
    try:
        return Origin.of_mask(Mask.load(path.with_name("mask.json")))
    except ValueError:  # there is none: it was put there by hand
        return Origin(path.parent.name)
