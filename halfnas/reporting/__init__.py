"""Reads finished runs: tables, figures, one page, and what they say of claims; `load` gives them to a notebook."""

from halfnas.reporting.frame import load

__all__ = ["load"]
