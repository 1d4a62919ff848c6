"""Whether removing weights would slow the first step of training.

Source: Wang, Zhang & Grosse, "Picking Winning Tickets Before Training by Preserving Gradient Flow", ICLR 2020; as a
score of architectures in SamsungLabs/zero-cost-nas, foresight/pruners/measures/grasp.py, whose sign is kept.
"""

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, loss
from halfnas.pruning.scoring_network import smooth_norm


class GraSP(RankingFunction):
    """r(N) = -sum theta (H g), g = dL/dtheta and H the Hessian of L; larger is better.

    H g is the gradient of g^T g' with g' = g held constant (temperature 1).
    """

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        gradient = grad(lambda w: loss(network, sample, w, norm=smooth_norm))  # a third derivative for its importance
        weights = network.weights()
        constant = gradient(weights)
        product = grad(lambda w: _dot(gradient(w), constant))(weights)
        return -_dot(weights, product)


def _dot(a: dict[str, Tensor], b: dict[str, Tensor]) -> Tensor:
    return torch.stack([(a[name] * b[name]).sum() for name in a]).sum()
