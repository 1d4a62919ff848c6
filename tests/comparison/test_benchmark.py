"""Against invented accuracies of all 15,625 architectures."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau, spearmanr

from halfnas.comparison.benchmark import correlations, mean_survival, rate, survival
from halfnas.pruning import Batch, Sample
from halfnas.pruning.rankers import NTKConditionNumber, ParameterCount, SynFlow
from halfnas.spaces import NASBench201Space
from halfnas.spaces.nasbench201 import ARCHITECTURE
from halfnas.spaces.trained import TrainedTable

SPACE = NASBench201Space(init_channels=2, num_cells=3)
NAMES = SPACE.candidates("cell")[0]
ALL = [ARCHITECTURE.format(*names) for names in product(NAMES, repeat=6)]
DEAD = ARCHITECTURE.format(*["none"] * 6)
CONVOLUTIONS = ARCHITECTURE.format(*["nor_conv_3x3"] * 6)


@pytest.fixture(scope="module")
def trained():
    worth = [name.count("nor_conv_3x3") * 0.1 + name.count("skip") * 0.01 for name in ALL]
    return TrainedTable(SPACE, ALL, np.array(worth))


def test_survival_of_everything_and_of_the_best(trained):
    everything = survival(trained, np.arange(15_625))
    assert (everything["best 1% left"], everything["worst 10% left"], everything["architectures"]) == (1, 1, 1)
    assert everything["mean"] == pytest.approx(trained.accuracies.mean())
    order = np.argsort(trained.accuracies)
    best = survival(trained, order[-156:])
    assert best["best 1% left"] == 1
    assert best["worst 10% left"] == 0
    assert best["architectures"] == pytest.approx(156 / 15_625)
    assert best["best"] == pytest.approx(0.6)


def test_mean_survival():
    found = mean_survival([{"mean": 0.1, "best": 1.0}, {"mean": 0.3, "best": 0.0}])
    assert found == pytest.approx({"masks": 2, "mean": 0.2, "best": 0.5, "std of mean": math.sqrt(0.02)})
    assert mean_survival([{"mean": 0.1}])["std of mean"] == 0


def test_the_spread_over_masks_of_what_is_concluded_from():
    found = mean_survival([{"mean": 0.8, "best 1% left": x, "worst 10% left": y} for x, y in ((0, 1), (0.4, 1))])
    assert found["std of best 1% left"] == pytest.approx(math.sqrt(0.08))
    assert found["std of worst 10% left"] == 0


def test_rate_honours_the_sign_and_marks_what_is_not_finite():
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sample = Sample([Batch(images, torch.arange(4))])
    rankers = {"params": ParameterCount(), "fewer": ParameterCount(sign=-1), "synflow": SynFlow(),
               "ntk": NTKConditionNumber(sign=-1)}  # fmt: skip
    samples = dict.fromkeys(rankers, sample)
    rated = rate(rankers, SPACE, CONVOLUTIONS, samples, seed=0)
    assert rated["params"].value == -rated["fewer"].value > 0
    assert rated["ntk"].value < -1
    assert all(each.seconds > 0 for each in rated.values())
    again = rate(rankers, SPACE, CONVOLUTIONS, samples, seed=0)
    assert {key: each.value for key, each in again.items()} == {key: each.value for key, each in rated.items()}
    assert rate(rankers, SPACE, CONVOLUTIONS, samples, seed=1)["synflow"].value != rated["synflow"].value
    assert rate(rankers, SPACE, DEAD, samples, seed=0)["params"].value < rated["params"].value


def test_correlations():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=100)
    ratings = truth + rng.normal(size=100)
    tau, rho = correlations(ratings, truth, seed=0)
    assert tau.value == pytest.approx(kendalltau(ratings, truth).statistic)
    assert rho.value == pytest.approx(spearmanr(ratings, truth).statistic)
    assert tau.low < tau.value < tau.high
    assert 0.05 < tau.high - tau.low < 0.4
    # the lowest there is ranks as any lowest value does
    worst = ratings.copy()
    worst[3] = -np.inf
    ratings[3] = -99.0
    assert correlations(worst, truth, seed=0) == correlations(ratings, truth, seed=0)
