"""The condition number of the neural tangent kernel.

Source: Chen, Gong & Wang, "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021 (TE-NAS), and its code,
VITA-Group/TENAS, lib/procedures/ntk.py.
"""

import torch
from torch import Tensor
from torch.func import jacrev

from halfnas.pruning.rankers.batch_norms import BatchNorm, checked, norms
from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several


class NTKConditionNumber(RankingFunction):
    """r(N) = lambda_max / lambda_min of Theta = J J^T; smaller is better.

    J_a is the gradient of the sum of sample a's logits with respect to all weights (those of batch norms included,
    biases not), all samples in one forward pass in training mode. The smallest eigenvalue counts as at least rounding
    error times the largest, so that a singular kernel has a large but finite condition number.

    Args:
        batch_norm: "published": the statistics of the batch are functions of the weights. "frozen", ours: they count as
            constants. The two are different numbers, and rank differently. The published form needs a network in
            which something follows the last batch norm, as in NAS-Bench-201: where the features are normalised last, as
            in a DARTS supernet, the outputs of a batch sum to a constant, and the kernel is singular.
    """

    def __init__(self, weight: float = 1.0, sign: int = 1, batch_norm: BatchNorm = "frozen") -> None:
        super().__init__(weight, sign)
        self.batch_norm = checked(batch_norm)

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        check_several(sample.images, "the NTK")
        weights = {name: p for name, p in network.parameters().items() if name.endswith("weight")}
        norm = norms(network, sample.images, self.batch_norm)
        jacobian = jacrev(lambda w: network(sample.images, w, norm=norm).sum(dim=1))(weights)
        rows = torch.cat([part.flatten(1) for part in jacobian.values()], dim=1).double()
        eigenvalues = torch.linalg.eigvalsh(rows @ rows.T)
        floor = torch.finfo(eigenvalues.dtype).eps * eigenvalues[-1]
        return eigenvalues[-1] / torch.maximum(eigenvalues[0], floor)
