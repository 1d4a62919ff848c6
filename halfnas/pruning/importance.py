"""How important each candidate is to a network: what its removal does to the ranking functions.

    s_j = sum over ranking functions r of  weight_r sign_r (r(N) - r(N without j)) / max(|r(N)|, eps)

A high score says that the network gets worse without the candidate. Source: Rufaim/ETENAS, with common random numbers:
all candidates are scored on one initialisation and the same batches, which takes most of the noise out of a
comparison of candidates, and r(N) is computed once.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap

from halfnas.networks import Supernet
from halfnas.pruning.ranking import Batch, RankingFunction

#: |r(N)| below this is not divided by.
EPS = 1e-12

#: kind -> one {operation: score} an edge
Scores = dict[str, list[dict[str, float]]]


@torch.no_grad()
def initialize(supernet: Supernet, generator: torch.Generator) -> None:
    """Draw the weights of a scoring network: Kaiming normal with fan-out, biases 0, all candidates weighted alike.

    Running statistics are dropped: a scoring network sees each batch once, in training mode.
    """
    for module in supernet.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for parameter in supernet.architecture_parameters():
        torch.nn.init.zeros_(parameter)
    replace_all_batch_norm_modules_(supernet)


def rate(
    supernet: Supernet, rankers: Sequence[RankingFunction], batches: Sequence[Batch], alpha: Mapping[str, Tensor]
) -> Tensor:
    """r(N) of every ranking function, [R], with `alpha[kind]` in place of the network's own."""

    def network(images: Tensor) -> Tensor:
        return functional_call(supernet, {f"alpha.{kind}": value for kind, value in alpha.items()}, images)

    return torch.stack([ranker(network, batches) for ranker in rankers])


@torch.no_grad()
def exact_importance(
    supernet: Supernet,
    rankers: Sequence[RankingFunction],
    batches: Sequence[Batch],
    *,
    candidates_per_call: int,
) -> tuple[Scores, Tensor]:
    """Score every candidate by leaving it out, on the weights the supernet has, with all candidates weighted alike.

    Leaving candidate j out is alpha_j = -inf in Eq. 1: its weight is exactly 0 and the others renormalise. That makes
    a network without j a function of alpha alone, so that many of them run in one call.

    Args:
        candidates_per_call: how many networks are evaluated at once; memory grows with it.

    Returns:
        Scores of all candidates on edges that keep more than one, and r(N) of the whole network, [R].
    """
    alike = {kind: torch.zeros_like(alpha) for kind, alpha in supernet.alpha.items()}
    whole_R = rate(supernet, rankers, batches, alike)
    factor_R = torch.tensor([r.weight * r.sign for r in rankers], dtype=whole_R.dtype, device=whole_R.device)
    scores: Scores = {}
    for kind, edges in supernet.mask.kept.items():
        places = [(e, name) for e, names in enumerate(edges) for name in names]
        scored = torch.tensor([j for j, (e, _) in enumerate(places) if len(edges[e]) > 1], dtype=torch.long)
        scores[kind] = [{} for _ in edges]
        if not len(scored):
            continue
        alpha_JA = torch.zeros(len(scored), len(places), dtype=whole_R.dtype)
        alpha_JA[torch.arange(len(scored)), scored] = -torch.inf
        without_JR = vmap(
            lambda alpha_A, kind=kind: rate(supernet, rankers, batches, {**alike, kind: alpha_A}),
            chunk_size=_even_chunk(len(scored), candidates_per_call),
        )(alpha_JA.to(whole_R.device))
        change_J = ((whole_R - without_JR) / whole_R.abs().clamp_min(EPS) * factor_R).sum(dim=1)
        for j, change in zip(scored.tolist(), change_J.tolist(), strict=True):
            edge, name = places[j]
            scores[kind][edge][name] = change
    return scores, whole_R


def _even_chunk(total: int, most: int) -> int:
    num_chunks = -(-total // most)
    return -(-total // num_chunks)
