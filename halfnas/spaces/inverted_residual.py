"""The inverted residual of MobileNetV2, and what stands around a chain of them.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from torch import Tensor, nn

from halfnas.spaces.darts import Classifier
from halfnas.spaces.space import EdgePlan


class ConvBNReLU(nn.Sequential):
    """Convolution, batch norm, ReLU. The kernel is odd, and padded so that only the stride changes the resolution."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        affine: bool = True,
    ) -> None:
        super().__init__(
            *conv_bn(in_channels, out_channels, kernel_size, stride, groups=groups, affine=affine), nn.ReLU()
        )


class Residual(nn.Module):
    """x + branch(x). In training it is the branch that may be dropped at random, never x."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ConvStem(ConvBNReLU):
    """3x3 convolution, batch norm and ReLU, [B, in_channels, H, W] -> the input of the first layer, alone in a tuple.

    Args:
        before: modules between the convolution and the first layer that is searched.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, *, before: nn.Module | None = None
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride)
        if before is not None:
            self.append(before)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (super().forward(images),)


class ConvHead(nn.Sequential):
    """1x1 convolution, batch norm, ReLU, global average pooling, linear layer: [B, C, H, W] -> [B, num_classes]."""

    def __init__(self, in_channels: int, features: int, num_classes: int) -> None:
        super().__init__(ConvBNReLU(in_channels, features), Classifier(features, num_classes))


def conv_bn(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, *, groups: int = 1, affine: bool = True
) -> list[nn.Module]:
    """A convolution without bias, and its batch norm."""
    padding = kernel_size // 2
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, affine=affine),
    ]


def inverted_residual(edge: EdgePlan, kernel_size: int, expansion: int, *, affine: bool) -> nn.Module:
    """1x1 convolution to `expansion` times the channels, depthwise convolution, 1x1 convolution without ReLU.

    The input is added where it has the shape of the output. With an expansion of 1 there is no first convolution.
    """
    width = expansion * edge.in_channels
    expand = [ConvBNReLU(edge.in_channels, width, affine=affine)] if expansion != 1 else []
    branch = nn.Sequential(
        *expand,
        ConvBNReLU(width, width, kernel_size, edge.stride, groups=width, affine=affine),
        *conv_bn(width, edge.out_channels, affine=affine),
    )
    return Residual(branch) if edge.keeps_shape else branch
