"""How much the loss depends on every single channel.

Source: Turner et al., "BlockSwap: Fisher-guided Block Substitution for Network Compression on a Budget", ICLR 2020; as
a score of architectures in SamsungLabs/zero-cost-nas, foresight/pruners/measures/fisher.py.
"""

import torch
from torch import Tensor, nn
from torch.func import grad

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork


class Fisher(RankingFunction):
    """r(N) = sum over output channels k of (1/2) mean_n (sum_hw a dL/da)^2 times weights of k; larger is better.

    a is what a convolution or linear layer puts out, L the mean cross entropy. The published code gives every weight
    the figure of its channel, hence the factor. sum_hw a dL/da is the derivative of L with respect to a gate of 1 in
    front of the channel of that sample.
    """

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        weights = network.weights()
        images = sample.images
        gates = {name: images.new_ones(len(images), w.shape[0]) for name, w in weights.items()}

        def gated_loss(gates: dict[str, Tensor]) -> Tensor:
            def gate(name: str, module: nn.Module, x: Tensor, output: Tensor) -> Tensor:
                return output * gates[f"{name}.weight"].view(*output.shape[:2], *[1] * (output.dim() - 2))

            logits = network(images, hook=gate, types=(nn.Conv2d, nn.Linear))
            return nn.functional.cross_entropy(logits, sample.labels)

        gradients = grad(gated_loss)(gates)
        per_layer = [g.square().mean(dim=0).sum() / 2 * weights[name][0].numel() for name, g in gradients.items()]
        return torch.stack(per_layer).sum()
