"""Figures of several panels, each as large as its content needs, so that text keeps its size."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from halfnas.drawing.kit import LABEL, text_width

MIN_WIDTH, MAX_WIDTH = 5.0, 13.0  # a figure holds its legend; wider rows of panels are broken
LEGEND_HEIGHT, TITLE_HEIGHT = 0.45, 0.35


def panels(
    sizes: Sequence[tuple[float, float]], margins: tuple[float, float, float, float], title: str | None
) -> tuple[Figure, list[Axes]]:
    """Make a figure with one panel a size, in rows, with room for a title above and a legend below.

    Args:
        sizes: width and height of each panel, in inches.
        margins: what stands around each of them: left, top, right, bottom, in inches.
    """
    left, top, right, bottom = margins
    rows: list[list[int]] = [[]]
    for number, (width, _) in enumerate(sizes):
        used = sum(sizes[i][0] + left + right for i in rows[-1])
        if rows[-1] and used + width + left + right > MAX_WIDTH:
            rows.append([])
        rows[-1].append(number)
    widths = [sum(sizes[i][0] + left + right for i in row) for row in rows]
    heights = [max(sizes[i][1] for i in row) + top + bottom for row in rows]
    lines = (title or "").replace("$", "S").splitlines()  # to measure: a dollar sign starts a formula elsewhere
    width = max([*widths, MIN_WIDTH, *(1.03 * text_width(line, LABEL + 3) + 0.4 for line in lines)])
    y = TITLE_HEIGHT + 0.2 * (len(lines) - 1) if lines else 0.0
    height = y + sum(heights) + LEGEND_HEIGHT
    figure = Figure(figsize=(width, height), dpi=200, facecolor="white")
    if title:
        figure.suptitle(title, y=1 - 0.1 / height, va="top", fontsize=LABEL + 3, parse_math=False)
    made = []
    for row, row_width, row_height in zip(rows, widths, heights, strict=True):
        x = (width - row_width) / 2
        for i in row:
            w, h = sizes[i][0], row_height - top - bottom
            place = ((x + left) / width, 1 - (y + top + h) / height, w / width, h / height)
            axes = figure.add_axes(place, label=str(i))
            axes.set(xlim=(0, w), ylim=(h, 0))
            made.append(axes)
            x += w + left + right
        y += row_height
    return figure, made
