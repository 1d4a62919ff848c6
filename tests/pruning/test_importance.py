import math

import pytest
import torch
from torch import nn

from halfnas.networks import build_supernet
from halfnas.pruning import Batch, NNGPFrobenius, exact_importance
from halfnas.pruning.importance import _even_chunk, initialize
from halfnas.spaces import DartsSpace, Mask

SPACE = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
CANDIDATES = SPACE.candidates("normal")[0]
NNGP = NNGPFrobenius(weight=1.0, sign=1)


class Scale:
    """A ranking function of another scale: how far the logits spread."""

    def __init__(self, weight, sign):
        self.weight = weight
        self.sign = sign

    def __call__(self, network, batches):
        return torch.cat([network(batch.images) for batch in batches]).square().mean()


def make_batches(num_batches=2, size=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(size, dtype=torch.long)
    return [Batch(torch.randn(size, 1, 8, 8, generator=generator, dtype=dtype), labels) for _ in range(num_batches)]


def make_supernet(mask=None, seed=0, dtype=torch.float64):
    supernet = build_supernet(SPACE, mask)
    initialize(supernet, torch.Generator().manual_seed(seed))
    return supernet.to(dtype).train()


def narrow_mask():
    """Two candidates on three edges of each kind, one on the others."""
    edges = [("skip_connect", "sep_conv_3x3") if e % 5 == 0 else ("avg_pool_3x3",) for e in range(14)]
    return Mask("darts", {"normal": edges, "reduce": edges})


def flatten(scores):
    return {(k, e, name): s for k, edges in scores.items() for e, edge in enumerate(edges) for name, s in edge.items()}


def score(supernet, rankers=(NNGP,), batches=None, candidates_per_call=64):
    batches = make_batches() if batches is None else batches
    scores, whole = exact_importance(supernet, rankers, batches, candidates_per_call=candidates_per_call)
    return flatten(scores), whole


def rate_without(supernet, place, rankers, batches):
    """r of the supernet that never had the candidate, with the weights that the others have."""
    smaller = make_supernet(supernet.mask.without(*place), seed=99)
    weights = {name: value for name, value in supernet.state_dict().items() if not name.startswith("alpha.")}
    smaller_names = {name for name in smaller.state_dict() if not name.startswith("alpha.")}
    assert smaller_names <= set(weights)
    smaller.load_state_dict({name: weights[name] for name in smaller_names}, strict=False)
    with torch.no_grad():
        return [ranker(smaller, batches).item() for ranker in rankers]


def check_against_built(mask, places, num_candidates):
    supernet, batches = make_supernet(mask), make_batches()
    scores, whole = score(supernet, batches=batches)
    assert len(scores) == num_candidates
    r_whole = NNGP(supernet, batches).item()
    assert whole.tolist() == [pytest.approx(r_whole, abs=1e-9)]
    for place in places:
        (r_without,) = rate_without(supernet, place, [NNGP], batches)
        assert scores[place] == pytest.approx((r_whole - r_without) / r_whole, abs=1e-9), place
    assert len({round(value, 9) for value in scores.values()}) > 0.5 * num_candidates  # scores do tell candidates apart


def test_equals_a_supernet_built_without_the_candidate():
    # Every second edge of each kind; all candidates in turn.
    places = [("normal", e, CANDIDATES[e // 2]) for e in range(0, 14, 2)]
    places += [("reduce", e, CANDIDATES[7 - e // 2]) for e in range(1, 14, 2)]
    check_against_built(None, places, 2 * 14 * 8)


def test_equals_a_supernet_built_without_the_candidate_on_a_pruned_mask():
    kept = Mask.random(SPACE, ratio=0.375, seed=3).kept
    # Uneven edges: one edge in four loses a candidate, another one has a single candidate left.
    kept = {
        kind: [edge[:2] if e % 4 == 1 and edge[0] != "none" else ("sep_conv_5x5",) if e % 4 == 2 else edge
               for e, edge in enumerate(edges)]
        for kind, edges in kept.items()
    }  # fmt: skip
    mask = Mask("darts", kept)
    open_edges = [(k, e, edge) for k, edges in mask.kept.items() for e, edge in enumerate(edges) if len(edge) > 1]
    places = [(kind, e, edge[e % len(edge)]) for kind, e, edge in open_edges]
    check_against_built(mask, places, sum(len(edge) for _, _, edge in open_edges))


def test_edges_with_one_candidate_get_no_score():
    scores, _ = score(make_supernet(narrow_mask()))
    assert {(kind, e) for kind, e, _ in scores} == {(k, e) for k in ("normal", "reduce") for e in (0, 5, 10)}


def test_nothing_to_score_at_all():
    mask = Mask("darts", {kind: [("skip_connect",)] * 14 for kind in ("normal", "reduce")})
    scores, whole = score(make_supernet(mask))
    assert scores == {}
    assert whole.shape == (1,)


@pytest.mark.parametrize("candidates_per_call", [1, 4, 5, 1000])
def test_does_not_depend_on_candidates_per_call(candidates_per_call):
    supernet = make_supernet(narrow_mask())
    expected, _ = score(supernet, candidates_per_call=6)
    scores, _ = score(supernet, candidates_per_call=candidates_per_call)
    assert list(scores) == list(expected)
    assert scores == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("total", [1, 2, 9, 10, 224])
@pytest.mark.parametrize("most", [1, 3, 9, 32, 500])
def test_chunks_are_few_and_not_larger_than_allowed(total, most):
    chunk = _even_chunk(total, most)
    assert 1 <= chunk <= most
    assert math.ceil(total / chunk) == math.ceil(total / most)


def test_scores_leave_the_supernet_as_it_was():
    supernet = make_supernet(narrow_mask())
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    score(supernet)
    assert before.keys() == supernet.state_dict().keys()
    for name, value in supernet.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in supernet.parameters())


def test_weight_and_sign():
    supernet = make_supernet(narrow_mask())
    plain, whole = score(supernet, [NNGPFrobenius(1.0, 1)])
    negative, whole_negative = score(supernet, [NNGPFrobenius(1.0, -1)])
    double, whole_double = score(supernet, [NNGPFrobenius(2.0, 1)])
    assert negative == pytest.approx({place: -value for place, value in plain.items()}, abs=1e-12)
    assert double == pytest.approx({place: 2 * value for place, value in plain.items()}, abs=1e-12)
    assert whole_negative.item() == whole_double.item() == whole.item()  # what is logged is r itself


def test_relative_changes_of_ranking_functions_are_summed():
    supernet = make_supernet(narrow_mask())
    first, whole_first = score(supernet, [NNGPFrobenius(1.0, 1)])
    second, whole_second = score(supernet, [Scale(0.5, -1)])
    both, whole = score(supernet, [NNGPFrobenius(1.0, 1), Scale(0.5, -1)])
    assert both == pytest.approx({place: first[place] + second[place] for place in first}, abs=1e-12)
    assert whole.tolist() == pytest.approx([whole_first.item(), whole_second.item()], abs=1e-12)
    place = ("normal", 5, "skip_connect")
    batches = make_batches()
    (r_without,) = rate_without(supernet, place, [Scale(1.0, 1)], batches)
    r_whole = Scale(1.0, 1)(supernet, batches).item()
    assert second[place] == pytest.approx(-0.5 * (r_whole - r_without) / r_whole, abs=1e-9)


def test_a_negative_rating_is_divided_by_its_size():
    class MinusNNGP(NNGPFrobenius):
        def __call__(self, network, batches):
            return -super().__call__(network, batches)

    supernet = make_supernet(narrow_mask())
    plain, _ = score(supernet, [NNGPFrobenius(1.0, 1)])
    negative, _ = score(supernet, [MinusNNGP(1.0, -1)])
    assert negative == pytest.approx(plain, abs=1e-12)


def test_a_rating_of_zero_is_not_divided_by():
    class Nothing(NNGPFrobenius):
        def __call__(self, network, batches):
            return super().__call__(network, batches) * 0

    scores, _ = score(make_supernet(narrow_mask()), [Nothing(1.0, 1)])
    assert set(scores.values()) == {0.0}


def test_initialization():
    supernet = build_supernet(DartsSpace(init_channels=16, num_cells=3, in_channels=1))
    initialize(supernet, torch.Generator().manual_seed(0))
    for parameter in supernet.architecture_parameters():
        assert parameter.eq(0).all()
    supernet(torch.randn(2, 1, 8, 8))  # it still runs
    num_checked = 0
    for module in supernet.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = module.weight
            fan_out = weight.shape[0] * weight[0, 0].numel()
            if weight.numel() >= 1000:
                # Kaiming normal of a ReLU network: std = sqrt(2 / fan_out); the estimate's error is 1 / sqrt(2 n).
                tolerance = 5 / math.sqrt(2 * weight.numel())
                assert weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=tolerance)
                assert abs(weight.mean().item()) < 5 * math.sqrt(2 / fan_out / weight.numel())
                num_checked += 1
            assert module.bias is None or module.bias.eq(0).all()
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is None
            assert module.running_var is None
            assert not module.track_running_stats
    assert num_checked > 50
    assert supernet.head.linear.bias.eq(0).all()


def test_initialization_depends_on_the_generator_alone():
    torch.manual_seed(0)
    first = make_supernet(narrow_mask(), seed=5).state_dict()
    torch.manual_seed(1)
    second = make_supernet(narrow_mask(), seed=5).state_dict()
    for name, value in first.items():
        assert value.equal(second[name]), name
    other = make_supernet(narrow_mask(), seed=6).state_dict()
    assert not first["stem.conv.weight"].equal(other["stem.conv.weight"])
    assert not first["head.linear.weight"].equal(other["head.linear.weight"])


def test_runs_in_training_mode_without_touching_batch_norm():
    """The same batch gives the same score twice: no running statistics move."""
    supernet = make_supernet(narrow_mask(), dtype=torch.float32)
    batches = make_batches(dtype=torch.float32)
    first, _ = score(supernet, batches=batches)
    second, _ = score(supernet, batches=batches)
    assert first == second
    assert supernet.training
