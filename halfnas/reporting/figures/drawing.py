"""A figure of a report, and what is said about it."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure

from halfnas.drawing import kit

WIDE = 9.0  # inches, from which on a figure is not shrunk to the width of a phone


@dataclass(frozen=True)
class Drawing:
    """One figure of a report.

    Attributes:
        name: the name that its file is made of.
        section: the section of the page that it stands in.
        title: the heading above it.
        caption: a text that says how many runs, what the bars are, which metric, and what is left out.
        text: lines to be shown as they are below the figure.
    """

    name: str
    section: str
    title: str
    figure: Figure
    caption: str
    text: str = ""

    @property
    def file(self) -> str:
        """The name of its file, without anything that a path or an address cannot have."""
        return f"{re.sub(r'[^A-Za-z0-9]+', '_', self.name)}.png"

    @cached_property
    def png(self) -> bytes:
        """The content of its PNG file."""
        return kit.to_png(self.figure)

    @property
    def address(self) -> str:
        """The picture itself as an address, for a page that needs no other file."""
        return f"data:image/png;base64,{base64.b64encode(self.png).decode('ascii')}"

    @property
    def wide(self) -> bool:
        """Whether it needs more than a phone's width."""
        return bool(self.figure.get_figwidth() > WIDE)


def seeds(counts: Sequence[int]) -> str:
    """Say over how many seeds means are taken, such as "n = 3" or "n = 2 to 3"."""
    low, high = min(counts), max(counts)
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def left_out(count: int, what: str, why: str = "the most accurate are drawn") -> str:
    """Say in a sentence what a figure does not show, and why; an empty text where it shows everything."""
    return f" Left out: {count} {what}; {why}." if count else ""
