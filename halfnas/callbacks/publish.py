"""Pictures and tables of what a stage has found, as files and in Weights & Biases."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger

from halfnas.drawing import draw_genotype, draw_mask, draw_strengths
from halfnas.drawing.kit import save, wrapped
from halfnas.spaces import Genotype, Mask, SearchSpace, Strengths


def publish_mask(mask: Mask, space: SearchSpace, figures: Path, loggers: Sequence[Logger]) -> None:
    """Draw a mask with its importance scores to figures/mask.png; log picture and table of scores."""
    picture = save(draw_mask(mask, space), figures / "mask.png")
    for logger in _wandb(loggers):
        table = _importance_table(mask, space)
        logger.experiment.log({"prune/mask": wandb.Image(str(picture)), "prune/importance": table})


def publish_genotype(
    genotype: Genotype,
    strengths: Mapping[str, Strengths] | None,
    space: SearchSpace,
    figures: Path,
    loggers: Sequence[Logger],
    title: str | None = None,
) -> None:
    """Draw the cells found, and what they were chosen by if there is any of it; log pictures and table of genes.

    Args:
        title: what is written above the pictures.
    """
    title = None if title is None else wrapped(title)
    pictures = {"search/genotype": save(draw_genotype(genotype, space, title), figures / "genotype.png")}
    if strengths is not None:
        drawn = draw_strengths(strengths, space, "\n".join(["Mixing weights", *([title] if title else [])]))
        pictures["search/strengths"] = save(drawn, figures / "strengths.png")
    for logger in _wandb(loggers):
        table = wandb.Table(columns=["cell", "gene", "operation", "source"])
        for kind, genes in genotype.cells.items():
            for number, (operation, source) in enumerate(genes):
                table.add_data(kind, number, operation, source)
        images = {key: wandb.Image(str(picture)) for key, picture in pictures.items()}
        logger.experiment.log({**images, "search/genes": table})


def _importance_table(mask: Mask, space: SearchSpace) -> wandb.Table:
    table = wandb.Table(columns=["cell", "edge", "source", "target", "operation", "kept", "importance"])
    for name, kind in space.kinds.items():
        for number, edge in enumerate(kind.edges):
            scores = mask.importance[name][number] if mask.importance is not None else {}
            for operation in edge.candidates:
                kept = operation in mask.kept[name][number]
                table.add_data(name, number, edge.source, edge.target, operation, kept, scores.get(operation))
    return table


def _wandb(loggers: Sequence[Logger]) -> list[WandbLogger]:
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]
