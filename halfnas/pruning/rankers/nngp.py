"""Scores of the NNGP kernel, as a correlation of the logits between samples.

Source: Rumiantsev & Coates, "Performing Neural Architecture Search Without Gradients", ICASSP 2023, in the form of its
public code (Rufaim/ETENAS, lib/procedures/nngp.py): the Pearson correlation of the samples' logits, one initialisation,
the logits of a few batches joined, batch norm in training mode.
"""

import torch
from torch import Tensor

from halfnas.pruning.rankers.correlation import correlation
from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several


def nngp_kernel(network: ScoringNetwork, sample: Sample) -> Tensor:
    """[N, N] over the images of all batches, each batch with batch norm statistics of its own."""
    check_several(sample.images, "NNGP")
    return correlation(torch.cat([network(batch.images) for batch in sample.batches]))


class NNGPFrobenius(RankingFunction):
    """r(N) = ||K||_F, between sqrt(N) and N for N samples; larger is better."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        return torch.linalg.matrix_norm(nngp_kernel(network, sample), ord="fro")


class NNGPMean(RankingFunction):
    """r(N) = mean of all entries of K, in [0, 1]; larger is better."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        return nngp_kernel(network, sample).mean()
