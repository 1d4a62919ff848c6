"""How much the loss depends on every single weight.

Source: Lee, Ajanthan & Torr, "SNIP: Single-shot Network Pruning based on Connection Sensitivity", ICLR 2019; as a score
of architectures in SamsungLabs/zero-cost-nas, foresight/pruners/measures/snip.py.
"""

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, loss


class SNIP(RankingFunction):
    """r(N) = sum |theta dL/dtheta| over weights of convolutions and linear layers; larger is better."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        weights = network.weights()
        gradients = grad(lambda w: loss(network, sample, w))(weights)
        return torch.stack([(w * gradients[name]).abs().sum() for name, w in weights.items()]).sum()
