"""The figures of a report."""

from halfnas.reporting.figures.against import against, against_ratio, comparable
from halfnas.reporting.figures.cells import cell_figures
from halfnas.reporting.figures.curves import learning_curves
from halfnas.reporting.figures.drawing import Drawing
from halfnas.reporting.figures.mask_maps import mask_figures
from halfnas.reporting.figures.series import RATIO, WEIGHT, series_of
from halfnas.reporting.figures.tradeoff import accuracy_against_memory
from halfnas.reporting.figures.truth import TRUE, found_and_left, truth_over_epochs
from halfnas.reporting.metrics import ACCURACIES, BY_KEY, memory_of, search_time_of
from halfnas.reporting.study import Study, by_dataset

__all__ = ["Drawing", "draw_all"]

MOVED = BY_KEY["search/moved_edges"]


def draw_all(study: Study) -> tuple[list[Drawing], list[str]]:
    """Draw all figures that the runs have data for, in the order of the page, and note what could not be drawn."""
    groups = study.groups
    if not groups:
        return [], []
    series = series_of(groups)
    memory, time = memory_of(groups), search_time_of(groups)
    parts = by_dataset(groups)
    named = [(name if len(parts) > 1 else None, part) for name, part in parts.items()]
    drawings = [
        *([] if memory is None else comparable(series, memory, "Memory")),
        *(found_and_left(series_of(part), name) for name, part in named),
        *(against_ratio(series, metric, "Accuracy") for metric in ACCURACIES if metric is not TRUE),
        against(RATIO, series, TRUE, "Accuracy"),
        *(against(WEIGHT, series_of(groups, WEIGHT), metric, "Accuracy") for metric in (*ACCURACIES, MOVED)),
        *(drawing for name, part in named for drawing in accuracy_against_memory(series_of(part), name)),
        *(drawing for each in (time, BY_KEY["prune/seconds"]) if each for drawing in comparable(series, each, "Time")),
    ]
    masks, unreadable = mask_figures(groups)
    cells, undrawn = cell_figures(groups)
    curves = (learning_curves(series), *(truth_over_epochs(series_of(part), name) for name, part in named))
    found = [each for each in (*drawings, *masks, *cells, *curves) if each is not None]
    return found, [*unreadable, *undrawn]
