import math

import numpy as np
import pytest
import torch
from torch import nn

from halfnas.networks import build_supernet
from halfnas.pruning import Batch, RankingFunction, Sample, ScoringNetwork, exact_changes, rankers, taylor_changes
from halfnas.pruning.importance import EPS, _even_chunk, centred_ranks, combine, initialize, scored_places
from halfnas.pruning.rankers import NASWOT, NNGPFrobenius, NNGPMean, ParameterCount
from halfnas.spaces import DartsSpace, Mask
from halfnas.spaces.nasbench201 import NASBench201Space

DARTS = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
NASBENCH = NASBench201Space(init_channels=2, num_cells=3, num_classes=5, in_channels=1)
CANDIDATES = DARTS.candidates("normal")[0]
NNGP = NNGPFrobenius()

RANKERS = {name: getattr(rankers, name) for name in rankers.__all__ if name != "LinearRegions"}
RANKERS["LinearRegions"] = lambda: rankers.LinearRegions(1.0, 1, num_patches=60, patch_size=3, spread=0.02)
DIFFERENTIABLE = sorted(set(RANKERS) - {"LinearRegions", "NASWOT"})


class Scale(RankingFunction):
    """A ranking function of another scale: how far the logits spread."""

    def __call__(self, network, sample):
        return torch.cat([network(batch.images) for batch in sample.batches]).square().mean()


def make_sample(num_batches=2, size=4, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(5, (num_batches, size), generator=generator)
    images = torch.randn(num_batches, size, 1, 8, 8, generator=generator, dtype=dtype)
    return Sample([Batch(*pair) for pair in zip(images, labels, strict=True)], seed=2)


def make_supernet(mask=None, seed=0, dtype=torch.float64, space=DARTS):
    """Initialized, with all candidates weighted alike."""
    supernet = build_supernet(space, mask)
    initialize(supernet, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for alpha in supernet.alpha.values():
            alpha.zero_()
    return supernet.to(dtype).train().requires_grad_(False)


def narrow_mask():
    """Two candidates on three edges of each kind, one on the others."""
    edges = [("skip_connect", "sep_conv_3x3") if e % 5 == 0 else ("avg_pool_3x3",) for e in range(14)]
    return Mask("darts", {"normal": edges, "reduce": edges})


def small_mask(space):
    """Few candidates, of every sort that the space has."""
    if space is NASBENCH:
        edges = [
            ("none", "nor_conv_1x1", "nor_conv_3x3"), ("skip_connect",), ("nor_conv_3x3", "avg_pool_3x3"),
            ("nor_conv_1x1",), ("skip_connect", "nor_conv_3x3"), ("avg_pool_3x3",),
        ]  # fmt: skip
        return Mask(space.name, {"cell": edges})
    some = {0: ("none", "max_pool_3x3", "skip_connect"), 5: ("sep_conv_3x3", "dil_conv_5x5")}
    normal = [some.get(e, ("sep_conv_3x3", "avg_pool_3x3")[e % 2 :][:1]) for e in range(14)]
    other = {1: ("skip_connect", "sep_conv_5x5"), 6: ("none", "avg_pool_3x3", "dil_conv_3x3")}
    reduce = [other.get(e, ("dil_conv_3x3", "skip_connect")[e % 2 :][:1]) for e in range(14)]
    return Mask(space.name, {"normal": normal, "reduce": reduce})


def changes(supernet, ranker, sample, candidates_per_call=64):
    """What one ranking function says of every place, and of the whole."""
    found, whole = exact_changes(supernet, [ranker], sample, candidates_per_call=candidates_per_call)
    return dict(zip(scored_places(supernet), found[0].tolist(), strict=True)), whole.item()


def score(supernet, *several, sample=None):
    """The score of every place, and r of the whole."""
    sample = make_sample() if sample is None else sample
    found, whole = exact_changes(supernet, several, sample, candidates_per_call=64)
    scores = combine(found.numpy(), whole.numpy(), {str(i): ranker for i, ranker in enumerate(several)}, "sum")
    return dict(zip(scored_places(supernet), scores.tolist(), strict=True)), whole


def rate_without(supernet, place, ranker, sample):
    """r of the supernet that never had the candidate, with the weights that the others have."""
    smaller = make_supernet(supernet.mask.without(*place), seed=99, space=supernet.space)
    weights = {name: value for name, value in supernet.state_dict().items() if not name.startswith("alpha.")}
    smaller_names = {name for name in smaller.state_dict() if not name.startswith("alpha.")}
    assert smaller_names <= set(weights)
    smaller.load_state_dict({name: weights[name] for name in smaller_names}, strict=False)
    return ranker(ScoringNetwork(smaller), sample).item()


# --- exact


def check_against_built(mask, places, num_candidates):
    supernet, sample = make_supernet(mask), make_sample()
    found, whole = changes(supernet, NNGP, sample)
    assert len(found) == num_candidates
    assert whole == pytest.approx(NNGP(ScoringNetwork(supernet), sample).item(), abs=1e-9)
    for place in places:
        expected = whole - rate_without(supernet, place, NNGP, sample)
        assert found[place] == pytest.approx(expected, abs=1e-9), place
    assert len({round(value, 9) for value in found.values()}) > 0.5 * num_candidates  # it does tell candidates apart


def test_equals_a_supernet_built_without_the_candidate():
    # Every second edge of each kind; all candidates in turn.
    places = [("normal", e, CANDIDATES[e // 2]) for e in range(0, 14, 2)]
    places += [("reduce", e, CANDIDATES[7 - e // 2]) for e in range(1, 14, 2)]
    check_against_built(None, places, 2 * 14 * 8)


def test_equals_a_supernet_built_without_the_candidate_on_a_pruned_mask():
    kept = Mask.random(DARTS, ratio=0.375, seed=3).kept
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


@pytest.mark.parametrize("name", RANKERS)
@pytest.mark.parametrize("space", [NASBENCH, DARTS], ids=lambda space: space.name)
def test_every_ranking_function_equals_that_of_a_supernet_built_without_the_candidate(space, name):
    supernet, sample, ranker = make_supernet(small_mask(space), space=space), make_sample(), RANKERS[name]()
    found, whole = changes(supernet, ranker, sample)
    precision = 1e-9 * max(1, abs(whole))
    assert whole == pytest.approx(ranker(ScoringNetwork(supernet), sample).item(), abs=precision)
    assert len(found) == sum(len(edge) for edges in supernet.mask.kept.values() for edge in edges if len(edge) > 1)
    for place, change in found.items():
        expected = whole - rate_without(supernet, place, ranker, sample)
        assert change == pytest.approx(expected, abs=precision), place
    assert any(abs(change) > 1e-3 for change in found.values())


@pytest.mark.parametrize("candidates_per_call", [1, 4, 5, 1000])
def test_does_not_depend_on_candidates_per_call(candidates_per_call):
    supernet, sample = make_supernet(narrow_mask()), make_sample()
    expected, _ = exact_changes(supernet, [NNGP, NASWOT()], sample, candidates_per_call=6)
    found, _ = exact_changes(supernet, [NNGP, NASWOT()], sample, candidates_per_call=candidates_per_call)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("total", [1, 2, 9, 10, 224])
@pytest.mark.parametrize("most", [1, 3, 9, 32, 500])
def test_chunks_are_few_and_not_larger_than_allowed(total, most):
    chunk = _even_chunk(total, most)
    assert 1 <= chunk <= most
    assert math.ceil(total / chunk) == math.ceil(total / most)


# --- Taylor


@pytest.mark.parametrize("name", DIFFERENTIABLE)
@pytest.mark.parametrize("space", [NASBENCH, DARTS], ids=lambda space: space.name)
def test_taylor_is_the_derivative_by_the_indicators(space, name):
    """Central differences of r over I_j = exp(alpha_j), at 1; small ones where r has kinks or a large curvature."""
    supernet, sample, ranker = make_supernet(small_mask(space), space=space), make_sample(), RANKERS[name]()
    found, whole = taylor_changes(supernet, [ranker], sample)
    assert found.shape == (1, len(scored_places(supernet)))
    assert found.dtype == whole.dtype == torch.float64
    assert not found.requires_grad
    assert whole.item() == pytest.approx(ranker(ScoringNetwork(supernet), sample).item(), rel=1e-12)
    step, expected = 1e-8 if name in ("Zen", "ZiCo") else 1e-6, []
    for kind, edges in supernet.mask.kept.items():
        for j, size in enumerate(len(names) for names in edges for _ in names):
            if size == 1:
                continue
            ends = []
            for sign in (1, -1):
                alpha = {key: torch.zeros_like(value) for key, value in supernet.alpha.items()}
                alpha[kind][j] = math.log(1 + sign * step)
                edges_of = {k: a.split([len(names) for names in supernet.mask.kept[k]]) for k, a in alpha.items()}
                ends.append(ranker(ScoringNetwork(supernet, edges_of), sample).item())
            expected.append((ends[0] - ends[1]) / (2 * step))
    scale = max(map(abs, expected))
    assert scale > 1e-6
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=0, atol=1e-5 * scale + 1e-9 * abs(whole.item()))


def test_taylor_of_several_ranking_functions():
    supernet, sample = make_supernet(narrow_mask()), make_sample()
    several = [NNGPFrobenius(), Scale(weight=3.0, sign=-1), ParameterCount()]
    found, whole = taylor_changes(supernet, several, sample)
    assert found.shape == (3, len(scored_places(supernet)))
    for row, value, ranker in zip(found, whole, several, strict=True):
        alone, whole_alone = taylor_changes(supernet, [ranker], sample)
        torch.testing.assert_close(row, alone[0], rtol=0, atol=1e-12)
        assert value == whole_alone[0]


@pytest.mark.parametrize("name", ["FLOPs", "ParameterCount"])
def test_taylor_is_exact_for_counts(name):
    supernet, sample, ranker = make_supernet(small_mask(DARTS)), make_sample(), RANKERS[name]()
    expected, _ = exact_changes(supernet, [ranker], sample, candidates_per_call=64)
    torch.testing.assert_close(taylor_changes(supernet, [ranker], sample)[0], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["FLOPs", "ParameterCount"])
def test_taylor_of_candidates_without_anything_to_count(name):
    mask = Mask("darts", {kind: [("none", "avg_pool_3x3")] * 14 for kind in ("normal", "reduce")})
    found, _ = taylor_changes(make_supernet(mask), [RANKERS[name]()], make_sample())
    assert found.tolist() == [[0.0] * 56]


@pytest.mark.parametrize("ranker", [NNGPFrobenius, NNGPMean])
@pytest.mark.parametrize("mask", [None, narrow_mask()], ids=["full", "narrow"])
def test_taylor_is_the_same_on_the_fused_engine(ranker, mask):
    plain, sample = make_supernet(mask), make_sample()
    fused = build_supernet(DARTS, mask, engine="fused").double().train().requires_grad_(False)
    fused.load_state_dict(plain.state_dict(), strict=False)  # all but running statistics
    expected, whole = taylor_changes(plain, [ranker()], sample)
    found, whole_fused = taylor_changes(fused, [ranker()], sample)
    torch.testing.assert_close(whole_fused, whole, rtol=0, atol=1e-9)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8)
    assert expected.abs().max() > 1e-3


def test_taylor_needs_a_ranking_function_with_derivatives():
    class Detached(NNGPFrobenius):
        def __call__(self, network, sample):
            return super().__call__(network, sample).detach()

    supernet, sample = make_supernet(narrow_mask()), make_sample()
    for ranker, name in ((Detached(), "Detached"), (NASWOT(), "NASWOT"), (RANKERS["LinearRegions"](), "LinearRegions")):
        with pytest.raises(ValueError, match=f"`importance=taylor` needs derivatives, which {name} does not give"):
            taylor_changes(supernet, [NNGP, ranker], sample)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_taylor_needs_derivatives_that_are_not_switched_off(mode):
    supernet, sample = make_supernet(narrow_mask()), make_sample()
    with mode(), pytest.raises(ValueError, match="needs derivatives, which no_grad or inference_mode switches off"):
        taylor_changes(supernet, [NNGP], sample)


@pytest.mark.parametrize("name", ["NNGPFrobenius", "GraSP", "NASWOT"])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_exact_does_not(mode, name):
    supernet, sample, ranker = make_supernet(narrow_mask()), make_sample(), RANKERS[name]()
    expected, _ = exact_changes(supernet, [ranker], sample, candidates_per_call=12)
    with mode():
        found, _ = exact_changes(supernet, [ranker], sample, candidates_per_call=12)
    assert found.equal(expected)
    assert not found.requires_grad


# --- both

BOTH = pytest.mark.parametrize(
    "estimate", [lambda *given: exact_changes(*given, candidates_per_call=8), taylor_changes], ids=["exact", "taylor"]
)


@BOTH
def test_edges_with_one_candidate_get_no_score(estimate):
    supernet = make_supernet(narrow_mask())
    places = scored_places(supernet)
    assert {(kind, e) for kind, e, _ in places} == {(k, e) for k in ("normal", "reduce") for e in (0, 5, 10)}
    assert len(places) == 12
    assert estimate(supernet, [NNGP], make_sample())[0].shape == (1, 12)


@BOTH
def test_nothing_to_score_at_all(estimate):
    mask = Mask("darts", {kind: [("skip_connect",)] * 14 for kind in ("normal", "reduce")})
    supernet, sample = make_supernet(mask), make_sample()
    found, whole = estimate(supernet, [NNGP, Scale()], sample)
    assert scored_places(supernet) == []
    assert found.shape == (2, 0)
    assert whole.tolist() == [ranker(ScoringNetwork(supernet), sample).item() for ranker in (NNGP, Scale())]
    assert combine(found.numpy(), whole.numpy(), {"a": NNGP, "b": Scale()}, "rank").shape == (0,)


@BOTH
def test_one_kind_without_anything_to_score(estimate):
    kept = dict(narrow_mask().kept)
    supernet = make_supernet(Mask("darts", {**kept, "normal": [("skip_connect",)] * 14}))
    assert {place.kind for place in scored_places(supernet)} == {"reduce"}
    assert estimate(supernet, [NNGP], make_sample())[0].shape == (1, 6)


@BOTH
@pytest.mark.parametrize("name", ["NNGPFrobenius", "SNIP", "Zen", "NTKConditionNumber"])
def test_the_supernet_is_left_as_it_was(estimate, name):
    supernet = make_supernet(narrow_mask())
    before = {key: value.clone() for key, value in supernet.state_dict().items()}
    estimate(supernet, [RANKERS[name]()], make_sample())
    assert before.keys() == supernet.state_dict().keys()
    for key, value in supernet.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in supernet.parameters())
    assert not any(parameter.requires_grad for parameter in supernet.parameters())
    assert supernet.training
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in supernet.modules())


@BOTH
def test_candidates_are_weighted_alike_whatever_alpha_is(estimate):
    supernet, sample = make_supernet(narrow_mask()), make_sample()
    expected, whole = estimate(supernet, [NNGP], sample)
    with torch.no_grad():
        for alpha in supernet.alpha.values():
            alpha.normal_()
    found, whole_again = estimate(supernet, [NNGP], sample)
    assert found.equal(expected)
    assert whole_again.equal(whole)


@BOTH
def test_runs_in_training_mode_without_touching_batch_norm(estimate):
    """The same batch gives the same changes twice: no running statistics move."""
    supernet, sample = make_supernet(narrow_mask(), dtype=torch.float32), make_sample(dtype=torch.float32)
    first, _ = estimate(supernet, [NNGP], sample)
    second, _ = estimate(supernet, [NNGP], sample)
    assert first.equal(second)
    assert first.dtype == torch.float64
    assert supernet.training


# --- one score from several ranking functions


def test_weight_and_sign():
    supernet = make_supernet(narrow_mask())
    plain, whole = score(supernet, NNGPFrobenius(1.0, 1))
    negative, whole_negative = score(supernet, NNGPFrobenius(1.0, -1))
    double, whole_double = score(supernet, NNGPFrobenius(2.0, 1))
    assert negative == pytest.approx({place: -value for place, value in plain.items()}, abs=1e-12)
    assert double == pytest.approx({place: 2 * value for place, value in plain.items()}, abs=1e-12)
    assert whole_negative.item() == whole_double.item() == whole.item()  # what is logged is r itself


def test_relative_changes_of_ranking_functions_are_summed():
    supernet, sample = make_supernet(narrow_mask()), make_sample()
    first, whole_first = score(supernet, NNGPFrobenius(1.0, 1))
    second, whole_second = score(supernet, Scale(0.5, -1))
    both, whole = score(supernet, NNGPFrobenius(1.0, 1), Scale(0.5, -1))
    assert both == pytest.approx({place: first[place] + second[place] for place in first}, abs=1e-12)
    assert whole.tolist() == pytest.approx([whole_first.item(), whole_second.item()], abs=1e-12)
    place = ("normal", 5, "skip_connect")
    r_without = rate_without(supernet, place, Scale(), sample)
    r_whole = Scale()(ScoringNetwork(supernet), sample).item()
    assert second[place] == pytest.approx(-0.5 * (r_whole - r_without) / r_whole, abs=1e-9)


def test_a_negative_rating_is_divided_by_its_size():
    class MinusNNGP(NNGPFrobenius):
        def __call__(self, network, sample):
            return -super().__call__(network, sample)

    supernet = make_supernet(narrow_mask())
    plain, _ = score(supernet, NNGPFrobenius(1.0, 1))
    negative, _ = score(supernet, MinusNNGP(1.0, -1))
    assert negative == pytest.approx(plain, abs=1e-12)


def test_a_rating_of_zero_is_not_divided_by():
    class Nothing(NNGPFrobenius):
        def __call__(self, network, sample):
            return super().__call__(network, sample) * 0

    scores, _ = score(make_supernet(narrow_mask()), Nothing(1.0, 1))
    assert set(scores.values()) == {0.0}
    assert EPS == 1e-12
    found = combine(np.array([[1e-13, -3e-13]]), np.array([0.0]), {"r": NNGP}, "sum")
    assert found.tolist() == pytest.approx([0.1, -0.3])
    found = combine(np.array([[1e-11]]), np.array([-2e-12]), {"r": NNGP}, "sum")
    assert found.tolist() == pytest.approx([5.0])


def test_sum_by_hand():
    found = combine(
        np.array([[1.0, -2.0, 0.5], [30.0, 0.0, -60.0]]),
        np.array([4.0, -10.0]),
        {"a": Scale(2.0, 1), "b": Scale(0.5, -1)},
        "sum",
    )
    assert found.tolist() == pytest.approx([2 / 4 - 0.5 * 3, -2 * 2 / 4, 2 * 0.5 / 4 + 0.5 * 6])


class Logarithm(Scale):
    log_scale = True


@pytest.mark.parametrize("factor", [1.0, 1e6])
@pytest.mark.parametrize("whole", [1.0, -20.0, 0.0])
def test_logarithms_enter_sums_by_rank(factor, whole):
    found = combine(
        np.array([[1.0, -2.0, 0.5], [3.0 * factor, 1.0 * factor, 2.0 * factor]]),
        np.array([4.0, whole]),
        {"a": Scale(), "b": Logarithm(0.5, -1)},
        "sum",
    )
    assert found.tolist() == pytest.approx([1 / 4 - 0.5 / 2, -2 / 4 + 0.5 / 2, 0.5 / 4])


def test_ranks_by_hand():
    # Ranks of a: 0, -1/2, 1/2 and of minus b: 1/2 for the smallest b.
    given = np.array([[1.0, -2.0, 50.0], [7.0, 9.0, 8.0]]), np.array([4.0, 0.0])
    found = combine(*given, {"a": Scale(), "b": Scale(3.0, -1)}, "rank")
    assert found.tolist() == pytest.approx([0 + 3 / 2, -1 / 2 - 3 / 2, 1 / 2 + 0])


def test_equals_share_their_rank():
    found = combine(np.array([[0.0, 5.0, 0.0, -1.0]]), np.array([1.0]), {"a": Scale()}, "rank")
    assert found.tolist() == pytest.approx([0.0, 0.5, 0.0, -0.5])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 1, 2], [1, -1, 0]),
        ([1, 1, 2], [-0.5, -0.5, 1]),
        ([4, 4, 4], [0, 0, 0]),
        ([1e9, -1e9], [0.5, -0.5]),
        ([0, 1, 2, 3, 4], [-2, -1, 0, 1, 2]),
        ([7], [0]),
        ([], []),
    ],
)
def test_centred_ranks(values, expected):
    assert centred_ranks(np.array(values, dtype=float)).tolist() == expected


def test_equal_sums_of_ranks_are_exact():
    """Two rankings in opposite order: every candidate has the same sum, also in the last digit."""
    rankers = {key: Scale() for key in ("a", "b", "c", "d")}
    order = np.random.default_rng(0).permutation(224).astype(float)
    found = combine(np.stack([order, -order, 3 * order, -3 * order]), np.ones(4), rankers, "rank")
    assert set(found.tolist()) == {0.0}
    shifted = np.stack([order, -order, np.roll(order, 1), np.roll(-order, 1)])
    assert set(combine(shifted, np.ones(4), rankers, "rank").tolist()) == {0.0}


# --- initialization


def test_initialization():
    supernet = build_supernet(DartsSpace(init_channels=16, num_cells=3, in_channels=1))
    initialize(supernet, torch.Generator().manual_seed(0))
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
