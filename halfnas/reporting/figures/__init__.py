"""The figures of a report."""

from halfnas.reporting.figures.cells import cell_figures
from halfnas.reporting.figures.curves import learning_curves
from halfnas.reporting.figures.drawing import Drawing
from halfnas.reporting.figures.mask_maps import mask_figures
from halfnas.reporting.figures.ratio import against_ratio
from halfnas.reporting.figures.series import series_of
from halfnas.reporting.figures.tradeoff import accuracy_against_memory
from halfnas.reporting.metrics import ACCURACIES, BY_KEY, memory_of
from halfnas.reporting.study import Study, by_dataset

__all__ = ["Drawing", "draw_all"]


def draw_all(study: Study) -> tuple[list[Drawing], list[str]]:
    """Draw all figures that the runs have data for, in the order of the page, and note what could not be drawn."""
    groups = study.groups
    if not groups:
        return [], []
    series, memory = series_of(groups), memory_of(groups)
    parts = by_dataset(groups)
    drawings = [
        *([] if memory is None else [against_ratio(series, memory, "Memory")]),
        *(against_ratio(series, metric, "Accuracy") for metric in ACCURACIES),
        *(accuracy_against_memory(series_of(part), name if len(parts) > 1 else None) for name, part in parts.items()),
        *(against_ratio(series, BY_KEY[key], "Time") for key in ("search/seconds", "prune/seconds")),
    ]
    masks, unreadable = mask_figures(groups)
    cells, undrawn = cell_figures(groups)
    found = [each for each in (*drawings, *masks, *cells, learning_curves(series)) if each is not None]
    return found, [*unreadable, *undrawn]
