"""Pictures of what a stage has found, as files and in Weights & Biases, with the file itself as an artifact."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import wandb
from lightning.pytorch.loggers import Logger, WandbLogger
from matplotlib.figure import Figure

from halfnas.reporting.drawing import draw_genotype, draw_mask, draw_strengths
from halfnas.spaces import Genotype, Mask, SearchSpace

DPI = 150


def publish_mask(mask: Mask, space: SearchSpace, file: Path, figures: Path, loggers: Sequence[Logger]) -> None:
    """Draw a mask with its importance scores to figures/mask.png; log picture, table of scores and mask.json."""
    picture = _save(draw_mask(mask, space), figures / "mask.png")
    for logger in _wandb(loggers):
        logger.experiment.log({"prune/mask": wandb.Image(str(picture))})
        logger.experiment.log({"prune/importance": _importance_table(mask, space)})
        _log_artifact(logger, file, "mask", {"ratio": mask.ratio, "pruner": mask.pruner, "seed": mask.seed})


def publish_genotype(
    genotype: Genotype,
    strengths: Mapping[str, Sequence[Mapping[str, float]]],
    space: SearchSpace,
    file: Path,
    figures: Path,
    loggers: Sequence[Logger],
) -> None:
    """Draw the cells found and the weights that they come from; log pictures, table of genes and genotype.json."""
    cells = _save(draw_genotype(genotype, space), figures / "genotype.png")
    weights = _save(draw_strengths(strengths, space), figures / "strengths.png")
    for logger in _wandb(loggers):
        table = wandb.Table(columns=["cell", "gene", "operation", "source"])
        for kind, genes in genotype.cells.items():
            for number, (operation, source) in enumerate(genes):
                table.add_data(kind, number, operation, source)
        pictures = {"search/genotype": wandb.Image(str(cells)), "search/strengths": wandb.Image(str(weights))}
        logger.experiment.log({**pictures, "search/genes": table})
        _log_artifact(logger, file, "genotype", {"space": genotype.space})


def _importance_table(mask: Mask, space: SearchSpace) -> wandb.Table:
    table = wandb.Table(columns=["cell", "edge", "source", "target", "operation", "kept", "importance"])
    for name, kind in space.kinds.items():
        for number, edge in enumerate(kind.edges):
            scores = mask.importance[name][number] if mask.importance is not None else {}
            for operation in edge.candidates:
                kept = operation in mask.kept[name][number]
                table.add_data(name, number, edge.source, edge.target, operation, kept, scores.get(operation))
    return table


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    return path


def _wandb(loggers: Sequence[Logger]) -> list[WandbLogger]:
    return [logger for logger in loggers if isinstance(logger, WandbLogger)]


def _log_artifact(logger: WandbLogger, file: Path, kind: str, metadata: Mapping[str, object]) -> None:
    artifact = wandb.Artifact(f"{kind}-{logger.experiment.id}", type=kind, metadata=dict(metadata))
    artifact.add_file(str(file))
    logger.experiment.log_artifact(artifact)
