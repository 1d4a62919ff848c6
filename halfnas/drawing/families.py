"""The colours and lines of operations."""

from typing import Literal

from matplotlib.colors import to_rgb

from halfnas.drawing import kit
from halfnas.spaces import NONE

#: family of operations -> fragments of their names, and a colour; the first family that fits counts; "" fits all
FAMILIES = {
    NONE: ((NONE,), kit.GREY),
    "noise": (("noise",), kit.ORANGE),
    "skip": (("skip", "identity"), kit.PURPLE),
    "pooling": (("pool",), kit.GREEN),
    "dilated": (("dil",), kit.VERMILION),
    "separable": (("sep",), kit.BLUE),
    "convolution": (("conv",), kit.SKY),
    "other": (("",), kit.BLACK),
}


def family_of(operation: str) -> str:
    """The first family that an operation belongs to."""
    return next(name for name, (parts, _) in FAMILIES.items() if any(part in operation for part in parts))


def line_of(operation: str) -> Literal["-", "--"]:
    """The line of an operation: dashed where it carries no signal."""
    return "--" if operation == NONE else "-"


def colour_of(operation: str) -> str:
    """The colour of its family."""
    return FAMILIES[family_of(operation)][1]


def tint(colour: str) -> tuple[float, ...]:
    """Lighten a colour until dark text can be read on it."""
    return tuple(1 - 0.13 * (1 - part) for part in to_rgb(colour))
