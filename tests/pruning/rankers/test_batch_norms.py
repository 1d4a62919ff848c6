"""Both forms of batch norms: how steep a ranking function is, against differences of its values."""

from typing import get_args

import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.pruning import Batch, Sample, ScoringNetwork, taylor_changes
from halfnas.pruning.importance import initialize
from halfnas.pruning.rankers import JacobianCovariance, NTKConditionNumber
from halfnas.pruning.rankers.batch_norms import BatchNorm
from halfnas.spaces import NASBench201Space


@pytest.fixture(scope="module")
def supernet():
    network = build_supernet(NASBench201Space(init_channels=2, num_cells=3, num_classes=4))
    initialize(network, torch.Generator().manual_seed(0))
    return network.double().train().requires_grad_(False)


@pytest.mark.parametrize("ranker", [JacobianCovariance, NTKConditionNumber])
@pytest.mark.parametrize("batch_norm", get_args(BatchNorm))
def test_derivatives_are_those_of_the_values(supernet, sample, ranker, batch_norm):
    rate, step = ranker(batch_norm=batch_norm), 1e-5
    sample = Sample([Batch(sample.batches[0].images, None)])
    changes, whole = taylor_changes(supernet, [rate], sample)

    def value(edge, shift):
        alpha = {"cell": [torch.zeros(5, dtype=torch.float64) for _ in range(6)]}
        alpha["cell"][edge][3] += shift
        with torch.no_grad():
            return rate(ScoringNetwork(supernet, alpha), sample).item()

    assert whole.item() == pytest.approx(value(0, 0.0), rel=1e-9)
    for edge in (0, 3, 5):
        slope = (value(edge, step) - value(edge, -step)) / (2 * step)
        assert changes[0, 5 * edge + 3].item() == pytest.approx(slope, rel=1e-4, abs=1e-4 * abs(whole.item()))
