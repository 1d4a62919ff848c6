"""What a network costs to run."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


@torch.no_grad()
def count_macs(network: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of convolutions and linear layers for one image [C, H, W], in eval mode.

    Batch norms, pools and sums are left out, as is usual. FlopCounterMode counts a multiply-accumulate as two.
    """
    parameter = next(network.parameters())
    image = torch.zeros(1, *shape, device=parameter.device, dtype=parameter.dtype)
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(image)
    network.train(training)
    return counter.get_total_flops() // 2
