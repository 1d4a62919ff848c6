"""A space, a ranking function, a relaxation and a dataset that somebody adds: each one class, with one yaml."""

from itertools import pairwise

import torch
from torch import nn
from torch.utils.data import TensorDataset

from halfnas.data import ImageDataset
from halfnas.networks import Mixing
from halfnas.pruning import RankingFunction
from halfnas.search import Relaxation
from halfnas.spaces import CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton
from halfnas.spaces.darts import Classifier
from halfnas.spaces.operations import ReLUConvBN

KERNELS = {"conv_1x1": 1, "conv_3x3": 3, "conv_5x5": 5}


class ToyChain(SearchSpace):
    """Layers one after the other, each a choice of its own, whose channels and strides differ."""

    name = "toy_chain"

    def __init__(self, channels=(4, 6, 6, 8), strides=(1, 1, 2), num_classes=10, in_channels=3):
        super().__init__(num_classes=num_classes, in_channels=in_channels)
        self.channels = tuple(channels)
        self.plans = [EdgePlan(*pair, s) for pair, s in zip(pairwise(channels), strides, strict=True)]

    @property
    def kinds(self):
        cell = CellKind(num_inputs=1, edges=(Edge(0, 1, tuple(KERNELS)),), edges_per_node=None, output=(1,))
        return {f"layer_{number}": cell for number in range(1, len(self.plans) + 1)}

    def operation(self, name, edge, *, search):
        sizes = (edge.in_channels, edge.out_channels, KERNELS[name], edge.stride)
        return ReLUConvBN(*sizes, affine=not search)

    def skeleton(self, *, search, auxiliary=False, outputs=None):
        if auxiliary:
            raise ValueError("toy_chain has no auxiliary head; switch it off (evaluation.auxiliary=false)")
        layers = [CellPlan(k, (plan,), (nn.Identity(),)) for k, plan in zip(self.kinds, self.plans, strict=True)]
        head = Classifier(self.channels[-1], self.num_classes)
        return Skeleton(ToyStem(self.in_channels, self.channels[0]), layers, head)


class ToyStem(nn.Conv2d):
    """A convolution whose output is the one state that the first layer reads."""

    def __init__(self, in_channels, out_channels):
        super().__init__(in_channels, out_channels, kernel_size=3, padding=1)

    def forward(self, images):
        return (super().forward(images),)


class ToyRanker(RankingFunction):
    """The spread of the logits of an image; larger is better."""

    def __call__(self, network, sample):
        return network(sample.images).std(dim=1).mean()


class ToyPath(Relaxation):
    """One candidate an edge, uniformly; its weight is 1 and has the gradient of the logarithm of its softmax."""

    captures = False

    def draw(self, supernet, generator):
        return torch.rand(sum(len(edges) for edges in supernet.mask.kept.values()), generator=generator)

    def forward(self, supernet, noise=None):
        numbers = iter(noise.tolist())
        mixing = {}
        for kind, edges in supernet.mask.kept.items():
            probabilities = [alpha.softmax(dim=0) for alpha in supernet.edge_alphas(kind)]
            weights = tuple(p / p.detach() for p in probabilities)
            picked = tuple((int(next(numbers) * len(names)),) for names in edges)
            mixing[kind] = Mixing(weights, supernet.edge_weights(kind), picked)
        return mixing


class ToySorted(ImageDataset):
    """Images of four brightnesses, sorted by class."""

    name = "toy"
    num_classes, in_channels, image_size = 4, 1, 8

    def __init__(self, num_workers=0, on_device="auto", max_train_images=None):
        super().__init__(
            mean=[0.5], std=[0.3], crop_padding=0, flip=False, num_workers=num_workers, on_device=on_device,
            max_train_images=max_train_images,
        )  # fmt: skip

    def _raw(self, *, train):
        labels = torch.arange(4).repeat_interleave(16 if train else 4)
        noise = torch.rand(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(int(train)))
        return TensorDataset((60 * labels.view(-1, 1, 1, 1) + 40 * noise).to(torch.uint8), labels)


class Warm(Relaxation):
    """A softmax of alpha times noise over a temperature, all on the device: it can be captured."""

    def __init__(self):
        super().__init__()
        self.register_buffer("temperature", torch.tensor(2.0))

    def begin_epoch(self, epoch, epochs):
        self.temperature.fill_(2 - epoch / epochs)

    def draw(self, supernet, generator):
        return torch.randn(14, 1, generator=generator)

    def forward(self, supernet, noise=None):
        factors = noise.to(supernet.alpha["normal"].dtype) / self.temperature
        return {
            kind: Mixing(
                tuple((a * s).softmax(0) for a, s in zip(supernet.edge_alphas(kind), factors, strict=True)),
                supernet.edge_weights(kind),
            )
            for kind in supernet.alpha
        }
