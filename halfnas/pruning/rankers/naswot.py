"""How well the ReLUs tell images apart.

Source: Mellor et al., "Neural Architecture Search without Training", ICML 2021, and its code,
BayesWatch/nas-without-training, score_networks.py.
"""

import torch
from torch import Tensor, nn

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork, check_several


class NASWOT(RankingFunction):
    """r(N) = log |det K|, K_ab = number of ReLUs that agree on samples a and b; larger is better.

    K is the sum over ReLU modules of c c^T + (1 - c)(1 - c)^T with c = 1 where the module's input is positive.
    """

    differentiable = False
    log_scale = True

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        check_several(sample.images, "NASWOT")
        kernels: list[Tensor] = []

        def compare(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            active = (x.flatten(1) > 0).to(x.dtype)
            kernels.append((active @ active.T + (1 - active) @ (1 - active).T) * network.presence(name))

        network(sample.images, hook=compare, types=(nn.ReLU,))
        return torch.linalg.slogdet(torch.stack(kernels).double().sum(dim=0)).logabsdet
