import numpy as np
import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.pruning import Batch, LogitRanking, Sample, taylor_changes
from halfnas.pruning.competition import Competition
from halfnas.pruning.importance import initialize
from halfnas.pruning.rankers import NNGPFrobenius, NNGPMean, SynFlow
from halfnas.pruning.scoring import LogitScores, Scorer, Unusable
from halfnas.spaces import DartsSpace

SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1, num_classes=7)
CANDIDATES = Competition(SPACE)
ALL = np.ones(len(CANDIDATES.places), dtype=bool)


class Spread(LogitRanking):
    """How far logits spread over images."""

    def rate(self, logits):
        return logits.var(dim=0).mean()


class OwnCall(NNGPFrobenius):
    """Sees the network."""

    def __call__(self, network, sample):
        self.seen = network.module.mask
        return super().__call__(network, sample)


def make_sample(seed=0, sizes=(4, 4), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    batches = [Batch(torch.randn(n, 1, 8, 8, generator=generator).to(dtype), torch.arange(n)) for n in sizes]
    return Sample(batches, seed)


def some(seed, fraction=0.6):
    """Candidates that may be left: some of every edge, and sep_conv_3x3 on every edge; one edge has no other."""
    kept = np.random.default_rng(seed).random(len(ALL)) < fraction
    kept[[place.operation == "sep_conv_3x3" for place in CANDIDATES.places]] = True
    kept &= (CANDIDATES.edges != 3) | np.array([p.operation == "sep_conv_3x3" for p in CANDIDATES.places])
    return kept


def make_scorer(*rankers, importance="taylor", combine="sum"):
    named = {type(ranker).__name__: ranker for ranker in rankers}
    return Scorer(
        SPACE, CANDIDATES, named, importance=importance, combine=combine, candidates_per_call=32, cuda_graphs="auto"
    )


def plain_changes(sample, kept, rankers):
    """By a network that has dropped what is not kept."""
    supernet = build_supernet(SPACE)
    initialize(supernet, torch.Generator().manual_seed(sample.seed))
    supernet.to(sample.images.dtype).train().requires_grad_(False)
    supernet.narrow(CANDIDATES.mask(kept))
    return taylor_changes(supernet, rankers, sample)


@pytest.mark.parametrize("kept", [ALL, some(1), some(2, 0.3)], ids=["all", "some", "few"])
def test_masked_and_narrowed_scores_are_those_of_the_plain_network(kept):
    sample, rankers = make_sample(), [NNGPFrobenius(), Spread(), NNGPMean()]
    narrowed, masked = (LogitScores(SPACE, CANDIDATES, rankers, sample, "auto") for _ in range(2))
    masked._captures = True  # where there are graphs; here the function that they hold is called
    changes, whole = plain_changes(sample, kept, rankers)
    scored = kept & (np.bincount(CANDIDATES.edges[kept])[CANDIDATES.edges] > 1)
    for scores in (narrowed, masked):
        scores.network.draw(torch.Generator().manual_seed(sample.seed))
        rows = scores(sample, kept)
        assert np.isnan(rows[:, :-1]).tolist() == [list(~kept)] * 3
        np.testing.assert_allclose(rows[:, -1], whole, rtol=1e-10)
        for row, expected in zip(rows[:, :-1], changes.numpy(), strict=True):
            scale = np.abs(expected).max()
            assert scale > 1e-3
            np.testing.assert_allclose(row[scored] / scale, expected / scale, rtol=0, atol=1e-10)


def test_a_network_after_another():
    """Every sample has weights and images of its own; what was left out before is back."""
    scorer = make_scorer(NNGPFrobenius())
    found = []
    for seed in (0, 1, 0):
        scorer.begin(make_sample(seed))
        found.append([scorer(kept)[0] for kept in (ALL, some(1))])
    for first, other, again in zip(*found, strict=True):
        assert np.array_equal(first, again, equal_nan=True)
        assert not np.allclose(first, other, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_samples_of_another_kind(dtype):
    scorer = make_scorer(NNGPFrobenius())
    for sample in (make_sample(), make_sample(sizes=(4, 4, 4)), make_sample(dtype=dtype), make_sample(sizes=(5, 3))):
        scorer.begin(sample)
        scores, ratings = scorer(ALL)
        changes, whole = plain_changes(sample, ALL, [NNGPFrobenius()])
        np.testing.assert_allclose(ratings["NNGPFrobenius"], whole.item(), rtol=1e-5)
        np.testing.assert_allclose(scores, changes[0] / whole.item(), rtol=0, atol=1e-4)


def test_ranking_functions_of_networks_and_of_logits_together():
    several = [SynFlow(), NNGPFrobenius(), OwnCall(), Spread()]
    scorer, sample = make_scorer(*several), make_sample()
    scorer.begin(sample)
    kept = some(1)
    scores, ratings = scorer(kept)
    assert list(ratings) == ["SynFlow", "NNGPFrobenius", "OwnCall", "Spread"]
    assert several[2].seen.kept == CANDIDATES.kept(kept)  # it was given the plain network
    assert ratings["NNGPFrobenius"] == pytest.approx(ratings["OwnCall"], rel=1e-10)
    _, whole = plain_changes(sample, kept, several)
    assert list(ratings.values()) == pytest.approx(whole.tolist(), rel=1e-10)
    alternatives = np.bincount(CANDIDATES.edges[kept])[CANDIDATES.edges]
    assert np.isnan(scores).tolist() == (~(kept & (alternatives > 1))).tolist()


def test_logits_with_derivatives_switched_off():
    scorer = make_scorer(NNGPFrobenius())
    scorer.begin(make_sample())
    with torch.no_grad(), pytest.raises(ValueError, match="needs derivatives, which no_grad or inference_mode"):
        scorer(ALL)


def test_a_rating_of_logits_without_derivatives():
    class Detached(Spread):
        def rate(self, logits):
            return super().rate(logits).detach()

    scorer = make_scorer(Detached())
    scorer.begin(make_sample())
    with pytest.raises(ValueError, match="`importance=taylor` needs derivatives, which Detached does not give"):
        scorer(ALL)


def test_equal_scores_are_refused_in_the_first_call_alone():
    class Same(Spread):
        def rate(self, logits):
            return 1 + 0 * super().rate(logits)

    scorer = make_scorer(Same())
    scorer.begin(make_sample())
    with pytest.raises(Unusable, match="Same gives all 224 candidates the same score, 0"):
        scorer(ALL)


def test_exact_importance_of_logits():
    scorer, sample = make_scorer(NNGPFrobenius(), importance="exact"), make_sample()
    scorer.begin(sample)
    kept = some(2, 0.1)
    scores, ratings = scorer(kept)
    _, whole = plain_changes(sample, kept, [NNGPFrobenius()])
    assert ratings["NNGPFrobenius"] == pytest.approx(whole.item(), rel=1e-10)
    assert np.isfinite(scores).any()
