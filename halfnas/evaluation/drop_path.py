"""Drop path: in training, what an operation gives is left out now and then, sample by sample."""

import torch
from torch import Tensor


def drop_path_factors(
    num_paths: int, num_images: int, probability: float, generator: torch.Generator | None = None
) -> Tensor:
    """What the output of every path is multiplied by for every image, [num_paths, num_images], on the CPU.

    0 with `probability`, otherwise 1 / (1 - probability), so that the expectation stays. Source: quark0/darts,
    cnn/utils.py.
    """
    keep = 1 - probability
    return torch.empty(num_paths, num_images).bernoulli_(keep, generator=generator).div_(keep)
