"""The number of floating-point operations.

Source: as a baseline in White et al., "A Deeper Look at Zero-Cost Proxies for Lightweight NAS", ICLR Blog Track 2022.
"""

import torch
from torch import Tensor, nn

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork


class FLOPs(RankingFunction):
    """r(N) = operations of convolutions and linear layers for one image, those of candidates times their presence.

    A multiply-accumulate counts as two; larger is better.
    """

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        images = sample.images[:2]  # batch norm cannot work on one pixel
        counts: list[tuple[str, int]] = []

        def count(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            counts.append((name, 2 * module.get_parameter("weight")[0].numel() * output[0].numel()))

        with torch.no_grad():
            network(images, hook=count, types=(nn.Conv2d, nn.Linear))
        return network.count(counts).to(images.device)
