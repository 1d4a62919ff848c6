"""Figures of a comparison."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

DPI = 150


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    return path


def matrix(names: Sequence[str], values: np.ndarray) -> Figure:
    """Agreement of every pruner with every other, [P, P]; the diagonal is between seeds of one."""
    figure = Figure(figsize=(1.5 + 0.5 * len(names), 1 + 0.45 * len(names)))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right")
    axes.set_yticks(range(len(names)), names)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            if np.isfinite(value):
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6.5,
                          color="white" if value < 0.6 else "black")  # fmt: skip
    axes.set_title("Agreement of masks from different seeds")
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def reliability(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Agreement that pruners report against that of their seeds."""
    figure = Figure(figsize=(6, 5))
    axes = figure.subplots()
    shown = [row for row in rows if row["agreement reported"] is not None and row["agreement of seeds"] is not None]
    axes.axline((0.5, 0.5), slope=1, color="grey", linewidth=0.8)
    axes.fill_between([0.4, 1], [0.32, 0.92], [0.48, 1.08], color="grey", alpha=0.15, label="within 0.08")
    for row in shown:
        x, y = row["agreement reported"], row["agreement of seeds"]
        axes.errorbar(x, y, yerr=[[y - row["lowest"]], [row["highest"] - y]], fmt="o", markersize=4, color="C0")
        axes.annotate(row["pruner"], (x, y), xytext=(5, 3), textcoords="offset points", fontsize=7)
    axes.set(xlim=(0.45, 1.02), ylim=(0.45, 1.02))
    axes.set_xlabel("agreement that a pruning reports")
    axes.set_ylabel("agreement of two seeds (lowest and highest)")
    axes.legend(loc="upper left")
    return figure


def correlations(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Kendall's tau of every ranking function with its interval."""
    rows = sorted(rows, key=lambda row: row["tau"])
    figure = Figure(figsize=(6, 0.8 + 0.3 * len(rows)))
    axes = figure.subplots()
    tau = np.array([row["tau"] for row in rows])
    error = [tau - [row["tau low"] for row in rows], np.array([row["tau high"] for row in rows]) - tau]
    axes.errorbar(tau, range(len(rows)), xerr=error, fmt="o", markersize=4)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["ranking function"] for row in rows])
    axes.set_xlabel("Kendall's tau with validation accuracy, 95% bootstrap interval")
    return figure


def distributions(values: Mapping[str, np.ndarray]) -> Figure:
    """Accuracies of the architectures left by every pruner, the whole space first."""
    figure = Figure(figsize=(7, 0.8 + 0.36 * len(values)))
    axes = figure.subplots()
    names = list(values)[::-1]
    axes.boxplot(
        [values[name] for name in names], orientation="horizontal", whis=(5, 95), showfliers=False, showmeans=True,
        tick_labels=names, meanprops={"marker": "d", "markersize": 4},
    )  # fmt: skip
    axes.set_xlabel("validation accuracy: 5%, quartiles, 95%; diamond: mean")
    axes.grid(axis="x", alpha=0.3)
    return figure
