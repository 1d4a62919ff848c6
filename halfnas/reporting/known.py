"""The spaces that masks and genotypes of runs name."""

from functools import cache

from halfnas.spaces import SearchSpace, load_space


@cache
def known_space(name: str) -> SearchSpace | None:
    """Find a space by its name; None for one of another project, which no file here describes."""
    try:
        return load_space(name)
    except (ValueError, TypeError):  # TypeError: its sizes are for the user to give
        return None
