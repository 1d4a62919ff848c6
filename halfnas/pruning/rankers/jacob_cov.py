"""How differently a network responds to different images.

Source: Mellor et al., "Neural Architecture Search without Training", arXiv 2006.04647v1; as a score of architectures in
SamsungLabs/zero-cost-nas, foresight/pruners/measures/jacob_cov.py.
"""

import torch
from torch import Tensor
from torch.func import grad

from halfnas.pruning.rankers.batch_norms import BatchNorm, checked, norms
from halfnas.pruning.rankers.correlation import correlation
from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several

#: Added to the eigenvalues, as in the published code.
EPS = 1e-5


class JacobianCovariance(RankingFunction):
    """r(N) = -sum_i [log(v_i + k) + 1 / (v_i + k)]; larger is better.

    v are the eigenvalues of the correlation, between samples, of the gradient of the logits, summed over classes and
    samples, with respect to every image; k = 1e-5.

    Args:
        batch_norm: "published": each image also moves the statistics of the batch, and so the logits of the others.
            "frozen", ours: the statistics count as constants. The two are different numbers, and rank differently. The
            published form needs a network in which something follows the last batch norm, as in NAS-Bench-201:
            where the features are normalised last, as in a DARTS supernet, the logits of a batch sum to a constant, and
            the gradients are rounding errors.
    """

    def __init__(self, weight: float = 1.0, sign: int = 1, batch_norm: BatchNorm = "frozen") -> None:
        super().__init__(weight, sign)
        self.batch_norm = checked(batch_norm)

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        check_several(sample.images, "the Jacobian covariance")
        norm = norms(network, sample.images, self.batch_norm)
        jacobian = grad(lambda images: network(images, norm=norm).sum())(sample.images)
        eigenvalues = torch.linalg.eigvalsh(correlation(jacobian.flatten(1).double())).clamp_min(0) + EPS
        return -(eigenvalues.log() + 1 / eigenvalues).sum()
