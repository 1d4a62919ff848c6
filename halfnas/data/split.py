"""How one training set serves two purposes."""

import math

import torch


def two_halves(n: int, fraction: float = 0.5) -> tuple[range, range]:
    """Indices for the weights and for the architecture: the first floor(fraction * n) images and the rest.

    In index order, as quark0/darts, cnn/train_search.py does it (train_portion): every run searches on the same halves.
    """
    first = _part("train_fraction", fraction, n)
    return range(first), range(first, n)


def holdout(n: int, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices to train on and indices to validate on: floor(fraction * n) random images are held out."""
    held_out = _part("holdout_fraction", fraction, n)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return order[held_out:], order[:held_out]


def _part(setting: str, fraction: float, n: int) -> int:
    part = math.floor(fraction * n)
    if not 0 < part < n:
        raise ValueError(
            f"`{setting}` must leave images on both sides, got {fraction} of {n} images, which makes {part} and "
            f"{n - part}; e.g. 0.5"
        )
    return part
