"""The second stage: from a mask to one architecture."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger

from halfnas.callbacks import Lineage, publish_genotype
from halfnas.data import SearchData
from halfnas.drawing.summary import describe_tie
from halfnas.networks import ENGINES, build_supernet, check_compile, check_engine, check_recompute
from halfnas.runs.folder import RunFolder
from halfnas.search import SearchMethod
from halfnas.spaces import Genotype, Mask, SearchSpace
from halfnas.stages.benchmark import table_for, worth_of_mask
from halfnas.stages.stage import Origin, Parts, Product, Stage, Takers

log = logging.getLogger(__name__)


class Search(Stage):
    """Trains the supernet of what a mask leaves, and chooses."""

    name = "search"
    done_to = "searched"
    needs = "mask"
    leaves = "genotype"
    given_by = "genotype=PATH of a genotype.json, or a published cell's name"
    reads = ("searcher", "supernet")
    takers: ClassVar[Takers] = {
        "searcher": (SearchData,),
        "supernet": (build_supernet,),
    }
    reserved: ClassVar[Mapping[str, Sequence[str]]] = {
        "searcher": ("space", "supernet", "cuda_graphs", "dataset", "seed", "holdout_fraction"),
        "supernet": ("space", "mask", "partial_channels", "edge_normalization", "architecture_init_std"),
    }

    def __init__(self, module: SearchMethod, data: SearchData, space: SearchSpace, mask: Mask | None) -> None:
        self.module: SearchMethod = module
        self.data: SearchData = data
        self.space = space
        self.given = mask

    @classmethod
    def build(cls, parts: Parts) -> "Search":
        space = parts.space()
        supernet: dict[str, Any] = dict(parts.settings["supernet"])
        with parts.checking("supernet.engine"):
            check_engine(supernet["engine"])
        with parts.checking("supernet.recompute"):
            check_recompute(supernet["recompute"])
        if supernet["engine"] in ENGINES:
            with parts.checking("supernet.compile"):
                check_compile(supernet["compile"], supernet["engine"])
        with parts.checking("dataset"):
            space.check_images(parts.dataset.image_size)
        if (wanted := parts.settings["searcher"].get("partial_channels")) is not None:
            with parts.checking("searcher.partial_channels"):
                space.check_partial_channels(space.resolve_partial_channels(wanted))
        path = parts.settings["mask"]
        mask = None
        if path is not None:
            with parts.checking("mask"):
                mask = Mask.load(path).ordered(space)
        seed = parts.settings["seed"]
        table = table_for(parts)
        module: SearchMethod = parts.make(
            "searcher", space=space, supernet=supernet, seed=seed, cuda_graphs=parts.settings["cuda_graphs"]
        )
        module.table = table
        data = parts.make(
            "searcher",
            SearchData,
            dataset=parts.dataset,
            seed=seed,
            warmup_epochs=module.frozen_epochs,
            holdout_fraction=parts.settings["evaluation"].get("holdout_fraction", 0.0),
        )
        return cls(module, data, space, mask)

    def origin(self) -> Origin:
        assert isinstance(self.given, Mask), "a run that begins with a search has a mask"
        return Origin.of_mask(self.given)

    def warnings(self, settings: Mapping[str, Any]) -> list[str]:
        return self.module.warnings()

    def begin(self, needed: Product | None) -> None:
        assert isinstance(needed, Mask), "a search has a mask"
        if not needed.leaves_a_choice(self.space):
            log.warning("the mask leaves one architecture: there is nothing to choose; raise `ratio`")
        self._mask = needed
        self.module.begin(needed)

    def product(self) -> Genotype:
        return self.module.genotype

    def metrics(self) -> dict[str, float]:
        return self.module.metrics() | self._worth()

    def _worth(self) -> dict[str, float]:
        """What the architecture found is worth, and what the mask has left to be found."""
        table = self.module.table
        if table is None:
            return {}
        found, left = table.look_up(self.module.genotype), worth_of_mask(table, self._mask)
        gap = left["prune/best_true_acc"] - found["true_acc"]
        return {f"search/{name}": value for name, value in found.items()} | {"search/true_gap": gap} | left

    def publish(self, folder: RunFolder, loggers: Sequence[Logger], lineage: Lineage) -> None:
        tie = describe_tie(folder.metrics)
        if tie is not None:
            log.warning("%s", tie)
        publish_genotype(
            self.module.genotype,
            self.module.strengths(),
            self.space,
            folder.figures,
            loggers,
            title=tie,
        )
