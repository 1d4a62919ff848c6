"""How much signal flows through the weights, without data.

Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving synaptic flow", NeurIPS 2020;
as a score of architectures in Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, and its code,
SamsungLabs/zero-cost-nas, foresight/pruners/measures/synflow.py.
"""

import torch
from torch import Tensor, nn
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork


class SynFlow(RankingFunction):
    """r(N) = log sum |theta dR/dtheta|, R the sum of the logits of an image of ones; larger is better.

    All parameters are replaced by their absolute value and batch norms by the identity. The sum is over weights of
    convolutions and linear layers, in float64; it spans many orders of magnitude (zero-cost-nas issue 23), so its
    logarithm is taken.
    """

    log_scale = True

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        ones = torch.ones_like(sample.images[:1], dtype=torch.float64)
        positive = {name: p.double().abs() for name, p in network.parameters().items()}
        weights = {name: positive[name] for name in network.weights()}
        flow = grad(lambda w: network(ones, {**positive, **w}, norm=_identity).sum())(weights)
        return torch.stack([(w * flow[name]).abs().sum() for name, w in weights.items()]).sum().log()


def _identity(name: str, module: nn.Module, x: Tensor) -> Tensor:
    return x
