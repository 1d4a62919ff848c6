"""The backward pass of a mixture, from the nodes back to the state. See mixture.py for what is computed.

Letters as in the package docstring.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_flatten, tree_unflatten

from halfnas.networks.fused.convolutions import Needed, aten, conv_backward, pointwise
from halfnas.networks.fused.fold import Fold, fold_backward
from halfnas.networks.fused.mixture import Mixture, mixing_kernel
from halfnas.networks.fused.parts import Accumulator, concatenated, grouped, sums_of_parts, without_gaps
from halfnas.networks.fused.precision import full_precision
from halfnas.networks.fused.step import Step, without_autocast
from halfnas.networks.joined import over_processes


class MixtureStep(Step):
    """What a mixture gives in training: pieces of the sums, then mean and variance of every group of batch norms.

    For the backward pass only the state and the maps are kept, with `Mixture.recompute` only the state.
    """

    @staticmethod
    def compute(
        mixture: Mixture, sums: Tensor | None, state: Tensor, scalars: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        pieces, moments, _ = mixture(sums, state, scalars, weights)
        return *pieces, *(part for seen in moments for part in (seen.mean, seen.variance))

    @staticmethod
    def forward(
        ctx: Any, mixture: Mixture, sums: Tensor | None, state: Tensor, scalars: Tensor, *weights: Tensor
    ) -> tuple[Tensor, ...]:
        pieces, moments, features = mixture(sums, state, scalars, weights)
        statistics = [part for seen in moments for part in (seen.mean, seen.variance)]
        ctx.mark_non_differentiable(*statistics)
        ctx.set_materialize_grads(False)
        kept, ctx.structure = tree_flatten(features)
        ctx.mixture, ctx.dtype = mixture, pieces[0].dtype
        ctx.save_for_backward(state, scalars, *weights, *kept)
        return *pieces, *statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        mixture: Mixture = ctx.mixture
        grad_pieces = gradients[: len(mixture.piece_sizes)]
        if all(gradient is None for gradient in grad_pieces):
            return tuple(None for _ in ctx.needs_input_grad)
        _, needs_sums, needs_state, needs_scalars, *needs_weights = ctx.needs_input_grad
        state, scalars, *rest = ctx.saved_tensors
        weights, saved = rest[: len(needs_weights)], rest[len(needs_weights) :]
        grad_weights: list[Tensor | None] = [None] * len(weights)
        with without_autocast(state):
            state = state.to(ctx.dtype)
            if mixture.recompute:
                features, _ = mixture.features(state, weights)
            else:
                features = tree_unflatten(saved, ctx.structure)
            grad_nodes = gradient_of_pieces(grad_pieces, mixture.piece_sizes)
            grad_state = Accumulator(state.shape[1])
            routed, *passing = mixture.by_part(scalars)
            needed = Needed(needs_state, needs_scalars)
            grad_scalars: list[Any] = [
                passage.backward(grad_nodes, state, own, passed, grad_state, needed)
                for passage, passed, own in zip(mixture.passages, features.passed, passing, strict=True)
            ]
            if features.maps is not None:
                assert features.fold is not None, "a step normalises with the statistics of the batch"
                k = mixture.partial_channels
                grad_mixed = without_gaps(grad_nodes[:, ::k]) if k > 1 else grad_nodes
                needed = Needed(needs_state, any(needs_weights))
                grad_routed, grad_maps, grad_linear = mixing_backward(
                    grad_mixed, features.maps, features.fold, routed, needed, mixture.processes
                )
                grad_scalars = [grad_routed, *grad_scalars]
                kept = features.kept
                del grad_mixed, features  # a copy, and maps that were made again: room for what comes next
                if grad_maps is not None:
                    grad_parts = grouped(sums_of_parts(*grad_maps, mixture.part_channels), mixture.num_parts)
                    del grad_maps  # both terms were copied into the parts
                    grads_x, grad_weights = families_backward(mixture, grad_parts, state, weights, kept, needed)
                    grad_weights.append(None if grad_linear is None else grad_linear.view_as(weights[-1]))
                    for grad_x in grads_x:
                        grad_state.add(0, grad_x)
        return (
            None,
            grad_nodes if needs_sums else None,
            grad_state.total() if needs_state else None,
            torch.cat([part.flatten() for part in grad_scalars]) if grad_scalars and needs_scalars else None,
            *grad_weights,
        )


def gradient_of_pieces(gradients: Sequence[Tensor | None], sizes: Sequence[int]) -> Tensor:
    """The gradient of all nodes, [B, T * C, H', W']; zeros for the pieces that nobody read."""
    given = next(gradient for gradient in gradients if gradient is not None)
    shape = given.shape
    parts = [
        given.new_zeros(shape[0], size, *shape[2:]) if gradient is None else gradient
        for gradient, size in zip(gradients, sizes, strict=True)
    ]
    return concatenated(parts)


def mixing_backward(
    grad_mixed: Tensor, maps: Tensor, fold: Fold, routed: Tensor, needed: Needed, processes: int = 1
) -> tuple[Tensor, tuple[Tensor, Tensor] | None, Tensor | None]:
    """From the mixtures back to the weights of the candidates, the maps, and A.

    Args:
        grad_mixed: [B, T * c, H', W'].
        maps: centred, [B, M * c, H', W'].
        fold: the fold of the maps.
        routed: the weights of the candidates, [T, M].
        needed: whether the gradients of the maps and of A are needed.
        processes: see `fold_`.

    Returns:
        The gradient of the weights [T, M]; that of the maps, as the two terms of a sum, through the mixtures and
        through the statistics of their batch norms; and that of A [M, c, c]. The last two as far as `needed`, or None.
    """
    positions = processes * maps.numel() // maps.shape[1]
    kernel = mixing_kernel(routed, fold.folded).to(maps.dtype)
    grad_maps, grad_kernel, sums = conv_backward(grad_mixed, maps, kernel, needed=(any(needed), True, any(needed)))
    grad_kernel = grad_kernel.view(len(routed), -1, *fold.folded.shape[::2]).to(fold.folded.dtype)  # [T, c, M, c]
    grad_routed = (grad_kernel * fold.folded.transpose(0, 1)).sum(dim=(1, 3))
    if not any(needed):
        return grad_routed, None, None
    grad_folded = (grad_kernel * routed[:, None, :, None]).transpose(1, 2).sum(dim=0)
    grad_linear, quadratic = fold_backward(
        grad_folded, fold, positions, needs_linear=needed.weights, processes=processes
    )
    # What is centred has a gradient without a mean.
    with full_precision():
        shift = kernel[..., 0, 0].mT @ (over_processes(sums, processes) * (-1 / positions))
    return grad_routed, (grad_maps, pointwise(maps, quadratic, shift)), grad_linear


def families_backward(
    mixture: Mixture,
    grad_parts: list[list[Any]],
    state: Tensor,
    weights: Sequence[Tensor],
    kept: Sequence[Sequence[Tensor]],
    needed: Needed,
) -> tuple[list[Tensor], list[Any]]:
    """From the maps back to the channels of the state that are mixed, and to the weights.

    Args:
        mixture: whose families they are.
        grad_parts: for each family the gradients of the parts of its maps; the families take them.
        state: [B, C, H, W].
        weights: the stacks of `Mixture.weights`, concatenated.
        kept: what each family kept.
        needed: whether the gradients of the state and of the weights are needed.

    Returns:
        Gradients [B, c, H, W] that add up to that of the channels that are mixed, and those of the stacks without A.
    """
    reads = mixture.reads(state)
    grads_active: list[Tensor] = []
    grads_x: list[Tensor] = []
    grad_weights: list[Any] = []
    families = zip(mixture.families, grad_parts, mixture.by_family(weights), kept, strict=True)
    for family, grad_maps, own, found in families:
        grad_read, grad_own = family.backward(grad_maps, reads, own, found, needed)
        grad_weights += grad_own
        if needed.read:
            (grads_active if family.reads_relu else grads_x).append(grad_read)
    if grads_active:
        total = grads_active[0]
        for part in grads_active[1:]:
            total = total + part
        grads_x.append(aten.threshold_backward(total, reads.active, 0))
    return grads_x, grad_weights
