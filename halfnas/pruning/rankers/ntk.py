"""The condition number of the neural tangent kernel.

Source: Chen, Gong & Wang, "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021 (TE-NAS), and its code,
VITA-Group/TENAS, lib/procedures/ntk.py.
"""

import torch
from torch import Tensor
from torch.func import jacrev

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several


class NTKConditionNumber(RankingFunction):
    """r(N) = lambda_max / lambda_min of Theta = J J^T; smaller is better.

    J_a is the gradient of the sum of sample a's logits with respect to all weights (those of batch norms included,
    biases not), all samples in one forward pass in training mode. The statistics of batch norms count as constants,
    unlike in the published code: where the features are normalised last, as in a DARTS supernet, the outputs of a batch
    sum to a constant, and the kernel would be singular. The smallest eigenvalue counts as at least rounding error times
    the largest, so that a singular kernel has a large but finite condition number.
    """

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        check_several(sample.images, "the NTK")
        weights = {name: p for name, p in network.parameters().items() if name.endswith("weight")}
        norm = network.frozen_norms(sample.images)
        jacobian = jacrev(lambda w: network(sample.images, w, norm=norm).sum(dim=1))(weights)
        rows = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1).double()
        eigenvalues = torch.linalg.eigvalsh(rows @ rows.T)
        floor = torch.finfo(eigenvalues.dtype).eps * eigenvalues[-1]
        return eigenvalues[-1] / torch.maximum(eigenvalues[0], floor)
