import math

import pytest
import torch

from halfnas.networks import build_supernet
from halfnas.search import BetaDecay, mean_logsumexp
from halfnas.spaces import DartsSpace, Mask

SPACE = DartsSpace(init_channels=4, num_cells=3, in_channels=1)
EDGES = 14


def make_supernet(mask=None, value=None, partial_channels=1):
    supernet = build_supernet(SPACE, mask, partial_channels=partial_channels)
    for parameter in supernet.architecture_parameters():
        parameter.data = parameter.data.double()
        if value is None:
            parameter.data.normal_()
        else:
            parameter.data.fill_(value)
    return supernet


def uneven_mask():
    """Edge e keeps e % 4 + 1 candidates in normal cells, all of them in reduction cells."""
    names = SPACE.candidates("normal")[0][::-1]
    return Mask("darts", {"normal": [names[: e % 4 + 1] for e in range(EDGES)], "reduce": [names] * EDGES})


def test_at_alpha_zero_it_is_log_n():
    assert mean_logsumexp(make_supernet(value=0.0)).item() == pytest.approx(2 * math.log(8), abs=1e-12)
    half = Mask.random(SPACE, ratio=0.5, seed=0)
    assert mean_logsumexp(make_supernet(half, value=0.0)).item() == pytest.approx(2 * math.log(4), abs=1e-12)


def test_kept_candidates_only_and_the_kinds_summed():
    normal = sum(math.log(e % 4 + 1) for e in range(EDGES)) / EDGES
    term = mean_logsumexp(make_supernet(uneven_mask(), value=0.0)).item()
    assert term == pytest.approx(normal + math.log(8), abs=1e-12)


def test_a_shift_of_all_alphas_shifts_it():
    shifted = mean_logsumexp(make_supernet(value=0.75)).item()
    assert shifted == pytest.approx(2 * (0.75 + math.log(8)), abs=1e-12)


def test_against_the_definition():
    supernet = make_supernet(uneven_mask())
    expected = 0.0
    for kind in ("normal", "reduce"):
        values = iter(supernet.alpha[kind].tolist())
        edges = [[next(values) for _ in names] for names in supernet.mask.kept[kind]]
        expected += sum(math.log(sum(math.exp(alpha) for alpha in edge)) for edge in edges) / EDGES
    assert mean_logsumexp(supernet).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("epoch", "epochs", "factor"), [(0, 50, 0.0), (10, 50, 5.0), (49, 50, 24.5), (1, 4, 6.25)])
def test_weight_grows_linearly_from_zero(epoch, epochs, factor):
    assert BetaDecay(weight=25.0).weight_at(epoch, epochs) == pytest.approx(factor, abs=1e-12)


def test_the_term_is_without_its_weight():
    supernet = make_supernet(uneven_mask())
    assert BetaDecay(weight=25.0)(supernet).item() == mean_logsumexp(supernet).item()


def test_gradient_is_the_softmax_over_the_edges():
    supernet = make_supernet(uneven_mask(), partial_channels=2)
    BetaDecay(weight=25.0)(supernet).backward()
    for kind in ("normal", "reduce"):
        sizes = [len(edge) for edge in supernet.mask.kept[kind]]
        softmax = torch.cat([alpha.softmax(0) for alpha in supernet.alpha[kind].detach().split(sizes)])
        torch.testing.assert_close(supernet.alpha[kind].grad, softmax / EDGES, rtol=0, atol=1e-12)
        assert supernet.beta[kind].grad is None
    assert all(parameter.grad is None for parameter in supernet.weight_parameters())
