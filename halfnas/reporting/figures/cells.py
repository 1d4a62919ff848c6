"""The cells that were found: those of one run of each group, chosen as a user would, without the test set."""

from collections.abc import Sequence
from dataclasses import replace

from halfnas.drawing import draw_genotype
from halfnas.drawing.summary import describe_genotype, describe_tie
from halfnas.reporting.figures.drawing import Drawing, left_out
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import PERCENT, Metric
from halfnas.reporting.runs import Run
from halfnas.spaces import Genotype, SearchSpace, load_space

MAX_GROUPS = 12  # each takes half a second
#: What a cell may be chosen by, the first that there is: accuracies on images of the training set.
CHOSEN_BY = ("evaluate/val_acc", "search/best_val_acc", "search/val_acc")


def cell_figures(groups: Sequence[Group]) -> tuple[list[Drawing], list[str]]:
    """Draw the cells of the best run of each group, and say what could not be drawn."""
    problems = []
    readable: dict[Group, list[Run]] = {}
    for group in groups:
        for run in group.runs:
            try:
                if run.genotype is not None:
                    readable.setdefault(group, []).append(run)
            except ValueError as error:
                problems.append(str(error))
    found = list(readable)
    shown = found[:MAX_GROUPS]
    spaces: dict[str, SearchSpace] = {}
    drawings: list[Drawing] = []
    for group in shown:
        waiting = readable[group]
        while waiting:
            run, reason = best_run(waiting)
            assert run.genotype is not None, "the best run is one of those with a cell"
            tie = describe_tie(run.metrics)
            said = reason if tie is None else f"{reason} {tie}."
            try:
                drawings.append(_drawing(group, run.genotype, said, f"cells_{len(drawings) + 1:02}", spaces))
                break
            except ValueError as error:
                problems.append(f"{run.path}: {error}")
                waiting = [other for other in waiting if other is not run]
    if drawings and len(shown) < len(found):
        note = left_out(len(found) - len(shown), "groups' cells", "the page would be too long")
        drawings[-1] = replace(drawings[-1], caption=drawings[-1].caption + note)
    return drawings, problems


def best_run(runs: Sequence[Run]) -> tuple[Run, str]:
    """Find the run that is best by CHOSEN_BY, never by the test accuracy, and say so in a sentence.

    Args:
        runs: those of a group with a cell.
    """
    if len(runs) == 1:
        return runs[0], f"Of seed {runs[0].seed}, the only one."
    key = next((key for key in CHOSEN_BY if all(key in run.metrics for run in runs)), None)
    if key is None:
        nothing = "no accuracy on training images is known of all"
        return runs[0], f"Of seed {runs[0].seed}, the first of {len(runs)}: {nothing}."
    best = max(runs, key=lambda run: run.metrics[key])
    value = Metric(key, "", PERCENT).text(best.metrics[key])
    return best, f"Of seed {best.seed}, the best of {len(runs)} by `{key}`: {value}%."


def _drawing(group: Group, genotype: Genotype, reason: str, name: str, spaces: dict[str, SearchSpace]) -> Drawing:
    if genotype.space not in spaces:
        spaces[genotype.space] = load_space(genotype.space)
    figure = draw_genotype(genotype, spaces[genotype.space])
    return Drawing(name, "Cells found", group.name, figure, reason, describe_genotype(genotype))
