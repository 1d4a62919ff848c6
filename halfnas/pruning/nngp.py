"""The Frobenius norm of the NNGP kernel, as a correlation between samples.

Source: Rumiantsev & Coates, "Performing Neural Architecture Search Without Gradients", ICASSP 2023, in the form of its
public code (Rufaim/ETENAS, lib/procedures/nngp.py): the Pearson correlation of the samples' logits, one initialisation,
the logits of a few batches joined, batch norm in training mode.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from halfnas.pruning.ranking import Batch


def logit_correlation(logits: Tensor, eps: float = 1e-12) -> Tensor:
    """Pearson correlation of the samples over the classes.

    K_ab = <z_a, z_b> / (|z_a| |z_b|) with z_a the logits of sample a less their mean over the classes. A sample whose
    logits are constant correlates with nothing, itself included (a row of zeros), where corrcoef would give NaN.

    Args:
        logits: [N, num_classes].
        eps: below this norm, and below rounding errors, centred logits count as zero.

    Returns:
        [N, N], entries in [-1, 1].
    """
    centred = logits - logits.mean(dim=1, keepdim=True)
    norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    # Constant logits leave rounding errors of their size, which must not be scaled up to 1.
    rounding = 4 * torch.finfo(logits.dtype).eps * torch.linalg.vector_norm(logits, dim=1, keepdim=True)
    unit = torch.where(norm <= eps + rounding, 0.0, centred / norm.clamp_min(eps))  # NaN stays NaN
    return unit @ unit.T


class NNGPFrobenius:
    """r(N) = ||K||_F of `logit_correlation`, between sqrt(N) and N for N samples; larger is better.

    Args:
        weight, sign: see `RankingFunction`.
    """

    def __init__(self, weight: float, sign: int) -> None:
        self.weight = weight
        self.sign = sign

    def __call__(self, network: Callable[[Tensor], Tensor], batches: Sequence[Batch]) -> Tensor:
        """Rate `network`; every batch has its own batch norm statistics, the logits of all are joined."""
        logits = torch.cat([network(batch.images) for batch in batches])
        return torch.linalg.matrix_norm(logit_correlation(logits), ord="fro")
