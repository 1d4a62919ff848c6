"""How far a small change of the input moves the features of a network with Gaussian weights.

Source: Lin et al., "Zen-NAS: A Zero-Shot NAS for High-Performance Deep Image Recognition", ICCV 2021, and its code,
idstcv/ZenNAS, ZeroShotProxy/compute_zen_score.py.
"""

from functools import partial
from typing import Literal
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork

#: Size of the change of the input, `mixup_gamma` of the published code.
GAMMA = 1e-2
#: Of torch's batch norms, from the variance 1 that they start with.
MOMENTUM = 0.1


class Zen(RankingFunction):
    """r(N) = log mean_b sum |f(x) - f(x + gamma x')| + sum over batch norms of log sqrt(mean variance).

    Larger is better. f are the features before the global pooling, weights and images x, x' are standard normal.

    Args:
        variance: of a batch norm, per channel. "running", published: the running one after two forward passes of a new
            network, of x and of x + gamma x', 0.81 + 0.09 var(x) + 0.1 var(x + gamma x') with unbiased variances: a
            batch norm after a convolution that sees nothing but zeros counts 0.81. "batch": that of the batch x, of
            which such a batch norm has 0, and its logarithm decides everything.
    """

    log_scale = True

    def __init__(self, weight: float = 1.0, sign: int = 1, variance: Literal["running", "batch"] = "running") -> None:
        super().__init__(weight, sign)
        if variance not in ("running", "batch"):
            raise ValueError(f"`variance` must be running or batch, got {variance!r}")
        self.variance = variance

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        shapes = {name: w.shape for name, w in network.weights().items()}
        weights = {name: sample.normal(*shape, stream=2 + crc32(name.encode())) for name, shape in shapes.items()}
        x, change = (sample.normal(*sample.images.shape, stream=stream) for stream in (0, 1))
        passes: list[dict[str, Tensor]] = [{}, {}]

        def measure(found: dict[str, Tensor], name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            found[name] = x.var(dim=[0, *range(2, x.dim())], correction=int(self.variance == "running"))

        features, moved = (
            network.features(images, weights, hook=partial(measure, found), types=(_BatchNorm,))
            for images, found in zip((x, x + GAMMA * change), passes, strict=True)
        )
        distance = (features - moved).abs().flatten(1).sum(dim=1).mean()
        first, second = passes
        scales = [
            self._mean(first[name], second[name]).clamp_min(torch.finfo(x.dtype).tiny).log()
            / 2
            * network.presence(name)
            for name in first
        ]
        return sum(scales, distance.log())

    def _mean(self, first: Tensor, second: Tensor) -> Tensor:
        """Over the channels of a batch norm, from their variances in the two passes."""
        if self.variance == "batch":
            return first.mean()
        running = torch.ones_like(first)
        for variance in (first, second):
            running = (1 - MOMENTUM) * running + MOMENTUM * variance
        return running.mean()
