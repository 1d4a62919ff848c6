"""Scores of the NNGP kernel, as a correlation of the logits between samples.

Source: Rumiantsev & Coates, "Performing Neural Architecture Search Without Gradients", ICASSP 2023, in the form of its
public code (Rufaim/ETENAS, lib/procedures/nngp.py): the Pearson correlation of the samples' logits, one initialisation,
the logits of a few batches joined, batch norm in training mode.
"""

import torch
from torch import Tensor

from halfnas.pruning.rankers.correlation import correlation
from halfnas.pruning.ranking import LogitRanking, check_several


def nngp_kernel(logits: Tensor) -> Tensor:
    """[N, N], from logits [N, num_classes]."""
    check_several(logits, "NNGP")
    return correlation(logits)


class NNGPFrobenius(LogitRanking):
    """r(N) = ||K||_F, between sqrt(N) and N for N samples; larger is better."""

    def rate(self, logits: Tensor) -> Tensor:
        return torch.linalg.matrix_norm(nngp_kernel(logits), ord="fro")


class NNGPMean(LogitRanking):
    """r(N) = mean of all entries of K, in [0, 1]; larger is better."""

    def rate(self, logits: Tensor) -> Tensor:
        return nngp_kernel(logits).mean()
