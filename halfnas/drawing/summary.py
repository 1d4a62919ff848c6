"""The short table at the end of a run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from halfnas.spaces import Genotype, Mask, SearchSpace
from halfnas.spaces.space import is_chain


def print_summary(
    path: Path,
    metrics: Mapping[str, float],
    stages: Sequence[str],
    console: Console | None = None,
    space: SearchSpace | None = None,
) -> None:
    """Print what was pruned, the cells found, accuracy, memory and time of each stage, and where the files are.

    Args:
        path: the folder of the run.
        metrics: the content of metrics.json.
        stages: the names of all stages, in their order.
        console: where to print; None for the terminal.
        space: the space of the genotype, where its authors' way of writing one is to be shown.
    """
    console = console or Console()
    console.print(stage_table(metrics, stages))
    if (path / "mask.json").exists():
        console.print(describe_mask(Mask.load(path / "mask.json")), soft_wrap=True, markup=False)
    if "prune/agreement" in metrics:
        agreement, chance = metrics["prune/agreement"], metrics["prune/agreement_chance"]
        console.print(
            f"A mask from another seed would agree on {agreement:.0%} of all candidates (chance {chance:.0%})"
        )
    if (path / "genotype.json").exists():
        genotype = Genotype.load(path / "genotype.json")
        if space is not None and (string := space.architecture_string(genotype)) is not None:
            console.print(f"Architecture: {string}", soft_wrap=True, markup=False, highlight=False)
        console.print(describe_genotype(genotype), soft_wrap=True, markup=False)
    if "search/moved_edges" in metrics:
        console.print(describe_decisions(metrics), soft_wrap=True, markup=False)
    console.print(f"Files: {path}", soft_wrap=True, markup=False)


def stage_table(metrics: Mapping[str, float], stages: Sequence[str]) -> Table:
    """Make a row of each stage that ran: its result, the peak of a step in MiB, its time in seconds."""
    table = Table(title="halfnas")
    stages = [stage for stage in stages if f"{stage}/seconds" in metrics]
    cuda = any(f"{stage}/peak_allocated_mib" in metrics for stage in stages)
    for column in ("stage", "result", "step memory", *(["peak CUDA"] if cuda else []), "time"):
        table.add_column(column, justify="left" if column in ("stage", "result") else "right")
    for stage in stages:
        live = metrics.get(f"{stage}/peak_live_mib")
        peak = metrics.get(f"{stage}/peak_allocated_mib")
        table.add_row(
            stage,
            _result(stage, metrics),
            "-" if live is None else f"{live:,.1f} MiB",
            *([] if not cuda else ["-" if peak is None else f"{peak:,.0f} MiB"]),
            f"{metrics[f'{stage}/seconds']:,.1f} s",
        )
    return table


def _result(stage: str, metrics: Mapping[str, float]) -> str:
    if stage == "prune":
        return f"{metrics['prune/kept_fraction']:.1%} of candidates kept"
    if stage == "search":
        found = f"supernet accuracy {metrics['search/val_acc']:.2%}" if "search/val_acc" in metrics else "cell found"
        if "search/true_acc" not in metrics:
            return found
        return f"{found}, worth {metrics['search/true_acc']:.2%} ({metrics['search/true_rank']:.1%} of all are better)"
    accuracy = f"test accuracy {metrics['evaluate/test_acc']:.2%}" if "evaluate/test_acc" in metrics else "trained"
    return f"{accuracy}, {metrics['evaluate/params'] / 1e6:.2f} M params"


def describe_mask(mask: Mask) -> str:
    """Say how often each operation is kept, over all edges of all cells."""
    kept = Counter(name for edges in mask.kept.values() for edge in edges for name in edge)
    edges = sum(len(edges) for edges in mask.kept.values())
    listed = ", ".join(f"{name} {count}" for name, count in kept.most_common())
    return f"Kept by {mask.pruner} on {edges} edges: {listed}"


def describe_decisions(metrics: Mapping[str, float]) -> str:
    """Say how far the search has moved from its random start, and whether what was found is a tie-break."""
    moved, chance = metrics["search/moved_edges"], metrics["search/moved_edges_chance"]
    text = f"Edges that prefer another candidate than at the start: {moved:.0%} (two random choices: {chance:.0%})"
    tie = describe_tie(metrics)
    return text if tie is None else f"{text}\n{tie}"


def describe_tie(metrics: Mapping[str, float]) -> str | None:
    """Say that what a search found is a tie-break, and what may have made it one; None where it is none."""
    if not metrics.get("search/tie_break"):
        return None
    known = {key.removeprefix("search/"): value for key, value in metrics.items()}
    said, reasons = "A tie-break: ", []
    if known.keys() >= {"relative_margin", "relative_margin_start"}:
        said += (
            f"chosen and next candidate differ by {100 * known['relative_margin']:.2g}% of their strength, at the "
            f"start by {100 * known['relative_margin_start']:.2g}%, so that "
        )
    if known.get("regularizer_weight"):
        reasons.append(f"the regulariser's weight, {known['regularizer_weight']:.3g} in the end, too high")
    if "architecture_learning_rate" in known:
        rate = known["architecture_learning_rate"]
        reasons.append(f"searcher.architecture_learning_rate={rate:.3g} too low")
    if "architecture_epochs" in known:
        reasons.append(f"{known['architecture_epochs']:.0f} epochs of architecture steps too few")
    said += "the seed decides" if known.get("relative_margin_start") == 0 else "the start decides more than the task"
    return f"{said}; maybe {', or '.join(reasons)}" if reasons else said


def describe_genotype(genotype: Genotype) -> str:
    """Write the cells in a line each, as operation(source state), or the layers of a chain in one line."""
    if is_chain(genotype.cells):
        chosen = (name for ((name, _),) in genotype.cells.values())
        return "Layers: " + "  ".join(f"{number} {name}" for number, name in enumerate(chosen, start=1))
    lines = [
        ("Cell: " if kind == "cell" else f"Cell {kind}: ") + "  ".join(f"{name}({source})" for name, source in genes)
        for kind, genes in genotype.cells.items()
    ]
    return "\n".join(lines)
