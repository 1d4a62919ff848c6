"""The cells that were found: those of the best run of each group."""

from collections.abc import Sequence
from dataclasses import replace

from halfnas.drawing import draw_genotype
from halfnas.drawing.summary import describe_genotype
from halfnas.reporting.figures.drawing import Drawing, left_out
from halfnas.reporting.groups import Group
from halfnas.reporting.metrics import accuracy_of, ranked
from halfnas.reporting.runs import Run
from halfnas.spaces import Genotype, SearchSpace, load_space

MAX_GROUPS = 12  # each takes half a second


def cell_figures(groups: Sequence[Group]) -> tuple[list[Drawing], list[str]]:
    """Draw the cells of the best run of the most accurate groups, and say what could not be drawn."""
    found, problems = [], []
    for group in groups:
        try:
            if any(run.genotype is not None for run in group.runs):
                found.append(group)
        except ValueError as error:
            problems.append(str(error))
    shown = ranked(found)[:MAX_GROUPS]
    spaces: dict[str, SearchSpace] = {}
    drawings: list[Drawing] = []
    for group in shown:
        run, reason = best_run(group)
        genotype = run.genotype
        assert genotype is not None, "the best run is one of those with a cell"
        try:
            drawings.append(_drawing(group, genotype, reason, f"cells_{len(drawings) + 1:02}", spaces))
        except ValueError as error:
            problems.append(f"{run.path}: {error}")
    if drawings and len(shown) < len(found):
        note = left_out(len(found) - len(shown), "groups' cells", "the most accurate groups are shown")
        drawings[-1] = replace(drawings[-1], caption=drawings[-1].caption + note)
    return drawings, problems


def best_run(group: Group) -> tuple[Run, str]:
    """Find the most accurate run that has a cell, and say so in a sentence."""
    runs = [run for run in group.runs if run.genotype is not None]
    metric = accuracy_of([Group(group.settings, runs)])
    if metric is None:
        return runs[0], f"Of seed {runs[0].seed}; no accuracy is known."
    best = max(runs, key=lambda run: run.metrics.get(metric.key, -1.0))
    value = metric.text(best.metrics[metric.key])
    best_of = f"the best of {len(runs)}" if len(runs) > 1 else "the only one"
    return best, f"Of seed {best.seed}, {best_of} by `{metric.key}`: {value}{metric.unit}."


def _drawing(group: Group, genotype: Genotype, reason: str, name: str, spaces: dict[str, SearchSpace]) -> Drawing:
    if genotype.space not in spaces:
        spaces[genotype.space] = load_space(genotype.space)
    figure = draw_genotype(genotype, spaces[genotype.space])
    return Drawing(name, "Cells found", group.name, figure, reason, describe_genotype(genotype))
