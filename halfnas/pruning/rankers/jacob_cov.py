"""How differently a network responds to different images.

Source: Mellor et al., "Neural Architecture Search without Training", arXiv 2006.04647v1; as a score of architectures in
SamsungLabs/zero-cost-nas, foresight/pruners/measures/jacob_cov.py.
"""

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.rankers.correlation import correlation
from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several

#: Added to the eigenvalues, as in the published code.
EPS = 1e-5


class JacobianCovariance(RankingFunction):
    """r(N) = -sum_i [log(v_i + k) + 1 / (v_i + k)]; larger is better.

    v are the eigenvalues of the correlation, between samples, of the gradient of a sample's summed logits with respect
    to its image; k = 1e-5. The statistics of batch norms count as constants, unlike in the published code: where the
    features are normalised last, as in a DARTS supernet, the logits of a batch sum to a constant.
    """

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        check_several(sample.images, "the Jacobian covariance")
        norm = network.frozen_norms(sample.images)
        jacobian = grad(lambda images: network(images, norm=norm).sum())(sample.images)
        eigenvalues = torch.linalg.eigvalsh(correlation(jacobian.flatten(1).double())).clamp_min(0) + EPS
        return -(eigenvalues.log() + 1 / eigenvalues).sum()
