"""How important each candidate is to a network: what its removal does to the ranking functions.

    s_j = sum over ranking functions r of  weight_r sign_r (r(N) - r(N without j)) / max(|r(N)|, eps)

A high score says that the network gets worse without the candidate. Source: Rufaim/ETENAS, with common random numbers:
all candidates are scored on one initialisation and the same batches, which takes most of the noise out of a
comparison of candidates, and r(N) is computed once.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor
from torch.func import replace_all_batch_norm_modules_, vmap

from halfnas.networks import Supernet
from halfnas.pruning.ranking import RankingFunction
from halfnas.pruning.sample import Sample
from halfnas.pruning.scoring_network import ScoringNetwork
from halfnas.spaces.candidates import Floats, Place

#: |r(N)| below this is not divided by.
EPS = 1e-12

IMPORTANCES = ("exact", "taylor")
COMBINATIONS = ("sum", "rank")

#: (supernet, rankers, sample) -> changes [R, J] of every ranker by every candidate of `scored_places`, r(N) [R]
Changes = Callable[[Supernet, Sequence[RankingFunction], Sample], tuple[Tensor, Tensor]]


@torch.no_grad()
def initialize(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Draw the weights of a scoring network: Kaiming normal with fan-out, biases 0 (Rufaim/ETENAS).

    Running statistics are dropped: nobody reads them, and torch.func cannot update them.
    """
    for module in network.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            draw_weight(module.weight, generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    replace_all_batch_norm_modules_(network)


def draw_weight(weight: Tensor, generator: torch.Generator) -> None:
    """Draw the weight of one layer, in place, as `initialize` does."""
    torch.nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)


def scored_places(supernet: Supernet) -> list[Place]:
    """The places of the candidates that get a score, which are those on edges that keep more than one."""
    candidates = supernet.candidates
    return [place for place, number in zip(candidates, candidates.alternatives, strict=True) if number > 1]


@torch.no_grad()
def exact_changes(
    supernet: Supernet, rankers: Sequence[RankingFunction], sample: Sample, *, candidates_per_call: int
) -> tuple[Tensor, Tensor]:
    """r(N) - r(N without j), on the weights that the supernet has, with all candidates weighted alike.

    Leaving candidate j out is alpha_j = -inf in Eq. 1: its weight is exactly 0 and the others renormalise. That makes
    a network without j a function of alpha alone, so that many of them run in one call.

    Args:
        candidates_per_call: how many networks are evaluated at once; memory grows with it.

    Returns:
        [R, J] over `scored_places`, and r(N) of the whole network, [R].
    """
    alike = _alike(supernet)
    whole_R = _rate(supernet, rankers, sample, alike)
    columns = [whole_R.new_empty(0, len(rankers))]
    for kind, cell in supernet.space.kinds.items():
        for node in cell.nodes:
            # All edges into one node at once: what comes before the node is the same for all of these networks.
            edges = [e for e in cell.edges_into(node) if len(alike[kind][e]) > 1]
            lanes = _each_left_out([alike[kind][e] for e in edges])
            if not edges:
                continue

            def rate(alphas: Sequence[Tensor], kind: str = kind, edges: Sequence[int] = edges) -> Tensor:
                changed = list(alike[kind])
                for e, alpha in zip(edges, alphas, strict=True):
                    changed[e] = alpha
                return _rate(supernet, rankers, sample, {**alike, kind: changed})

            size = _even_chunk(len(lanes[0]), candidates_per_call)
            columns.append(vmap(rate, chunk_size=size, randomness="same")(lanes))
    return whole_R[:, None] - torch.cat(columns).T, whole_R


def _each_left_out(alphas: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Make a matrix [sum of all n, n_e] of every vector [n_e]: a row for each candidate, with -inf at that one."""
    sizes = [len(alpha) for alpha in alphas]
    starts = [sum(sizes[:e]) for e in range(len(sizes))]
    lanes = []
    for alpha, start in zip(alphas, starts, strict=True):
        lane = alpha.repeat(sum(sizes), 1)
        lane[start : start + len(alpha)].fill_diagonal_(-torch.inf)
        lanes.append(lane)
    return tuple(lanes)


def taylor_changes(supernet: Supernet, rankers: Sequence[RankingFunction], sample: Sample) -> tuple[Tensor, Tensor]:
    """The first-order estimate of `exact_changes`, from one backward pass a ranking function: I_j dr/dI_j at I = 1.

    I, the indicators of Eq. 1, are relaxed to real numbers; with all candidates weighted alike, I = exp(alpha) gives
    dr/dI_j = dr/dalpha_j at alpha = 0, the denominator included.

    Raises:
        ValueError: a ranking function has no derivatives, or they are switched off.
    """
    check_derivatives()
    alike = _alike(supernet)
    vectors = [alpha.requires_grad_() for alpha in itertools.chain(*alike.values())]
    if sample.images.device.type == "cpu":
        supernet.to(memory_format=torch.channels_last)  # the faster one for few channels, forward and backward
    network = ScoringNetwork(supernet, alike)
    rows, whole = [], []
    for ranker in rankers:
        value = ranker(network, sample)
        gradients = derivatives(ranker, value, vectors)
        rows.append(torch.cat([g for g in gradients if len(g) > 1] or [value.new_empty(0)]).to(torch.float64))
        whole.append(value.detach().to(torch.float64))
    return torch.stack(rows), torch.stack(whole)


def check_derivatives() -> None:
    """Raise ValueError where derivatives are switched off."""
    if not torch.is_grad_enabled():
        raise ValueError("`importance=taylor` needs derivatives, which no_grad or inference_mode switches off here")


def derivatives(
    ranker: RankingFunction, value: Tensor, alphas: Sequence[Tensor], *, keep_graph: bool = False
) -> Sequence[Tensor]:
    """The derivatives of the value of a ranking function by every alpha. Raises ValueError where it has none."""
    if not (ranker.differentiable and value.requires_grad):
        name = type(ranker).__name__
        raise ValueError(f"`importance=taylor` needs derivatives, which {name} does not give; use importance=exact")
    return torch.autograd.grad(value, alphas, retain_graph=keep_graph, materialize_grads=True)


def combine(changes_RJ: Floats, whole_R: Floats, rankers: Mapping[str, RankingFunction], how: str) -> Floats:
    """One score a candidate from the changes of all ranking functions, [J].

    Args:
        how: "sum" adds weighted relative changes; those of a ranking function on a log scale, whose ratios mean
            nothing, enter by rank. "rank" adds weighted ranks of all (TE-NAS). Ranks are over all candidates of the
            round, between -1/2, the least important, and 1/2; equals share theirs.
    """
    total, ranks = np.zeros((2, changes_RJ.shape[1]))
    for change_J, whole, ranker in zip(changes_RJ, whole_R, rankers.values(), strict=True):
        if how == "rank" or ranker.log_scale:
            ranks += ranker.weight * centred_ranks(ranker.sign * change_J)
        else:
            total += ranker.weight * ranker.sign * change_J / max(abs(whole), EPS)
    return total + ranks / max(len(ranks) - 1, 1)  # divided in the end: equal sums of ranks are exactly equal


def centred_ranks(values: Floats) -> Floats:
    """Ranks between -(J - 1) / 2 and (J - 1) / 2, ascending; equals share the mean of theirs."""
    return rankdata(values) - (len(values) + 1) / 2


def _rate(
    supernet: Supernet, rankers: Sequence[RankingFunction], sample: Sample, alpha: Mapping[str, Sequence[Tensor]]
) -> Tensor:
    network = ScoringNetwork(supernet, alpha)
    return torch.stack([ranker(network, sample).to(torch.float64) for ranker in rankers])


def _alike(supernet: Supernet) -> dict[str, list[Tensor]]:
    """Alpha of every edge with all candidates weighted alike."""
    return {kind: [torch.zeros_like(alpha) for alpha in supernet.edge_alphas(kind)] for kind in supernet.alpha}


def _even_chunk(total: int, most: int) -> int:
    num_chunks = -(-total // most)
    return -(-total // num_chunks)
