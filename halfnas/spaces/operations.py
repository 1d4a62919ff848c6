"""The candidate operations of the DARTS space, and the fixed modules around them.

Source: quark0/darts, cnn/operations.py and cnn/model_search.py; described there for even image sizes.
Odd sizes are rounded up everywhere, so that every operation of stride 2 agrees on ceil(size / 2).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from halfnas.spaces.space import EdgePlan


class Zero(nn.Module):
    """`none`: zeros of the size that the other candidates give."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride].mul(0.0)


class ReLUConvBN(nn.Sequential):
    """ReLU, convolution, batch norm. The kernel is odd, and padded so that only the stride changes the resolution."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, *, affine: bool
    ) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
            nn.BatchNorm2d(out_channels, affine=affine),
        )


class FactorizedReduce(nn.Module):
    """Halve the resolution: two 1x1 convolutions of stride 2, the second on the image shifted by one pixel."""

    def __init__(self, in_channels: int, out_channels: int, *, affine: bool) -> None:
        super().__init__()
        if out_channels % 2:
            raise ValueError(f"`out_channels` of FactorizedReduce must be even, got {out_channels}")
        self.relu = nn.ReLU()
        self.conv_1 = nn.Conv2d(in_channels, out_channels // 2, kernel_size=1, stride=2, bias=False)
        self.conv_2 = nn.Conv2d(in_channels, out_channels // 2, kernel_size=1, stride=2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(x)
        height, width = x.shape[2:]
        shifted = x[:, :, 1:, 1:]
        if height % 2 or width % 2:  # the last pixel of an odd size has no neighbour: read zeros there
            shifted = nn.functional.pad(shifted, (0, width % 2, 0, height % 2))
        return self.bn(torch.cat([self.conv_1(x), self.conv_2(shifted)], dim=1))


def _separable_block(channels: int, kernel_size: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    padding = dilation * (kernel_size - 1) // 2
    return [
        nn.ReLU(),
        nn.Conv2d(channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=False),
        nn.Conv2d(channels, channels, kernel_size=1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


class SepConv(nn.Sequential):
    """Two blocks of ReLU, depthwise and pointwise convolution, batch norm; the first one has the stride."""

    def __init__(self, channels: int, kernel_size: int, stride: int, *, affine: bool) -> None:
        super().__init__(
            *_separable_block(channels, kernel_size, stride, 1, affine),
            *_separable_block(channels, kernel_size, 1, 1, affine),
        )


class DilConv(nn.Sequential):
    """One block of ReLU, depthwise convolution with dilation 2, pointwise convolution, batch norm."""

    def __init__(self, channels: int, kernel_size: int, stride: int, *, affine: bool) -> None:
        super().__init__(*_separable_block(channels, kernel_size, stride, 2, affine))


class Noise(nn.Module):
    """`noise`: standard normal noise of the size that the other candidates give, whatever the input.

    It is drawn anew in every forward pass, in evaluation too, from torch's default generator of the device. Source:
    automl/RobustDARTS, src/operations.py, NoiseOp.

    Attributes:
        share: of several processes that train on parts of one batch which one this is, and how many they are. It draws
            for all of them, so that together they have the noise of one process.
    """

    #: Whoever runs it a second time, to recompute it, has to set the generator back: see `draws_random_numbers`.
    draws = True

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.share = (0, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        number, count = self.share if self.training else (0, 1)
        # Not randn_like: of many networks that vmap runs at once each sees the same noise.
        drawn = torch.randn((count * len(x), *x.shape[1:]), dtype=x.dtype, device=x.device)
        return drawn[number * len(x) :][: len(x)]


def draws_random_numbers(module: nn.Module) -> bool:
    """Whether a module draws random numbers when it runs: it, or one inside, has an attribute `draws` that is true."""
    return any(getattr(part, "draws", False) is True for part in module.modules())


class PoolBN(nn.Sequential):
    """A pool in a supernet: a batch norm follows, so that its scale is that of the convolutions."""

    def __init__(self, pool: nn.Module, channels: int) -> None:
        super().__init__(pool, nn.BatchNorm2d(channels, affine=False))


def _pool(pool: nn.Module, edge: EdgePlan, search: bool) -> nn.Module:
    return PoolBN(pool, edge.channels) if search else pool


#: name -> builder(edge, search), in the order of DARTS.
DARTS_OPERATIONS: dict[str, Callable[[EdgePlan, bool], nn.Module]] = {
    "none": lambda edge, search: Zero(edge.stride),
    "max_pool_3x3": lambda edge, search: _pool(nn.MaxPool2d(3, edge.stride, padding=1), edge, search),
    "avg_pool_3x3": lambda edge, search: _pool(
        nn.AvgPool2d(3, edge.stride, padding=1, count_include_pad=False), edge, search
    ),
    "skip_connect": lambda edge, search: (
        nn.Identity() if edge.stride == 1 else FactorizedReduce(edge.in_channels, edge.out_channels, affine=not search)
    ),
    "sep_conv_3x3": lambda edge, search: SepConv(edge.channels, 3, edge.stride, affine=not search),
    "sep_conv_5x5": lambda edge, search: SepConv(edge.channels, 5, edge.stride, affine=not search),
    "dil_conv_3x3": lambda edge, search: DilConv(edge.channels, 3, edge.stride, affine=not search),
    "dil_conv_5x5": lambda edge, search: DilConv(edge.channels, 5, edge.stride, affine=not search),
}
#: All that an edge of a cell like that of DARTS may carry.
OPERATIONS = {**DARTS_OPERATIONS, "noise": lambda edge, search: Noise(edge.stride)}
