"""A network with random weights as a pure function of images, weights and architecture parameters.

So one ranking function rates a discrete network, a supernet, and a supernet without some of its candidates; many of
those at once (`torch.func.vmap`), or with derivatives.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas.networks import MacroNetwork, Mixing, Supernet

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
        """All parameters but those of the architecture, by name."""
        own = dict(self.module.named_parameters())
        return {name: p.detach() for name, p in own.items() if not name.startswith(("alpha.", "beta."))}

    def weights(self) -> dict[str, Tensor]:
        """The weights of convolutions and linear layers, by name."""
        names = {f"{name}.weight" for name, _ in self._named((nn.Conv2d, nn.Linear))}
        return {name: p for name, p in self.parameters().items() if name in names}

    def features(self, images: Tensor, parameters: Mapping[str, Tensor] | None = None, **settings: Any) -> Tensor:
        """The features that the global pooling reads, [B, C', H', W']; the arguments are those of a call."""
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
