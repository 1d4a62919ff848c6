"""MobileNet blocks in a chain: kernel, expansion and depth are searched, widths and strides are given.

Sources: Cai et al., "ProxylessNAS", ICLR 2019, and its code, mit-han-lab/proxylessnas,
search/models/super_nets/super_proxyless.py and search/imagenet_arch_search.py; Wu et al., "FBNet", CVPR 2019.
"""

from collections.abc import Sequence
from itertools import product

from torch import nn

from halfnas.spaces.chain import SKIP, ChainSpace, check_width_multiplier, scaled, stages
from halfnas.spaces.inverted_residual import ConvHead, ConvStem, inverted_residual
from halfnas.spaces.space import EdgePlan

#: name -> kernel size and expansion, in the order of ProxylessNAS' conv_candidates; what is the identity there, Zero
#: beside a shortcut, comes after them.
BLOCKS = {f"mbconv_{k}x{k}_e{expansion}": (k, expansion) for k, expansion in product((3, 5, 7), (3, 6))}


class MobileNetSpace(ChainSpace):
    """An inverted residual of kernel 3, 5 or 7 and expansion 3 or 6 on every layer, or none where the shape stays.

    The layers stand in stages of one width, whose first one has the stride. Before them stand a 3x3 convolution and an
    inverted residual of expansion 1, after them a 1x1 convolution. Stem and head are affine in search too.

    Batch norms are followed by ReLU, as in FBNet, where ProxylessNAS has ReLU6: SynFlow would see no flow in what is
    cut off at 6. They have torch's epsilon, 1e-5; ProxylessNAS has 1e-3.

    Args:
        name: of the yaml, which masks and genotypes name.
        stem_channels, stem_stride: sizes of the 3x3 convolution.
        first_channels: what the inverted residual of expansion 1 gives.
        widths, depths, strides: channels and number of the layers of each stage, and the stride of its first layer.
        features: channels of the 1x1 convolution in the head.
        width_multiplier: a factor for all channels but `features`, rounded to multiples of 8.
        num_classes: logits of the head.
        in_channels: channels of the images.
    """

    def __init__(
        self,
        name: str,
        *,
        stem_channels: int,
        stem_stride: int,
        first_channels: int,
        widths: Sequence[int],
        depths: Sequence[int],
        strides: Sequence[int],
        features: int,
        width_multiplier: float,
        num_classes: int = 10,
        in_channels: int = 3,
    ) -> None:
        if not len(widths) == len(depths) == len(strides) > 0:
            raise ValueError(
                "`widths`, `depths` and `strides` must be lists of one length, a number a stage, "
                f"got {list(widths)}, {list(depths)} and {list(strides)}"
            )
        positive = {
            "stem_channels": [stem_channels],
            "stem_stride": [stem_stride],
            "first_channels": [first_channels],
            "widths": widths,
            "depths": depths,
            "strides": strides,
            "features": [features],
        }
        for argument, sizes in positive.items():
            if min(sizes) < 1:
                raise ValueError(f"`{argument}` must be positive, got {min(sizes)}")
        check_width_multiplier(width_multiplier)
        self.name = name
        self.width_multiplier = width_multiplier
        self.stem_channels = scaled(stem_channels, width_multiplier)
        self.features = features
        first = scaled(first_channels, width_multiplier)
        layers = stages(first, [scaled(width, width_multiplier) for width in widths], depths, strides)
        super().__init__(list(layers), num_classes=num_classes, in_channels=in_channels, stem_stride=stem_stride)

    def choices(self, layer: EdgePlan) -> Sequence[str]:
        return (*BLOCKS, SKIP) if layer.keeps_shape else tuple(BLOCKS)

    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> nn.Module:
        return nn.Identity() if name == SKIP else inverted_residual(edge, *BLOCKS[name], affine=not search)

    def stem(self) -> nn.Module:
        first = EdgePlan(self.stem_channels, self.layers[0].in_channels)
        block = inverted_residual(first, kernel_size=3, expansion=1, affine=True)
        return ConvStem(self.in_channels, self.stem_channels, self.stem_stride, before=block)

    def head(self) -> nn.Module:
        return ConvHead(self.layers[-1].out_channels, self.features, self.num_classes)
