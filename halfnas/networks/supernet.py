"""The supernet: a network whose every edge is the mixture of its kept candidates.

Eq. 1 of arXiv 2505.13586, with I the indicator of the kept candidates:

    Mix(x) = sum_o I(o) exp(alpha_o) o(x) / sum_o' I(o') exp(alpha_o')

Candidates with I(o) = 0 are not built at all, so the softmax simply runs over the kept ones. With edge normalisation
(PC-DARTS, arXiv 1907.05737) a node is the sum of its edges weighted by softmax(beta) over the edges into that node.

Architecture parameters are shared by all cells of a kind: `alpha[kind]` is one flat vector of the kept candidates,
edge after edge; `beta[kind]` has one entry an edge.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from halfnas.networks.cell import MixedOperation, Mixing, Parts, SupernetCell, concatenated
from halfnas.networks.macro import MacroNetwork
from halfnas.networks.plain import PlainCell
from halfnas.networks.recompute import recomputed
from halfnas.spaces import CellKind, CellPlan, Genotype, Mask, SearchSpace, discretize
from halfnas.spaces.candidates import Candidates, Place
from halfnas.spaces.operations import draws_random_numbers

log = logging.getLogger(__name__)

#: Standard deviation of the initial alpha and beta (quark0/darts, cnn/model_search.py).
ARCHITECTURE_INIT_STD = 1e-3

#: Compiled versions of one function that torch keeps: a fan of every source, in cells of every kind and size.
COMPILED_VARIANTS = 128


class Supernet(MacroNetwork):
    """All architectures that a mask leaves, as one network. See `build_supernet` for its options.

    Attributes:
        partial_channels: K.
        compiled: whether parts of it are compiled the first time that they run in training mode.
    """

    def __init__(
        self,
        space: SearchSpace,
        mask: Mask,
        cell: type[SupernetCell],
        *,
        partial_channels: int,
        edge_normalization: bool,
        architecture_init_std: float,
        recompute: str,
        compile: bool,
    ) -> None:
        space.check_partial_channels(partial_channels)
        mask = mask.ordered(space)

        def make_cell(plan: CellPlan, kind: CellKind) -> nn.Module:
            kept = mask.kept[plan.kind]
            suitable = cell if cell.suits(plan, kind) else PlainCell
            return suitable(space, plan, kind, kept, partial_channels, recompute_nodes=recompute != "none")

        super().__init__(space, space.skeleton(search=True), make_cell)
        self.mask = mask
        self.partial_channels = partial_channels
        self._recompute_cells = recompute == "cells"
        self._recomputes = recompute != "none"
        self._memory_format = cell.memory_format
        cells = [layer for layer in self.layers if isinstance(layer, SupernetCell)]
        if plain := sum(not isinstance(layer, cell) for layer in cells):
            log.warning(
                "%d of %d cells run on the plain engine: their edges change channels or resolution", plain, len(cells)
            )
        self.compiled = compile and any(layer.compiles for layer in cells)
        if self.compiled:
            _compile_parts(cells)
        # Torch sorts the keys of a plain dict, layer_10 before layer_2; candidates are numbered in the space's order.
        start = partial(_normal, std=architecture_init_std)
        self.alpha = nn.ParameterDict(
            OrderedDict((kind, start(sum(map(len, edges)))) for kind, edges in mask.kept.items())
        )
        self.beta = nn.ParameterDict(
            OrderedDict((kind, start(len(edges))) for kind, edges in mask.kept.items() if edge_normalization)
        )

    def forward(self, images: Tensor, mixing: Mapping[str, Mixing] | None = None) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes].

        Args:
            mixing: kind of cell -> weights to use in place of `self.mixing()`, for methods with a relaxation of their
                own. Only the candidates that it picks are computed.
        """
        mixing = self.mixing() if mixing is None else mixing
        states: tuple[Parts, ...] = self.stem(images.contiguous(memory_format=self._memory_format(images.device)))
        for layer, kind in zip(self.layers, self.layer_kinds, strict=True):
            if kind is None:
                output = layer(concatenated(states[-1]))
            else:
                run = partial(cast(SupernetCell, layer).run, mixing=mixing[kind])
                output = recomputed(run, *states, owner=layer) if self._recompute_cells else run(*states)
            states = (*states[1:], output)
        return self.head(concatenated(states[-1]))

    def mixing(self) -> dict[str, Mixing]:
        """The softmax relaxation of every kind of cell."""
        return {
            kind: Mixing(
                tuple(torch.softmax(alpha_O, dim=0) for alpha_O in self.edge_alphas(kind)),
                self.edge_weights(kind),
            )
            for kind in self.alpha
        }

    def edge_alphas(self, kind: str) -> tuple[Tensor, ...]:
        """Alpha of every edge, a vector over its kept candidates."""
        return self.alpha[kind].split([len(edge) for edge in self.mask.kept[kind]])

    @torch.no_grad()
    def narrow(self, mask: Mask) -> None:
        """Drop the candidates that a smaller mask drops, in place; the others keep their weights and alpha.

        Raises:
            ValueError: the mask keeps a candidate that is not there.
        """
        mask = mask.ordered(self.space)
        for kind, edges in mask.kept.items():
            if not all(set(names) <= set(known) for names, known in zip(edges, self.mask.kept[kind], strict=True)):
                raise ValueError("the mask keeps candidates that the supernet does not have")
        for layer, kind_of_layer in zip(self.layers, self.layer_kinds, strict=True):
            if kind_of_layer is not None:
                cast(SupernetCell, layer).narrow(mask.kept[kind_of_layer])
        candidates = self.candidates
        stays = torch.from_numpy(candidates.flags(mask.kept))
        for kind, alpha in self.alpha.items():
            self.alpha[kind] = nn.Parameter(alpha[stays[candidates.of_kind(kind)]], requires_grad=alpha.requires_grad)
        self.mask = mask

    @property
    def obstacle(self) -> str | None:
        """Why a step cannot be captured into a CUDA graph; None where it can."""
        if self._recomputes and draws_random_numbers(self):
            return "random numbers that are drawn again in the backward pass are set back on the host"
        return None

    @property
    def candidates(self) -> Candidates:
        """The kept candidates in a row; those of one kind of cell as in its alpha."""
        return Candidates(self.mask.kept)

    def candidate_modules(self) -> Iterator[tuple[str, int]]:
        """The name of the module of every candidate in every cell, and its number in `candidates`."""
        index = self.candidates.index
        for number, (layer, kind) in enumerate(zip(self.layers, self.layer_kinds, strict=True)):
            if kind is None:
                continue
            modules = layer.named_modules(prefix=f"layers.{number}")
            mixed = ((prefix, module) for prefix, module in modules if isinstance(module, MixedOperation))
            for e, (prefix, edge) in enumerate(mixed):
                for name in edge.operations:
                    yield f"{prefix}.operations.{name}", index[Place(kind, e, name)]

    def edge_weights(self, kind: str) -> Tensor | None:
        """The weight of every edge in its node, [E]: softmax(beta) over the edges into a node; None for a plain sum."""
        if kind not in self.beta:
            return None
        cell = self.space.kinds[kind]
        sizes = [len(cell.edges_into(node)) for node in cell.nodes]
        return torch.cat([torch.softmax(part, dim=0) for part in self.beta[kind].split(sizes)])

    @torch.no_grad()
    def strengths(self) -> dict[str, list[dict[str, float]]]:
        """Kind -> for each edge {operation: mixing weight times edge weight}, what discretisation compares."""
        strengths = {}
        for kind, mixing in self.mixing().items():
            scale = [1.0] * len(mixing.operations) if mixing.edges is None else mixing.edges.tolist()
            strengths[kind] = [
                {
                    name: weight * scale[e]
                    for name, weight in zip(self.mask.kept[kind][e], weights.tolist(), strict=True)
                }
                for e, weights in enumerate(mixing.operations)
            ]
        return strengths

    def genotype(self, seed: int | None = None) -> Genotype:
        """The architecture that the present weights favour; of exact equals `seed` chooses, see `discretize`."""
        return discretize(self.space, self.strengths(), seed)

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Alpha of every kind, then beta where edges are normalised."""
        return [*self.alpha.values(), *self.beta.values()]

    def weight_parameters(self) -> list[nn.Parameter]:
        """Everything else."""
        architecture = {id(parameter) for parameter in self.architecture_parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in architecture]


def _normal(size: int, std: float) -> nn.Parameter:
    return nn.Parameter(std * torch.randn(size))


def _compile_parts(cells: Sequence[SupernetCell]) -> None:
    # Torch gives up on a function that it has compiled for more than a few kinds of arguments: cells have their own.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, COMPILED_VARIANTS)
    for cell in cells:
        cell.compile_parts()
