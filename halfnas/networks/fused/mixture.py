"""The backward pass of a fan. See fan.py for what is computed, and for the shapes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from halfnas.networks.fused.batch_norms import Fold, fold_backward
from halfnas.networks.fused.convolutions import (
    aten,
    concatenated,
    conv_backward,
    dense,
    pointwise,
    sums_of_parts,
    without_autocast,
)
from halfnas.networks.fused.families import pooled_backward
from halfnas.networks.fused.step import Step


def mixing_kernel(routed: Tensor, folded: Tensor) -> Tensor:
    """The mixtures of all maps, [T * c, M * c, 1, 1], from [T, M] and [M, c, c]."""
    return (routed[:, None, :, None] * folded.transpose(0, 1)).flatten(2).flatten(0, 1)[..., None, None]


class Mixture(Step):
    """What `Fan.compute` gives in training: pieces of the sum, then mean and variance of every group of batch norms.

    For the backward pass only the state and the maps are kept, with `Fan.recompute` only the state.
    """

    @staticmethod
    def compute(
        fan: Any, so_far: Tensor | None, state: Tensor, scalars: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        pieces, moments, _ = fan.compute(so_far, state, scalars, weights)
        return *pieces, *(part for seen in moments for part in (seen.mean, seen.variance))

    @staticmethod
    def forward(
        ctx: Any, fan: Any, so_far: Tensor | None, state: Tensor, scalars: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        pieces, moments, features = fan.compute(so_far, state, scalars, weights)
        statistics = [part for seen in moments for part in (seen.mean, seen.variance)]
        ctx.mark_non_differentiable(*statistics)
        kept, ctx.structure = tree_flatten(features)
        ctx.fan, ctx.dtype = fan, pieces[0].dtype
        ctx.save_for_backward(state, scalars, *weights, *(tensor for tensor in kept if tensor is not None))
        ctx.set_materialize_grads(False)
        ctx.given = [tensor is not None for tensor in kept]
        return *pieces, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        fan = ctx.fan
        if all(gradient is None for gradient in gradients):
            return tuple(None for _ in ctx.needs_input_grad)
        _, needs_so_far, needs_state, needs_scalars, *needs_weights = ctx.needs_input_grad
        state, scalars, *rest = ctx.saved_tensors
        weights, kept = rest[: len(needs_weights)], iter(rest[len(needs_weights) :])
        with without_autocast(state):
            state = state.to(ctx.dtype)
            if fan.recompute:
                features, _ = fan.features(state, weights)
            else:
                features = tree_unflatten([next(kept) if given else None for given in ctx.given], ctx.structure)
            gradient = gradient_of_pieces(gradients, fan.piece_sizes)
            routed, *passing = fan.by_part(scalars)
            for_state = Accumulator(state.shape[1])
            needed = needs_state, needs_scalars
            for_scalars = passages_backward(fan, gradient, state, passing, features.passed, for_state, needed)
            for_weights: list[Tensor | None] = [None] * len(weights)
            if features.maps is not None:
                mixed = dense(gradient[:, :: fan.partial_channels]) if fan.partial_channels > 1 else gradient
                needed = needs_state, any(needs_weights)
                kept_by_families = features.kept
                for_routed, for_maps, for_linear = mixing_backward(mixed, features.maps, features.fold, routed, needed)
                for_scalars.insert(0, for_routed)
                del mixed, features, kept  # what is not needed any more is not kept beside what comes next
                if any(needed):
                    parts = sums_of_parts(for_maps[0], for_maps[1], fan.part_channels)
                    for_maps.clear()
                    for_x, for_weights = families_backward(fan, parts, state, weights, kept_by_families, needed)
                    for_weights.append(None if for_linear is None else for_linear.view_as(weights[-1]))
                    for part in for_x:
                        for_state.add(0, part)
        return (
            None,
            gradient if needs_so_far else None,
            for_state.total() if needs_state else None,
            torch.cat([part.flatten() for part in for_scalars]) if for_scalars else None,
            *for_weights,
        )


def gradient_of_pieces(gradients: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor:
    """Together; zeros for those that nobody read."""
    given = next(gradient for gradient in gradients if gradient is not None)
    shape = given.shape
    parts = [
        given.new_zeros(shape[0], size, *shape[2:]) if gradient is None else gradient
        for gradient, size in zip(gradients, sizes, strict=False)
    ]
    return concatenated(parts)


def passages_backward(
    fan: Any,
    gradient: Tensor,
    state: Tensor,
    weights: Sequence[Tensor],
    passed: Sequence[Sequence[Tensor]],
    for_state: "Accumulator",
    needed: tuple[bool, bool],
) -> list[Tensor]:
    """Add the gradient of the state to what there is; gives those of the weights [T, p] of each passage.

    Args:
        needed: of the state, of the weights.
    """
    for_weights = []
    for i, (module, start, stop) in enumerate(fan.passages):
        read, *indices = passed[i] or [state]
        kernel = fan.passing_kernel(i, weights[i]).to(gradient.dtype)
        for_read, for_kernel, _ = conv_backward(gradient, read, kernel, needed=(*needed, False))
        if needed[0]:
            for_state.add(start, pooled_backward(module, for_read, state[:, start:stop], indices))
        if needed[1]:
            for_weights.append(for_kernel.view(len(weights[i]), -1).to(weights[i].dtype) @ fan.pattern(i).mT)
    return for_weights


def mixing_backward(
    gradient: Tensor,
    maps: Tensor,
    fold: Fold,
    routed: Tensor,
    needed: tuple[bool, bool],
) -> tuple[Tensor, list[Tensor], Tensor | None]:
    """Gradients of the weights [T, M], and as far as `needed` of the maps and of A.

    That of the maps is a sum of two: through the mixtures, and through the statistics of their batch norms.
    """
    positions = maps.numel() // maps.shape[1]
    kernel = mixing_kernel(routed, fold.folded).to(maps.dtype)
    for_maps, for_kernel, sums = conv_backward(gradient, maps, kernel, needed=(any(needed), True, any(needed)))
    for_kernel = for_kernel.view(len(routed), -1, *fold.folded.shape[::2]).to(fold.folded.dtype)  # [T, c, M, c]
    for_routed = (for_kernel * fold.folded.transpose(0, 1)).sum(dim=(1, 3))
    if not any(needed):
        return for_routed, [], None
    for_folded = (for_kernel * routed[:, None, :, None]).sum(dim=0).transpose(0, 1)
    for_linear, quadratic = fold_backward(for_folded, fold, positions, needs_linear=needed[1])
    # What is centred has a gradient without a mean.
    shift = kernel[..., 0, 0].mT @ (sums * (-1 / positions))
    return for_routed, [for_maps, pointwise(maps, quadratic, shift)], for_linear


def families_backward(
    fan: Any,
    gradients: list[Tensor],
    state: Tensor,
    weights: Sequence[Tensor],
    kept: Sequence[Sequence[Tensor]],
    needed: tuple[bool, bool],
) -> tuple[list[Tensor], list[Any]]:
    """From the gradients of all maps to those of the channels that are mixed, which add up, and of the weights.

    Args:
        gradients: in the parts of the families; emptied.
    """
    reads = fan.reads(state)
    for_active: list[Tensor] = []
    for_x: list[Tensor] = []
    for_weights: list[Any] = []
    for family, own, found in zip(fan.families, fan.by_family(weights), kept, strict=True):
        for_read, for_own = family.backward([gradients.pop(0) for _ in family.part_sizes], reads, own, found, needed)
        for_weights += for_own
        if needed[0]:
            (for_active if family.reads_relu else for_x).append(for_read)
    if for_active:
        total = for_active[0]
        for part in for_active[1:]:
            total = total + part
        for_x.append(aten.threshold_backward(total, reads.active, 0))
    return for_x, for_weights


class Accumulator:
    """The sum of gradients of some channels each.

    Args:
        channels: of the whole.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self.parts: dict[int, Tensor] = {}  # by their first channel

    def add(self, start: int, part: Tensor) -> None:
        """Channels from `start` on. The whole, if it is among them, is to come first."""
        if start not in self.parts:
            self.parts[start] = part
        else:
            self.parts[start][:, : part.shape[1]].add_(part)

    def total(self) -> Tensor | None:
        """The whole, with zeros where nothing was added."""
        if not self.parts:
            return None
        parts = [self.parts[start] for start in sorted(self.parts)]
        missing = self.channels - sum(part.shape[1] for part in parts)
        if missing:
            like = parts[0]
            zeros = like.new_zeros(like.shape[0], missing, *like.shape[2:])
            parts = [zeros, *parts] if 0 not in self.parts else [*parts, zeros]
        return concatenated(parts)
