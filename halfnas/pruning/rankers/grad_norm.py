"""How steep the loss is.

Source: Abdelfattah et al., "Zero-Cost Proxies for Lightweight NAS", ICLR 2021, and its code, SamsungLabs/zero-cost-nas,
foresight/pruners/measures/grad_norm.py.
"""

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, loss


class GradNorm(RankingFunction):
    """r(N) = sum over convolutions and linear layers of ||dL/dW||_2; larger is better."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        gradients = grad(lambda w: loss(network, sample, w))(network.weights())
        return torch.stack([torch.linalg.vector_norm(g) for g in gradients.values()]).sum()
