"""Cells, masks and weights as pictures, and the table at the end of a run; knows spaces, nothing of runs.

The names below are looked up when they are used: what prints a table need not load matplotlib.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfnas.drawing.cells import draw_genotype, genotype_to_dot
    from halfnas.drawing.grids import draw_mask, draw_strengths

__all__ = ["draw_genotype", "draw_mask", "draw_strengths", "genotype_to_dot"]

_FILES = {"draw_genotype": "cells", "genotype_to_dot": "cells", "draw_mask": "grids", "draw_strengths": "grids"}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)
