"""Whole prunings of one space by many pruners: what they cost, and how far one says what another would."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from scipy.stats import spearmanr

from halfnas.data import ImageDataset, PruningData
from halfnas.memory import peak_live_memory
from halfnas.pruning.importance import IMPORTANCES
from halfnas.pruning.importance_pruner import ImportancePruner
from halfnas.pruning.pruner import Pruner
from halfnas.pruning.sample import Batch, split
from halfnas.spaces import Mask, SearchSpace
from halfnas.spaces.agreement import agreement
from halfnas.spaces.candidates import Candidates, Floats

MIB = 2**20


@dataclass(frozen=True)
class Pruning:
    """One run of a pruner.

    Attributes:
        pruner, seed: the name of the pruner and the seed that it was given.
        mask: the candidates that it kept.
        seconds: the time of its steps; loading images is not in it.
        metrics: what the pruner says of itself, such as `agreement`.
    """

    pruner: str
    seed: int
    mask: Mask
    seconds: float
    metrics: Mapping[str, float]


def run(
    pruner: Pruner, space: SearchSpace, scoring_space: SearchSpace, dataset: ImageDataset, *, ratio: float, seed: int
) -> Pruning:
    """Prune as a run does, without its files."""
    pruner.begin(space, scoring_space, ratio=ratio, seed=seed)
    batches = _batches(pruner, dataset, seed)
    seconds = 0.0
    while not (pruner.done or pruner.max_steps == 0):
        batch = next(batches)
        start = time.perf_counter()
        pruner.step(batch)
        seconds += time.perf_counter() - start
    return Pruning(pruner.name, seed, pruner.mask, seconds, pruner.metrics())


def scoring_memory(
    pruner: Pruner, space: SearchSpace, scoring_space: SearchSpace, dataset: ImageDataset
) -> float | None:
    """Measure the peak of live tensors in MiB while all candidates are scored, in the first round, the largest.

    Returns:
        None for a pruner without scores.
    """
    pruner.begin(space, scoring_space, ratio=0.5, seed=0)
    if not isinstance(pruner, ImportancePruner):
        return None
    batch = next(_batches(pruner, dataset, 0))
    return peak_live_memory(lambda: pruner.first_scores(batch, pruner.importance)) / MIB


@dataclass(frozen=True)
class Estimate:
    """One round of scores by both importances, on one scoring network and its batches.

    Attributes:
        rho: Spearman's rho of the scores of all candidates.
        seconds: importance -> the time of its round.
    """

    rho: float
    seconds: Mapping[str, float]


def estimate(
    pruner: Pruner, space: SearchSpace, scoring_space: SearchSpace, dataset: ImageDataset, *, seed: int
) -> Estimate | None:
    """Measure how far first-order importance stands in for exact removal; None for a pruner that has not both.

    Raises:
        Unusable: scores are not finite, or all the same.
    """
    pruner.begin(space, scoring_space, ratio=0.5, seed=seed)
    if not isinstance(pruner, ImportancePruner) or not all(r.differentiable for r in pruner.rankers.values()):
        return None
    batch = next(_batches(pruner, dataset, seed))
    scores, seconds = [], {}
    for importance in IMPORTANCES:
        start = time.perf_counter()
        scores.append(pruner.first_scores(batch, importance))
        seconds[importance] = time.perf_counter() - start
    return Estimate(float(spearmanr(*scores).statistic), seconds)


def within_edges(first: Mask, second: Mask, candidates: Candidates) -> float:
    """Average over the edges Spearman's rho between the scores that two masks give the candidates of an edge."""
    a, b = _scores(first, candidates), _scores(second, candidates)
    edges = [candidates.edges == e for e in np.unique(candidates.edges)]
    found = [spearmanr(a[e], b[e]).statistic for e in edges if np.ptp(a[e]) > 0 and np.ptp(b[e]) > 0]
    return float(np.mean(found)) if found else float("nan")


def summarize(
    prunings: Mapping[str, Sequence[Pruning]], memory: Mapping[str, float | None], space: SearchSpace
) -> list[dict[str, str | float | None]]:
    """Make a row a pruner: its cost, its reliability as reported, and as it is between seeds."""
    candidates = Candidates.of(space)
    rows: list[dict[str, str | float | None]] = []
    for name, runs in prunings.items():
        pairs = list(combinations(runs, 2))
        reported = [r.metrics["agreement"] for r in runs if "agreement" in r.metrics]
        measured = [_agree(a.mask, b.mask, candidates) for a, b in pairs]
        scored = all(run.mask.importance is not None for run in runs)
        rows.append(
            {
                "pruner": name,
                "seeds": len(runs),
                "repeats": float(np.mean([run.metrics.get("repeats", 0.0) for run in runs])),
                "seconds": float(np.median([run.seconds for run in runs])),
                "peak MiB": memory[name],
                "agreement reported": float(np.mean(reported)) if reported else None,
                "agreement of seeds": float(np.mean(measured)) if measured else None,
                "lowest": min(measured, default=None),
                "highest": max(measured, default=None),
                "rho of seeds": (
                    float(np.mean([within_edges(a.mask, b.mask, candidates) for a, b in pairs]))
                    if scored and pairs
                    else None
                ),
            }
        )
    return rows


def agreements(prunings: Mapping[str, Sequence[Pruning]], space: SearchSpace) -> Floats:
    """Average the agreement of the masks of two pruners over pairs of different seeds, [P, P]."""
    candidates = Candidates.of(space)
    matrix = np.full((len(prunings), len(prunings)), np.nan)
    for (i, a), (j, b) in product(enumerate(prunings.values()), repeat=2):
        found = [_agree(x.mask, y.mask, candidates) for x, y in product(a, b) if x.seed != y.seed]
        matrix[i, j] = np.mean(found) if found else np.nan
    return matrix


def agreement_rows(names: Sequence[str], matrix_PP: Floats) -> list[dict[str, str | float]]:
    """What `agreements` gives, as the rows of a table: a row and a column a pruner."""
    return [
        {"pruner": name, **dict(zip(names, row.tolist(), strict=True))}
        for name, row in zip(names, matrix_PP, strict=True)
    ]


def _agree(first: Mask, second: Mask, candidates: Candidates) -> float:
    return float(agreement(candidates.flags(first.kept), candidates.flags(second.kept)))


def _scores(mask: Mask, candidates: Candidates) -> Floats:
    assert mask.importance is not None, "the pruner scores"
    values = (mask.importance[p.kind][p.edge].get(p.operation) for p in candidates.places)
    return np.array([0.0 if value is None else value for value in values])


def _batches(pruner: Pruner, dataset: ImageDataset, seed: int) -> Iterator[list[Batch]]:
    if pruner.max_steps == 0:
        return
    size = pruner.batch_size * pruner.num_batches
    data = PruningData(dataset, batch_size=size, num_batches=pruner.max_steps, seed=seed)
    for images, labels in data.train_dataloader():
        yield split(images, labels, pruner.batch_size)
