"""What all figures share: colours, sizes of text, axes, legends, and how a figure becomes a file.

Figures are `Figure` objects: no pyplot and no global state, so they are drawn without a display and from any thread.
Lengths are inches, sizes of text are points.
"""

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.textpath import TextPath
from numpy.typing import NDArray

#: Okabe and Ito's palette, which colour-blind readers can tell apart ("Color Universal Design", 2008), without their
#: yellow, which is too light for lines.
BLUE, VERMILION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, BLACK = "#E69F00", "#56B4E9", "#000000"
INK, GREY, SILVER, MIST, PALE = "#222222", "#8C8C8C", "#C4C4C4", "#E4E4E4", "#F5F5F5"

FONT = 9.0  # axes and legends
LABEL = 8.0  # within a drawn cell or beside a grid
WIDTH = 7.0  # of a plot; readable on a phone, and on paper
DPI = 150
NAME_LENGTH, LEGEND_LENGTH = 48, 76
NO_BREAK = "\N{NO-BREAK SPACE}"


def new_axes(height: float, width: float = WIDTH) -> tuple[Figure, Axes]:
    """Make a figure with one plot, of a height and width in inches."""
    figure = Figure(figsize=(width, height), facecolor="white")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Give a plot a light grid and no frame."""
    axes.grid(color=MIST, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=FONT - 0.5)


def legend_below(figure: Figure, handles: Sequence[Line2D | Patch], inches: float = 0.0) -> None:
    """Put a legend `inches` below the lowest edge of a figure, in as many columns as fit."""
    widest = max((len(str(handle.get_label())) for handle in handles), default=1)
    columns = max(1, min(len(handles), int(88 / (widest + 6))))
    _legend(figure, handles, "upper center", -inches, ncols=columns, fontsize=FONT - 0.5)


def legend_inside(figure: Figure, handles: Sequence[Line2D | Patch]) -> None:
    """Put a legend of one row at the lowest edge of a figure, within it."""
    space = {"handlelength": 1.4, "columnspacing": 1.4, "borderpad": 0.2}
    _legend(figure, handles, "lower center", 0.05, ncols=len(handles), fontsize=LABEL, **space)


def _legend(
    figure: Figure,
    handles: Sequence[Line2D | Patch],
    loc: Literal["upper center", "lower center"],
    y: float,
    **style: float,
) -> None:
    place = (0.5, y / figure.get_figheight())
    figure.legend(handles=list(handles), loc=loc, bbox_to_anchor=place, frameon=False, **style)


def matrix(axes: Axes, values: NDArray[np.float64], names: Sequence[str], low: float) -> None:
    """Draw a square matrix [N, N] of numbers up to 1 between N named things; `low` has the darkest colour."""
    axes.imshow(values, cmap=colormaps["cividis"].with_extremes(bad=MIST), vmin=min(low, 0.99), vmax=1)
    ticks = range(len(names))
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=FONT - 2)
    axes.set_yticks(ticks, names, fontsize=FONT - 2)
    axes.tick_params(length=0)
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < (1 + low) / 2 else "black"
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", size=FONT - 2, color=colour)


def shorten(name: str, length: int = NAME_LENGTH) -> str:
    """Make a name fit by leaving out its middle, as names of groups may differ at either end.

    For matplotlib: a dollar sign would start a formula.
    """
    name = " ".join(name.split())
    if len(name) > length:
        end = length // 2
        name = f"{name[: length - 1 - end]}…{name[-end:]}"
    return name.replace("$", r"\$")


def wrapped(text: str, letters: int = 84) -> str:
    """Break a sentence into lines of at most so many letters."""
    return "\n".join(textwrap.wrap(text, letters))


def row_name(name: str, letters: int = NAME_LENGTH) -> str:
    """Make a name fit beside a row of a plot or above it, on several lines, broken after commas."""
    parts = (shorten(part, letters - 1).replace(" ", NO_BREAK) for part in name.split(", "))
    return wrapped(", ".join(parts), letters).replace(NO_BREAK, " ")


def text_width(text: str, size: float) -> float:
    """Measure a line of text with its formulas, in inches, in the font of the figures; `size` is in points."""
    if not text.strip():
        return 0.0  # matplotlib has no outline of nothing
    corners = TextPath((0, 0), text, size=size).vertices  # its own extents are slow, and hardly less
    return float(corners[:, 0].max()) / 72


def cell_title(kind: str) -> str:
    """Say what a kind of cell is called over its picture, such as "normal cell"."""
    return kind if kind.endswith("cell") else f"{kind} cell"


def to_png(figure: Figure) -> bytes:
    """Turn a figure into the bytes of a PNG file, 150 dots an inch, without the empty space around it."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight")
    return file.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Write a figure to a PNG file, in a folder that is made if need be; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_png(figure))
    return path
