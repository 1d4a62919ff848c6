"""The number of parameters, the plainest ranking function.

Source: as a baseline in White et al., "A Deeper Look at Zero-Cost Proxies for Lightweight NAS", ICLR Blog Track 2022.
"""

from torch import Tensor

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork


class ParameterCount(RankingFunction):
    """r(N) = number of parameters, those of candidates times their presence; larger is better."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        counts = ((name.rpartition(".")[0], p.numel()) for name, p in network.parameters().items())
        return network.count(counts).to(sample.images.device)
