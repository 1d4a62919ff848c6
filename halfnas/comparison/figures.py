"""The figures of a comparison of pruners and ranking functions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from halfnas.drawing import kit
from halfnas.drawing.kit import save

__all__ = ["correlations", "distributions", "matrix", "reliability", "save"]


def matrix(names: Sequence[str], values: np.ndarray) -> Figure:
    """Draw the agreement of every pruner with every other, [P, P]; the diagonal is between seeds of one."""
    figure = Figure(figsize=(1.5 + 0.5 * len(names), 1 + 0.45 * len(names)), facecolor="white")
    axes = figure.subplots()
    kit.matrix(axes, values, names, low=0.4)
    axes.set_title("Agreement of masks from different seeds", fontsize=kit.FONT)
    return figure


def reliability(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the agreement that pruners report against that of their seeds, from the rows of `prunings.summarize`."""
    figure, axes = kit.new_axes(height=5, width=6)
    shown = [row for row in rows if row["agreement reported"] is not None and row["agreement of seeds"] is not None]
    axes.axline((0.5, 0.5), slope=1, color=kit.GREY, linewidth=0.8)
    axes.fill_between([0.4, 1], [0.32, 0.92], [0.48, 1.08], color=kit.GREY, alpha=0.15, label="within 0.08")
    for row in shown:
        x, y = row["agreement reported"], row["agreement of seeds"]
        axes.errorbar(x, y, yerr=[[y - row["lowest"]], [row["highest"] - y]], fmt="o", markersize=4, color=kit.BLUE)
        axes.annotate(row["pruner"], (x, y), xytext=(5, 3), textcoords="offset points", fontsize=kit.FONT - 2)
    axes.set(xlim=(0.45, 1.02), ylim=(0.45, 1.02))
    axes.set_xlabel("agreement that a pruning reports")
    axes.set_ylabel("agreement of two seeds (lowest and highest)")
    axes.legend(loc="upper left", fontsize=kit.FONT - 0.5, frameon=False)
    return figure


def correlations(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw Kendall's tau of every ranking function with its interval, the largest on top."""
    rows = sorted(rows, key=lambda row: row["tau"])
    figure, axes = kit.new_axes(height=0.8 + 0.3 * len(rows), width=6)
    tau = np.array([row["tau"] for row in rows])
    error = [tau - [row["tau low"] for row in rows], np.array([row["tau high"] for row in rows]) - tau]
    axes.errorbar(tau, range(len(rows)), xerr=error, fmt="o", markersize=4, color=kit.BLUE)
    axes.axvline(0, color=kit.GREY, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["ranking function"] for row in rows])
    axes.set_xlabel("Kendall's tau with validation accuracy, 95% bootstrap interval")
    return figure


def distributions(values: Mapping[str, np.ndarray]) -> Figure:
    """Draw the accuracies of the architectures that every pruner leaves, as fractions; the whole space comes first."""
    figure, axes = kit.new_axes(height=0.8 + 0.36 * len(values))
    names = list(values)[::-1]
    axes.boxplot(
        [values[name] for name in names], orientation="horizontal", whis=(5, 95), showfliers=False, showmeans=True,
        tick_labels=names, medianprops={"color": kit.VERMILION},
        meanprops={"marker": "d", "markersize": 4, "markerfacecolor": kit.BLUE, "markeredgecolor": kit.BLUE},
    )  # fmt: skip
    axes.set_xlabel("validation accuracy: 5%, quartiles, 95%; diamond: mean")
    return figure
