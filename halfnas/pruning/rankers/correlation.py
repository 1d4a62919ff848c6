"""Pearson correlation of samples, safe where one of them is constant."""

import torch
from torch import Tensor


def correlation(rows: Tensor, eps: float = 1e-12) -> Tensor:
    """K_ab = <z_a, z_b> / (|z_a| |z_b|) with z_a the values of sample a less their mean.

    A sample whose values are constant correlates with nothing, itself included (a row of zeros), where corrcoef would
    give NaN.

    Args:
        rows: [N, D], one row a sample.
        eps: below this norm, and below rounding errors, centred values count as zero.

    Returns:
        [N, N], entries in [-1, 1].
    """
    centred = rows - rows.mean(dim=1, keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    # Constant values leave rounding errors of their size, which must not be scaled up to 1.
    rounding = 4 * torch.finfo(rows.dtype).eps * torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    unit = torch.where(norm <= eps + rounding, 0.0, centred / norm.clamp_min(eps))  # NaN stays NaN
    return unit @ unit.T
