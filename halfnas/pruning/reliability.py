"""How far a mask depends on the random numbers that it was made with."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import multivariate_normal, norm

from halfnas.pruning.competition import Competition
from halfnas.pruning.posterior import Posterior
from halfnas.spaces.agreement import agreement
from halfnas.spaces.candidates import Flags, Floats, Indices

#: Random divisions into two halves whose agreement is averaged.
NUM_SPLITS = 32
#: Pairs of prunings that are drawn, each of another truth.
NUM_DRAWS = 32


def chance_agreement(kept: Flags, groups: Indices) -> float:
    """The agreement of two masks drawn independently, of which each group keeps as many candidates as of this one."""
    fractions = np.bincount(groups, weights=kept) / np.bincount(groups)
    return float(agreement(fractions[groups], fractions[groups]))


def half_agreement(scores_NJ: Floats, make_mask: Callable[[Floats], Flags], seed: int) -> float:
    """Mean agreement of the masks of two disjoint halves of the repeats, over random halvings.

    Args:
        scores_NJ: a row a repeat, at least two; of an odd number one is left out, another one each time.
        make_mask: some of the rows -> the mask that they give.
        seed: of the halvings.
    """
    rng = np.random.default_rng(seed)
    half = len(scores_NJ) // 2
    num_splits = 1 if half == 1 and len(scores_NJ) == 2 else NUM_SPLITS
    found = []
    for _ in range(num_splits):
        order = rng.permutation(len(scores_NJ))
        first, second = order[:half], order[half : 2 * half]
        found.append(agreement(make_mask(scores_NJ[first]), make_mask(scores_NJ[second])))
    return float(np.mean(found))


def full_agreement(of_halves: float, num_repeats: int, kept_fraction: float) -> float:
    """The agreement to be expected of two whole prunings, from that of two halves of one.

    Model: the scores of two prunings are bivariate normal with correlation rho, and a candidate is kept above a
    threshold. The agreement gives rho (for half of the candidates kept it is 1/2 + arcsin(rho) / pi); the formula of
    Spearman and Brown, n rho / (1 + (n - 1) rho), carries it from halves to n times as many repeats.
    """
    if not 0 < kept_fraction < 1:
        return 1.0
    rho = _correlation(of_halves, kept_fraction)
    times = num_repeats / (num_repeats // 2)
    return _agreement(times * rho / (1 + (times - 1) * rho), kept_fraction)


def whole_agreement(of_halves: float, num_repeats: int, kept: Flags, groups: Indices) -> float:
    """The agreement to be expected of two whole prunings, from that of two halves of one.

    Two masks always agree on the candidates of groups that lose none; the others are those of `full_agreement`.

    Args:
        of_halves: the mean agreement of two masks, each of half of the repeats.
        num_repeats: the repeats of the whole pruning, at least two.
        kept: its mask, [J].
        groups: the group that every candidate competes in, [J].
    """
    contested = (np.bincount(groups, weights=~kept) > 0)[groups]
    share = float(contested.mean())
    among_them = full_agreement(1 - (1 - of_halves) / share, num_repeats, float(kept[contested].mean()))
    return 1 - share * (1 - among_them)


def drawn_agreement(
    scores_NJ: Floats, candidates: Competition, make_mask: Callable[[Floats], Flags], seed: int
) -> float:
    """The agreement to be expected of two whole prunings, by drawing pairs of them, see `Posterior`.

    For scores that lean on those of other edges, more the fewer repeats there are (`aggregate=shrink`): halves lean
    more than the whole does, and so agree well for their noise, and no formula leads from them to the whole. On
    simulated scores of DARTS, with effects of operations, of operations on edges and noise, it is within 0.025 of what
    pairs of prunings have from three repeats on (from halves: up to 0.042 too high), and within 0.05 with two repeats,
    or with three where operations are alike (tests/pruning/test_posterior.py).

    Args:
        scores_NJ: a row a repeat, at least two.
        candidates: the groups that compete.
        make_mask: the rows of a pruning -> its mask.
        seed: of the draws.
    """
    rng, posterior = np.random.default_rng(seed), Posterior(scores_NJ, candidates)
    found = []
    for _ in range(NUM_DRAWS):
        prunings = posterior.prunings(rng)
        found.append(agreement(make_mask(next(prunings)), make_mask(next(prunings))))
    return float(np.mean(found))


def _agreement(rho: float, p: float) -> float:
    threshold = norm.ppf(p)
    both = multivariate_normal.cdf([threshold, threshold], cov=[[1, rho], [rho, 1]], allow_singular=True)
    return float(1 - 2 * (p - both))


def _correlation(agreement: float, p: float) -> float:
    """The rho that gives this agreement; none below 0, which is worse than chance and so noise."""
    if agreement <= _agreement(0.0, p):
        return 0.0
    most = 1 - 1e-9
    if agreement >= _agreement(most, p):
        return most
    return float(brentq(lambda rho: _agreement(rho, p) - agreement, 0.0, most))
