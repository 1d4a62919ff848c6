"""The NAS-Bench-Macro space: 3 candidates on each of 8 layers of a MobileNetV2-like chain, 6,561 architectures.

Source: Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021, and its code,
xiusu/NAS-Bench-Macro, train/model.py.
"""

from collections.abc import Sequence

from torch import nn

from halfnas.runs.reading import quoted
from halfnas.spaces.chain import SKIP, ChainSpace, check_width_multiplier, scaled, stages
from halfnas.spaces.genotype import Genotype
from halfnas.spaces.inverted_residual import ConvHead, ConvStem, conv_bn, inverted_residual
from halfnas.spaces.space import EdgePlan

STEM_CHANNELS = 32
WIDTHS, DEPTHS, STRIDES = (64, 128, 256), (2, 3, 3), (2, 2, 2)
FEATURES = 1280  # of the head
#: name -> kernel size and expansion of an inverted residual, None for the identity, in the order of the authors: their
#: digits 0, 1 and 2.
CANDIDATES: dict[str, tuple[int, int] | None] = {SKIP: None, "mbconv_3x3_e3": (3, 3), "mbconv_5x5_e6": (5, 6)}
NUM_LAYERS = sum(DEPTHS)


class NASBenchMacroSpace(ChainSpace):
    """The identity or one of two inverted residuals on each of 8 layers.

    The layers stand in stages of 2, 3 and 3, whose first ones halve the resolution and double the channels; there the
    identity is a 1x1 convolution of stride 2 with a batch norm. Stem and head have affine batch norms in search too.

    Args:
        width_multiplier: a factor for the channels of stem and layers, 1 as published.
        num_classes: logits of the head.
        in_channels: channels of the images.
    """

    name = "nasbench_macro"
    tables = ("nasbench_macro.csv",)

    def __init__(self, width_multiplier: float, num_classes: int = 10, in_channels: int = 3) -> None:
        check_width_multiplier(width_multiplier)
        self.width_multiplier = width_multiplier
        self.stem_channels = scaled(STEM_CHANNELS, width_multiplier)
        widths = [scaled(width, width_multiplier) for width in WIDTHS]
        layers = list(stages(self.stem_channels, widths, DEPTHS, STRIDES))
        super().__init__(layers, num_classes=num_classes, in_channels=in_channels)

    def choices(self, layer: EdgePlan) -> Sequence[str]:
        return tuple(CANDIDATES)

    def operation(self, name: str, edge: EdgePlan, *, search: bool) -> nn.Module:
        block = CANDIDATES[name]
        if block is not None:
            return inverted_residual(edge, *block, affine=not search)
        if edge.keeps_shape:
            return nn.Identity()
        return nn.Sequential(*conv_bn(edge.in_channels, edge.out_channels, 1, edge.stride, affine=not search))

    def stem(self) -> nn.Module:
        return ConvStem(self.in_channels, self.stem_channels)

    def head(self) -> nn.Module:
        return ConvHead(self.layers[-1].out_channels, FEATURES, self.num_classes)

    def architecture_string(self, genotype: Genotype) -> str:
        return to_architecture_string(genotype)

    def parse_architecture(self, text: str) -> Genotype:
        return from_architecture_string(text)


def from_architecture_string(text: str) -> Genotype:
    """The genotype of an architecture in the authors' writing: 8 digits, one a layer, the first layer first.

    0 is the identity, 1 the inverted residual with kernel 3 and expansion 3, 2 that with kernel 5 and expansion 6.

    Raises:
        ValueError: it is not written so.
    """
    names = tuple(CANDIDATES)
    digits = "".join(str(digit) for digit in range(len(names)))
    if len(text) != NUM_LAYERS:
        raise ValueError(
            f"an architecture of NAS-Bench-Macro has {NUM_LAYERS} digits, one a layer, such as 01210212; got "
            f"{quoted(text)}, which has {len(text)}"
        )
    if wrong := [digit for digit in text if digit not in digits]:
        known = ", ".join(f"{digit} ({name})" for digit, name in enumerate(names))
        raise ValueError(
            f"an architecture of NAS-Bench-Macro has the digits {known}; got {wrong[0]!r} in {quoted(text)}"
        )
    chosen = {f"layer_{number}": names[int(digit)] for number, digit in enumerate(text, start=1)}
    return Genotype(
        NASBenchMacroSpace.name,
        {layer: ((name, 0),) for layer, name in chosen.items()},
        dict.fromkeys(chosen, (1,)),
    )


def to_architecture_string(genotype: Genotype) -> str:
    """A genotype of this space in the authors' writing, the inverse of `from_architecture_string`.

    Raises:
        ValueError: it is no genotype of this space.
    """
    space = NASBenchMacroSpace(width_multiplier=1)
    space.check_genotype(genotype)
    names = tuple(CANDIDATES)
    return "".join(str(names.index(genotype.cells[layer][0][0])) for layer in space.kinds)
