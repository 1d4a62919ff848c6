"""The paper's point, measured: what a halved supernet keeps for its backward pass, against plain DARTS."""

import statistics

import pytest
import torch
from torch.nn.functional import cross_entropy

from halfnas import Mask, build_supernet, load_space
from halfnas.memory import saved_for_backward

BATCH_SIZE = 2  # the fraction hardly depends on it: every activation grows with the batch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """At this batch size threads mostly wait for one another, ten times as long where other tests run beside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def space():
    return load_space("darts", init_channels=16, num_cells=8)


@pytest.fixture(scope="module")
def saved(space):
    """Measure a supernet of `space`: bytes, with weights and architecture parameters requiring a gradient."""
    images = torch.randn(BATCH_SIZE, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(BATCH_SIZE)

    def measure(mask=None, partial_channels=1):
        supernet = build_supernet(space, mask, partial_channels=partial_channels)
        assert all(parameter.requires_grad for parameter in supernet.parameters())
        return saved_for_backward(lambda: cross_entropy(supernet(images), labels), supernet)

    return measure


@pytest.fixture(scope="module")
def plain_darts(saved):
    return saved()


def test_half_the_candidates_keep_at_most_21_percent_of_plain_darts(space, saved, plain_darts):
    halves = [saved(Mask.random(space, 0.5, seed), partial_channels=4) for seed in range(10)]
    fraction = statistics.mean(halves) / plain_darts
    assert 0.15 < fraction <= 0.21  # below 0.15 something would be left out of the count, or out of the network


def test_partial_channels_alone_keep_about_a_third(saved, plain_darts):
    # DESIGN 7 has -68% as a peak of live tensors
    assert saved(partial_channels=4) / plain_darts == pytest.approx(0.32, abs=0.02)


def test_a_masked_candidate_keeps_nothing(space, saved, plain_darts):
    """Identity, `none` and pools need least: the fewer convolutions, the fewer bytes, down to the fixed modules."""
    no_convolution = {
        kind: [[name for name in edge if "conv" not in name] for edge in space.candidates(kind)] for kind in space.kinds
    }
    identity = {kind: [["skip_connect"]] * len(space.candidates(kind)) for kind in space.kinds}
    light, lightest = (saved(Mask(space.name, kept)) for kept in (no_convolution, identity))
    assert lightest < light < 0.5 * plain_darts
