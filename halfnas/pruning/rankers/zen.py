"""How far a small change of the input moves the features of a network with Gaussian weights.

Source: Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition", ICCV 2021, and its code,
idstcv/ZenNAS, ZeroShotProxy/compute_zen_score.py.
"""

from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork

#: Size of the change of the input, `mixup_gamma` of the published code.
GAMMA = 1e-2


class Zen(RankingFunction):
    """r(N) = log mean_b sum |f(x) - f(x + gamma x')| + sum over batch norms of log sqrt(mean variance).

    Larger is better. f are the features before the global pooling, weights and images x, x' are standard normal. The
    variances are those of the batch x, per channel; the published code reads the running ones after two batches.
    """

    log_scale = True

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        shapes = {name: w.shape for name, w in network.weights().items()}
        weights = {name: sample.normal(*shape, stream=2 + crc32(name.encode())) for name, shape in shapes.items()}
        x, change = (sample.normal(*sample.images.shape, stream=stream) for stream in (0, 1))
        scales: list[Tensor] = []

        def measure(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            variance = x.var(dim=[0, *range(2, x.dim())], correction=0).mean()
            scales.append(variance.clamp_min(torch.finfo(x.dtype).tiny).log() / 2 * network.presence(name))

        features = network.features(x, weights, hook=measure, types=(_BatchNorm,))
        moved = network.features(x + GAMMA * change, weights)
        distance = (features - moved).abs().flatten(1).sum(dim=1).mean()
        return sum(scales, distance.log())
