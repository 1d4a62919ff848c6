"""Whether the gradients of different batches agree.

Source: Li et al., "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients", ICLR 2023, and its code,
SLDGroup/ZiCo, ZeroShotProxy/compute_zico.py.
"""

from functools import partial

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, loss


class ZiCo(RankingFunction):
    """r(N) = sum over layers of log sum_theta E_b|g_b| / std_b(g_b); larger is better.

    g_b is the gradient of the cross entropy on batch b, at least two batches. Weights whose gradient does not vary are
    left out, and layers without any other.
    """

    log_scale = True
    fewest_batches = 2

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        if len(sample.batches) < self.fewest_batches:
            raise ValueError(f"ZiCo compares batches and needs `num_batches` of at least 2, got {len(sample.batches)}")
        weights = network.weights()
        singles = [Sample([batch]) for batch in sample.batches]
        gradients = [grad(partial(loss, network, single))(weights) for single in singles]
        layers = []
        for name in weights:
            g = torch.stack([each[name] for each in gradients])
            variance = g.var(dim=0, correction=0)
            varies = variance > 0
            ratio = torch.where(varies, g.abs().mean(dim=0) / torch.where(varies, variance, 1.0).sqrt(), 0.0).sum()
            log = torch.where(ratio > 0, torch.where(ratio > 0, ratio, 1.0).log(), 0.0)
            layers.append(log * network.presence(name.removesuffix(".weight")))
        return torch.stack(layers).sum()
