"""How many linear regions random inputs fall into.

Source: Chen, Gong & Wang, "Neural Architecture Search on ImageNet in Four GPU Hours", ICLR 2021 (TE-NAS), and its code,
VITA-Group/TENAS, lib/procedures/linear_region_counter.py.
"""

import torch
from torch import Tensor, nn

from halfnas.pruning.ranking import RankingFunction, Sample, ScoringNetwork


class LinearRegions(RankingFunction):
    """r(N) = number of different patterns of active ReLUs over patches of the images; larger is better.

    TE-NAS rates 1000 grey patches of 3x3 on a network with one input channel; here the patches keep their colours. On
    a supernet all of them lie in regions of their own, whatever is removed, so that they are drawn together towards one
    of them until some share a region; batch norms keep the statistics of the patches as they were.

    Args:
        num_patches: the most regions that can be seen.
        patch_size: side in pixels.
        spread: distances between patches, as a part of what they are; 1 as in TE-NAS.
    """

    differentiable = False

    def __init__(self, weight: float, sign: int, *, num_patches: int, patch_size: int, spread: float) -> None:
        super().__init__(weight, sign)
        self.num_patches = num_patches
        self.patch_size = patch_size
        self.spread = spread

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        different: list[Tensor] = []

        def compare(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            active = (x.flatten(1) > 0).to(x.dtype)
            differs = active @ (1 - active).T
            different.append((differs + differs.T) * network.presence(name))

        patches = self._patches(sample)
        near = patches[:1] + self.spread * (patches - patches[:1])
        network(near, hook=compare, types=(nn.ReLU,), norm=network.frozen_norms(patches))
        same = (torch.stack(different).sum(dim=0) == 0).to(different[0].dtype)
        return (1 / same.sum(dim=1)).sum()

    def _patches(self, sample: Sample) -> Tensor:
        """[num_patches, C, patch_size, patch_size], each from a random place of a random image."""
        images, generator = sample.images, sample.generator(stream=0)
        count, size = self.num_patches, self.patch_size
        if size > min(images.shape[2:]):
            sides = "x".join(map(str, images.shape[2:]))
            raise ValueError(f"`patch_size` must not exceed the sides of the images, {sides}, got {size}")
        rows, columns = (torch.randint(side - size + 1, (count, 1), generator=generator) for side in images.shape[2:])
        index = torch.randint(len(images), (count,), generator=generator)
        offsets = torch.arange(size)
        y, x = (rows + offsets)[:, :, None], (columns + offsets)[:, None, :]
        return images[index[:, None, None], :, y, x].movedim(3, 1)
