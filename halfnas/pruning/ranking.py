"""What a ranking function is: a number that a network without training gets from a few batches.

It sees the network as a pure function of images, weights and architecture parameters, so that one ranking function
rates a discrete network, a supernet, and a supernet without some of its candidates; many of those at once
(`torch.func.vmap`), or with derivatives.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.networks import MacroNetwork, Mixing, Supernet


class Batch(NamedTuple):
    """Images [B, C, H, W] and labels [B]."""

    images: Tensor
    labels: Tensor | None


def split(images: Tensor, labels: Tensor | None, size: int) -> list[Batch]:
    """Joined images [N, C, H, W] as batches of `size`."""
    parts = images.split(size)
    return [
        Batch(*pair)
        for pair in zip(parts, labels.split(size) if labels is not None else [None] * len(parts), strict=True)
    ]


class Sample:
    """What networks are compared on: the same batches, and the same random numbers, for all of them.

    Args:
        batches: at least one.
        seed: of the numbers that ranking functions draw for themselves.
    """

    def __init__(self, batches: Sequence[Batch], seed: int = 0) -> None:
        self.batches = tuple(batches)
        self.seed = seed

    @cached_property
    def images(self) -> Tensor:
        """Of all batches, [N, C, H, W]."""
        return torch.cat([batch.images for batch in self.batches])

    @cached_property
    def labels(self) -> Tensor:
        """Of all batches, [N]. Raises ValueError where images have none."""
        labels = [batch.labels for batch in self.batches if batch.labels is not None]
        if len(labels) < len(self.batches):
            raise ValueError("this ranking function needs labels, and the images have none")
        return torch.cat(labels)

    def generator(self, stream: int) -> torch.Generator:
        """On the CPU, the same at every call."""
        return torch.Generator().manual_seed((self.seed * 1_000_003 + stream) % 2**63)

    def normal(self, *shape: int, stream: int) -> Tensor:
        """Standard normal numbers, with dtype and device of the images; other ones for every `stream`."""
        images = self.batches[0].images
        return torch.randn(shape, generator=self.generator(stream)).to(images.device, images.dtype)


#: (name, module, input, output) of a module that has run -> what replaces its output, None for nothing.
Hook = Callable[[str, nn.Module, Tensor, Tensor], Tensor | None]
#: (name, module, input) of a batch norm -> its output.
Norm = Callable[[str, nn.Module, Tensor], Tensor]


class ScoringNetwork:
    """A network with random weights, as a function.

    Args:
        module: a supernet or a discrete network, in training mode.
        alpha: kind of cell -> architecture parameters in place of the supernet's own, a vector an edge; what is the
            same for many networks is computed once for all of them. Absent for a discrete network.
    """

    def __init__(self, module: MacroNetwork, alpha: Mapping[str, Sequence[Tensor]] | None = None) -> None:
        self.module = module
        self.alpha = dict(alpha or {})

    def __call__(
        self,
        images: Tensor,
        parameters: Mapping[str, Tensor] | None = None,
        *,
        hook: Hook | None = None,
        types: tuple[type[nn.Module], ...] = (),
        norm: Norm | None = None,
    ) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes].

        Args:
            parameters: in place of the module's own, by name.
            hook: called after every module of one of `types`.
            norm: in place of all batch norms.
        """
        mixing = {k: Mixing(tuple(a.softmax(dim=0) for a in edges), None) for k, edges in self.alpha.items()}
        with ExitStack() as stack:
            if hook is not None:
                for name, module in self._named(types):
                    stack.enter_context(module.register_forward_hook(_bound(hook, name)))
            if norm is not None:
                for name, module in self._named((_BatchNorm,)):
                    module.forward = partial(norm, name, module)
                    stack.callback(delattr, module, "forward")
            return functional_call(self.module, dict(parameters or {}), (images, mixing) if mixing else (images,))

    def frozen_norms(self, images: Tensor) -> Norm:
        """Batch norms with the statistics that they have on these images, whatever they are given.

        With them the output for an image depends on that image alone.
        """
        statistics: dict[str, tuple[Tensor, Tensor]] = {}

        def note(name: str, module: nn.Module, x: Tensor, output: Tensor) -> None:
            statistics[name] = _statistics(x)

        self(images, hook=note, types=(_BatchNorm,))

        def normalize(name: str, module: nn.Module, x: Tensor) -> Tensor:
            return _normalized(module, x, *statistics[name])

        return normalize

    def parameters(self) -> dict[str, Tensor]:
        """Everything but architecture parameters, by name."""
        own = dict(self.module.named_parameters())
        return {name: p.detach() for name, p in own.items() if not name.startswith(("alpha.", "beta."))}

    def weights(self) -> dict[str, Tensor]:
        """Of convolutions and linear layers, by name."""
        names = {f"{name}.weight" for name, _ in self._named((nn.Conv2d, nn.Linear))}
        return {name: p for name, p in self.parameters().items() if name in names}

    def features(self, images: Tensor, parameters: Mapping[str, Tensor] | None = None, **settings: Any) -> Tensor:
        """What the global pooling reads, [B, C', H', W']; the arguments are those of a call."""
        head = self.module.head
        pooling = next((part for part in head.modules() if isinstance(part, nn.AdaptiveAvgPool2d)), head)
        read: list[Tensor] = []
        with pooling.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0])):
            self(images, parameters, **settings)
        return read[0]

    def presence(self, name: str) -> Tensor | float:
        """I of the candidate that a module belongs to: exp(alpha), 1 where it is there and 0 where it is left out.

        A candidate with weight 0 still runs; what is counted over modules counts it with its presence. Modules outside
        candidates have 1.
        """
        if name not in self._places:
            return 1.0
        kind, edge, index = self._places[name]
        return self.alpha[kind][edge][index].exp()

    def count(self, numbers: Iterable[tuple[str, int]]) -> Tensor:
        """Sum of the numbers of modules, given with their names, each times its presence; a scalar in float64."""
        total = torch.zeros((), dtype=torch.float64)
        for alpha in itertools.chain(*self.alpha.values()):  # derivatives of 0 for candidates with nothing to count
            total = total + 0 * alpha.exp().sum()
        for name, number in numbers:
            total = total + number * self.presence(name)
        return total

    @cached_property
    def _places(self) -> dict[str, tuple[str, int, int]]:
        """Name of every module inside a candidate -> its kind of cell, edge, and index into the alpha of that edge."""
        if not self.alpha or not isinstance(self.module, Supernet):
            return {}
        candidates = self.module.candidates
        return {
            name: (candidates.places[j].kind, candidates.places[j].edge, int(candidates.within[j]))
            for candidate, j in self.module.candidate_modules()
            for name, _ in self.module.get_submodule(candidate).named_modules(prefix=candidate)
        }

    def _named(self, types: tuple[type[nn.Module], ...]) -> list[tuple[str, nn.Module]]:
        return [(name, module) for name, module in self.module.named_modules() if isinstance(module, types)]


def smooth_norm(name: str, module: nn.Module, x: Tensor) -> Tensor:
    """A batch norm in training mode with derivatives of any order.

    Torch's own has none beyond the second: an error outside torch.func, wrong values inside it.
    """
    return _normalized(module, x, *_statistics(x))


def _statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of every channel."""
    axes = [0, *range(2, x.dim())]
    return x.mean(axes), x.var(axes, correction=0)


def _normalized(module: nn.Module, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    assert isinstance(module, _BatchNorm)
    shape = (1, -1, *[1] * (x.dim() - 2))
    scaled = (x - mean.view(shape)) / (variance.view(shape) + module.eps).sqrt()
    return scaled if module.weight is None else scaled * module.weight.view(shape) + module.bias.view(shape)


def _bound(hook: Hook, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor | None]:
    return lambda module, inputs, output: hook(name, module, inputs[0], output)


class RankingFunction(ABC):
    """r(N): a scalar from a network and a sample. A new one is a file in `rankers` and a yaml in conf/pruner.

    It is called inside `torch.func.vmap`, once for many masks: write it in torch operations, and take gradients with
    `torch.func`.

    Attributes:
        differentiable: whether r has derivatives that mean something; counts and codes of ReLUs have none.
        log_scale: whether r is a logarithm, so that its ratios mean nothing: it enters sums by rank.
        fewest_batches: how many it needs.

    Args:
        weight: its factor in a sum of ranking functions.
        sign: +1 where a larger value means a better network, -1 where a smaller one does.
    """

    differentiable: ClassVar[bool] = True
    log_scale: ClassVar[bool] = False
    fewest_batches: ClassVar[int] = 1

    def __init__(self, weight: float = 1.0, sign: int = 1) -> None:
        if sign not in (1, -1):
            raise ValueError(f"`sign` must be 1 (larger is better) or -1 (smaller is better), got {sign}")
        self.weight = weight
        self.sign = sign

    @abstractmethod
    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        """Rate a network."""


class LogitRanking(RankingFunction):
    """r(N): a scalar from nothing but the logits of all images, each batch with batch norm statistics of its own.

    First-order importance needs one pass for all of these, on a network made for it (`StackedSupernet`); on CUDA
    together with its backward pass it is one graph. A class that overrides the call is given a network like any other.
    """

    @abstractmethod
    def rate(self, logits: Tensor) -> Tensor:
        """Rate a network by its logits, [N, num_classes], batch after batch."""

    def __call__(self, network: ScoringNetwork, sample: Sample) -> Tensor:
        """Rate any network, one batch after the other."""
        return self.rate(torch.cat([network(batch.images) for batch in sample.batches]))


def rates_logits(ranker: RankingFunction) -> TypeGuard[LogitRanking]:
    """Whether a ranking function sees nothing but logits."""
    return isinstance(ranker, LogitRanking) and type(ranker).__call__ is LogitRanking.__call__


def loss(network: ScoringNetwork, sample: Sample, parameters: Mapping[str, Tensor], norm: Norm | None = None) -> Tensor:
    """Cross entropy on all images of the sample together; `norm` as for a call of the network."""
    return F.cross_entropy(network(sample.images, parameters, norm=norm), sample.labels)


def check_several(images: Tensor, ranker: str) -> None:
    """Raise ValueError where there is a single image to compare with others."""
    if len(images) < 2:
        raise ValueError(f"{ranker} compares images and needs at least 2, got {len(images)}")
