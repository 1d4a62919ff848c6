import math
import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from halfnas import build_supernet, load_space
from halfnas.networks.supernet import ARCHITECTURE_INIT_STD
from halfnas.spaces import Mask

# quark0/darts and yuhuixu1993/PC-DARTS, written out anew: nothing here goes through the package's own graph or mask.
CANDIDATES = (
    "none", "max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3",
    "dil_conv_5x5",
)  # fmt: skip
NUM_EDGES = 14
NODE_SLICES = (slice(0, 2), slice(2, 5), slice(5, 9), slice(9, 14))

SUBSETS = {
    "half": lambda draw, edge: draw.sample(CANDIDATES, 4),
    "one": lambda draw, edge: [draw.choice(CANDIDATES[1:])],
    "uneven": lambda draw, edge: draw.sample(CANDIDATES[1:], 1 + edge % 7) + ["none"] * (edge % 2),
}


def draw_subsets(which, seed=0):
    """Kept candidates of every edge, in any order."""
    draw = random.Random(seed)
    return {kind: [SUBSETS[which](draw, edge) for edge in range(NUM_EDGES)] for kind in ("normal", "reduce")}


@pytest.fixture
def space():
    torch.manual_seed(0)
    return load_space("darts", init_channels=4, num_cells=4)


def with_large_architecture(supernet):
    """Alpha and beta far from uniform, so that a mistake in the softmax shows."""
    with torch.no_grad():
        for parameter in supernet.architecture_parameters():
            parameter.normal_()
    return supernet


def operations_of(edge):
    return edge.mixed.operations if hasattr(edge, "mixed") else edge.operations


def textbook_forward(supernet, images, partial_channels):
    """Eq. 1 as a quotient, on the candidates that are found in the modules; alpha is that of all 8 candidates."""
    states = supernet.stem(images)
    for cell, kind in zip(supernet.layers, supernet.layer_kinds, strict=True):
        alpha_EO = supernet.alpha[kind].reshape(NUM_EDGES, len(CANDIDATES))
        inside = [cell.preprocess[0](states[0]), cell.preprocess[1](states[1])]
        for node in NODE_SLICES:
            outputs = []
            for source, e in enumerate(range(node.start, node.stop)):
                x, operations = inside[source], operations_of(cell.edges[e])
                through = x.shape[1] // partial_channels
                numerator, denominator = 0.0, 0.0
                for o, name in enumerate(CANDIDATES):
                    if name in operations:
                        numerator = numerator + alpha_EO[e, o].exp() * operations[name](x[:, :through])
                        denominator = denominator + alpha_EO[e, o].exp()
                output = numerator / denominator
                if partial_channels > 1:
                    rest = x[:, through:]
                    if rest.shape[-1] != output.shape[-1]:
                        rest = F.max_pool2d(rest, 2)
                    output = F.channel_shuffle(torch.cat([output, rest], dim=1), partial_channels)
                outputs.append(output)
            weights = [torch.ones(()) for _ in outputs]
            if kind in supernet.beta:
                exponentials = supernet.beta[kind][node].exp()
                weights = exponentials / exponentials.sum()
            inside.append(sum(w * output for w, output in zip(weights, outputs, strict=True)))
        states = (states[1], torch.cat(inside[2:], dim=1))
    return supernet.head(states[1])


@pytest.mark.parametrize("which", [*SUBSETS, "all"])
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_masked_supernet_equals_the_full_one_with_candidates_removed_by_hand(space, partial_channels, which):
    everything = {kind: [list(CANDIDATES)] * NUM_EDGES for kind in ("normal", "reduce")}
    kept = everything if which == "all" else draw_subsets(which)
    full = with_large_architecture(build_supernet(space, partial_channels=partial_channels).double())
    for cell, kind in zip(full.layers, full.layer_kinds, strict=True):
        for edge, names in zip(cell.edges, kept[kind], strict=True):
            for name in set(CANDIDATES) - set(names):
                del operations_of(edge)[name]
    places = {
        kind: [e * 8 + o for e in range(NUM_EDGES) for o, name in enumerate(CANDIDATES) if name in kept[kind][e]]
        for kind in kept
    }

    masked = build_supernet(space, Mask("darts", kept), partial_channels=partial_channels).double()
    weights = {name: value.clone() for name, value in full.state_dict().items()}
    for kind in kept:
        weights[f"alpha.{kind}"] = weights[f"alpha.{kind}"][places[kind]]
    masked.load_state_dict(weights, strict=True)

    torch.manual_seed(1)
    images, labels = torch.randn(4, 3, 8, 8, dtype=torch.float64), torch.arange(4)
    expected, logits = textbook_forward(full, images, partial_channels), masked(images)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-10)
    F.cross_entropy(expected, labels).backward()
    F.cross_entropy(logits, labels).backward()

    wanted = {name: parameter.grad for name, parameter in full.named_parameters()}
    for kind in kept:
        gradient = wanted[f"alpha.{kind}"]
        removed = sorted(set(range(NUM_EDGES * 8)) - set(places[kind]))
        assert not gradient[removed].any()
        wanted[f"alpha.{kind}"] = gradient[places[kind]]
        if which != "one":  # softmax over one candidate is constant
            assert gradient.abs().max() > 1e-4
    found = {name: parameter.grad for name, parameter in masked.named_parameters()}
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, wanted[name], rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")
    # what batch norms remember is the same too
    remembered = dict(full.named_buffers())
    for name, value in masked.named_buffers():
        torch.testing.assert_close(value, remembered[name], rtol=0, atol=1e-10)


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_masked_candidates_are_not_built(space, partial_channels):
    kept = draw_subsets("half", seed=1)
    masked = build_supernet(space, Mask("darts", kept), partial_channels=partial_channels)
    full = build_supernet(space, partial_channels=partial_channels)
    built = 0
    for cell, kind in zip(masked.layers, masked.layer_kinds, strict=True):
        for edge, names in zip(cell.edges, kept[kind], strict=True):
            assert list(operations_of(edge)) == sorted(names, key=CANDIDATES.index)
            built += len(names)
    assert built == 4 * NUM_EDGES * 4

    def removed(name):  # "layers.<index>.edges.<edge>.[mixed.]operations.<operation>. ..."
        parts = name.split(".")
        if "operations" not in parts[:-1]:
            return False
        kind = full.layer_kinds[int(parts[1])]
        return parts[parts.index("operations") + 1] not in kept[kind][int(parts[3])]

    for what in ("named_parameters", "named_buffers", "named_modules"):
        names = {name for name, _ in getattr(full, what)()}
        assert {name for name, _ in getattr(masked, what)()} == {name for name in names if not removed(name)}
        assert any(removed(name) for name in names)
    assert {kind: alpha.shape for kind, alpha in masked.alpha.items()} == {"normal": (56,), "reduce": (56,)}
    assert {kind: alpha.shape for kind, alpha in full.alpha.items()} == {"normal": (112,), "reduce": (112,)}


def test_equation_1_on_one_edge(space):
    kept = draw_subsets("uneven", seed=2)
    supernet = with_large_architecture(build_supernet(space, Mask("darts", kept)).double())
    edge, number = supernet.layers[0].edges[6], 6
    names = sorted(kept["normal"][number], key=CANDIDATES.index)
    assert len(names) == 7
    start = sum(len(names) for names in kept["normal"][:number])
    alpha = dict(zip(names, supernet.alpha["normal"][start:].tolist(), strict=False))
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for name in CANDIDATES:
        if name in names:  # I(o) = 1
            weight = math.exp(alpha[name]) / sum(math.exp(a) for a in alpha.values())
            expected += weight * edge.operations[name](x)
    mixed = edge(x, supernet.mixing()["normal"].operations[number])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=1e-12)


def test_weights_sum_to_one_over_the_kept_candidates(space):
    kept = draw_subsets("uneven", seed=3)
    supernet = with_large_architecture(build_supernet(space, Mask("darts", kept)).double())
    for kind, mixing in supernet.mixing().items():
        assert [len(weights) for weights in mixing.operations] == [len(names) for names in kept[kind]]
        for weights in mixing.operations:
            assert weights.sum().item() == pytest.approx(1, abs=1e-12)
            assert bool((weights > 0).all())
        assert mixing.edges is None


def test_edge_alphas_are_the_parts_of_alpha(space):
    kept = draw_subsets("uneven", seed=4)
    supernet = build_supernet(space, Mask("darts", kept))
    for kind in kept:
        parts = supernet.edge_alphas(kind)
        assert [len(part) for part in parts] == [len(names) for names in kept[kind]]
        assert torch.equal(torch.cat(parts), supernet.alpha[kind])
        torch.stack([part.sum() for part in parts]).sum().backward()
        assert torch.equal(supernet.alpha[kind].grad, torch.ones_like(supernet.alpha[kind]))


def test_edge_normalization_is_a_softmax_within_each_node(space):
    supernet = with_large_architecture(build_supernet(space, partial_channels=4).double())
    for kind, mixing in supernet.mixing().items():
        beta = supernet.beta[kind].tolist()
        expected = []
        for size, start in zip((2, 3, 4, 5), (0, 2, 5, 9), strict=True):
            exponentials = [math.exp(b) for b in beta[start : start + size]]
            expected += [value / sum(exponentials) for value in exponentials]
        assert mixing.edges.tolist() == pytest.approx(expected, abs=1e-12)
        assert sum(expected) == pytest.approx(4)


def test_kinds_have_an_architecture_each(space):
    supernet = build_supernet(space, partial_channels=2)
    images = torch.randn(2, 3, 8, 8)
    before = supernet(images)
    for parameter in supernet.architecture_parameters():
        with torch.no_grad():
            parameter[0] += 3.0
        after = supernet(images)
        assert not torch.allclose(before, after, atol=1e-4)
        before = after


def test_mixing_of_the_caller_is_used_instead(space):
    supernet = build_supernet(space, partial_channels=4)
    other = build_supernet(space, partial_channels=4)
    other.load_state_dict(supernet.state_dict())
    with_large_architecture(other)
    images = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(supernet(images, mixing=other.mixing()), other(images))
    torch.testing.assert_close(supernet(images, supernet.mixing()), supernet(images))


def test_initial_architecture_is_small_noise(space):
    # quark0/darts: 1e-3 * N(0, 1)
    assert ARCHITECTURE_INIT_STD == 1e-3
    parameters = build_supernet(space, partial_channels=4).architecture_parameters()
    assert [tuple(p.shape) for p in parameters] == [(112,), (112,), (14,), (14,)]
    values = torch.cat([p.detach() for p in parameters])
    assert 0.8e-3 < values.std().item() < 1.2e-3
    assert values.abs().max().item() < 5e-3
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in parameters)


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_spread_of_the_initial_architecture_is_a_setting(space, std):
    torch.manual_seed(0)
    usual = build_supernet(space, partial_channels=4)
    torch.manual_seed(0)
    supernet = build_supernet(space, partial_channels=4, architecture_init_std=std)
    for ours, theirs in zip(supernet.architecture_parameters(), usual.architecture_parameters(), strict=True):
        torch.testing.assert_close(ours, theirs * (std / 1e-3))
    for ours, theirs in zip(supernet.weight_parameters(), usual.weight_parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_parameters_are_weights_or_architecture(space, partial_channels):
    supernet = build_supernet(space, partial_channels=partial_channels)
    weights = {id(p) for p in supernet.weight_parameters()}
    architecture = {id(p) for p in supernet.architecture_parameters()}
    assert not weights & architecture
    assert weights | architecture == {id(p) for p in supernet.parameters()}
    assert len(weights) == len(supernet.weight_parameters())
    names = {name for name, p in supernet.named_parameters() if id(p) in architecture}
    wanted = {"alpha.normal", "alpha.reduce"} | ({"beta.normal", "beta.reduce"} if partial_channels > 1 else set())
    assert names == wanted


@pytest.mark.parametrize("size", [4, 5, 7, 8, 13, 16])
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_image_sizes(space, partial_channels, size):
    space.check_images(size)
    supernet = build_supernet(space, Mask.random(space, 0.25, seed=size), partial_channels=partial_channels)
    assert supernet(torch.randn(2, 3, size, size)).shape == (2, 10)


# --- strengths and genotype


def set_alpha(supernet, kind, changes):
    """All alphas 0 but those in {(edge, operation): value}."""
    with torch.no_grad():
        supernet.alpha[kind].zero_()
        for (edge, operation), value in changes.items():
            supernet.edge_alphas(kind)[edge][supernet.mask.kept[kind][edge].index(operation)] = value


def test_strengths(space):
    kept = draw_subsets("half", seed=5)
    supernet = with_large_architecture(build_supernet(space, Mask("darts", kept), partial_channels=4).double())
    mixing = supernet.mixing()
    for kind, edges in supernet.strengths().items():
        for e, strength in enumerate(edges):
            assert list(strength) == sorted(kept[kind][e], key=CANDIDATES.index)
            for o, value in enumerate(strength.values()):
                expected = mixing[kind].operations[e][o] * mixing[kind].edges[e]
                assert value == pytest.approx(expected.item(), abs=1e-12)


def test_genotype_of_given_alphas(space):
    supernet = build_supernet(space)
    set_alpha(
        supernet,
        "normal",
        {
            (0, "none"): 9.0, (0, "dil_conv_3x3"): 1.0,  # one of two edges: kept all the same, as the weaker one
            (1, "sep_conv_5x5"): 0.5,
            (4, "sep_conv_3x3"): 2.0, (3, "avg_pool_3x3"): 1.0, (2, "none"): 3.0, (2, "sep_conv_3x3"): 2.5,
            (8, "skip_connect"): 1.0,
            (12, "dil_conv_5x5"): 1.0, (13, "sep_conv_3x3"): 1.0, (13, "none"): -4.0,
        },
    )  # fmt: skip
    set_alpha(supernet, "reduce", {})
    genotype = supernet.genotype()
    assert genotype.normal == (
        ("sep_conv_5x5", 1), ("dil_conv_3x3", 0),
        # edge 2: e^2.5 / (e^3 + e^2.5 + 6) = 0.32, edge 3: e / (e + 7) = 0.28, edge 4: e^2 / (e^2 + 7) = 0.51
        ("sep_conv_3x3", 2), ("sep_conv_3x3", 0),
        ("skip_connect", 3), ("max_pool_3x3", 0),
        ("sep_conv_3x3", 4), ("dil_conv_5x5", 3),
    )  # fmt: skip
    assert genotype.reduce == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    space.check_genotype(genotype)


def test_genotype_of_given_alphas_and_betas(space):
    supernet = build_supernet(space, partial_channels=4)
    for kind in ("normal", "reduce"):
        set_alpha(supernet, kind, {(9, "sep_conv_3x3"): 1.0, (0, "skip_connect"): 0.5})
        with torch.no_grad():
            supernet.beta[kind].zero_()
    assert supernet.genotype().normal[-2:] == (("sep_conv_3x3", 0), ("max_pool_3x3", 1))
    with torch.no_grad():  # edges 9-13 end in the last node
        supernet.beta["normal"][9:].copy_(torch.tensor([0.0, 0.0, 1.0, 0.0, 2.0]))
        # only within a node: a large beta elsewhere takes nothing from this one
        supernet.beta["normal"][:2].copy_(torch.tensor([0.0, 5.0]))
    genotype = supernet.genotype()
    # strengths up to the same factor: edge 9: e / (e + 7) = 0.280; 11: e / 8 = 0.340; 13: e^2 / 8 = 0.924
    assert genotype.normal[-2:] == (("max_pool_3x3", 4), ("max_pool_3x3", 2))
    assert genotype.normal[:2] == (("max_pool_3x3", 1), ("skip_connect", 0))
    assert genotype.reduce[-2:] == (("sep_conv_3x3", 0), ("max_pool_3x3", 1))


@pytest.mark.parametrize("which", SUBSETS)
def test_genotype_uses_kept_candidates_only(space, which):
    kept = draw_subsets(which, seed=6)
    genotype = with_large_architecture(build_supernet(space, Mask("darts", kept))).genotype()
    space.check_genotype(genotype)
    offsets = (0, 2, 5, 9)
    for kind in kept:
        for number, (name, source) in enumerate(genotype.cells[kind]):
            assert name in kept[kind][offsets[number // 2] + source]


# --- modules of candidates


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("partial_channels", [1, 4])
@pytest.mark.parametrize("which", SUBSETS)
def test_candidate_modules(space, which, partial_channels, engine):
    kept = draw_subsets(which, seed=7)
    supernet = build_supernet(space, Mask("darts", kept), partial_channels=partial_channels, engine=engine)
    found = list(supernet.candidate_modules())
    expected = []
    for number, (cell, kind) in enumerate(zip(supernet.layers, supernet.layer_kinds, strict=True)):
        index = 0
        for e, edge in enumerate(cell.edges):
            for name in CANDIDATES:
                if name in kept[kind][e]:
                    expected.append((operations_of(edge)[name], number, kind, index, name))
                    index += 1
        assert index == len(supernet.alpha[kind])
    assert len(found) == len(expected)
    starts = {kind: supernet.candidates.of_kind(kind).start for kind in kept}
    for (path, j), (module, number, kind, index, name) in zip(found, expected, strict=True):
        assert supernet.get_submodule(path) is module
        assert path.startswith(f"layers.{number}.edges.")
        assert (j, path.rpartition(".")[2]) == (starts[kind] + index, name)
        assert supernet.candidates.places[j].kind == kind


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_candidate_modules_have_the_weight_of_their_alpha(space, partial_channels):
    """Without alpha[kind][index], the module's output does not matter."""
    torch.manual_seed(0)
    supernet = build_supernet(space, Mask("darts", draw_subsets("half", seed=8)), partial_channels=partial_channels)
    images = torch.randn(2, 3, 8, 8)
    candidates = list(supernet.candidate_modules())
    for path, j in candidates[::37]:
        twins = [supernet.get_submodule(p) for p, i in candidates if i == j]
        kind = supernet.candidates.places[j].kind
        index = j - supernet.candidates.of_kind(kind).start
        assert len(twins) == 2  # a cell each
        with torch.no_grad():
            before = supernet.alpha[kind][index].item()
            supernet.alpha[kind][index] = -torch.inf
        expected = supernet(images)
        hooks = [twin.register_forward_hook(lambda part, inputs, output: output + 1e3) for twin in twins]
        torch.testing.assert_close(supernet(images), expected, msg=path)
        for hook in hooks:
            hook.remove()
        with torch.no_grad():
            supernet.alpha[kind][index] = before


def test_candidate_modules_beside_fixed_layers():
    space = load_space("nasbench201", init_channels=2, num_cells=3)
    supernet = build_supernet(space)
    found = list(supernet.candidate_modules())
    assert [j for _, j in found] == 3 * list(range(30))
    assert [path.split(".")[1] for path, _ in found[::30]] == ["0", "2", "4"]  # residual blocks between them
    assert supernet.get_submodule(found[0][0]) is supernet.layers[0].edges[0].operations["none"]


# --- dropping candidates in place


@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_narrow_equals_a_supernet_built_with_the_mask(space, partial_channels, engine):
    options = {"partial_channels": partial_channels, "engine": engine}
    kept = draw_subsets("half", seed=9)
    fewer = {kind: [(names[1:], names)["none" in names] for names in edges] for kind, edges in kept.items()}
    supernet = with_large_architecture(build_supernet(space, Mask("darts", kept), **options)).double()
    stays = {
        kind: [name in fewer[kind][e] for e, names in enumerate(supernet.mask.kept[kind]) for name in names]
        for kind in kept
    }
    assert not all(stays["normal"])
    alpha = {kind: value.detach().clone() for kind, value in supernet.alpha.items()}
    supernet.narrow(Mask("darts", fewer))

    built = build_supernet(space, Mask("darts", fewer), **options).double()
    assert supernet.mask.kept == built.mask.kept
    assert list(supernet.candidate_modules()) == list(built.candidate_modules())
    for kind, value in supernet.alpha.items():
        assert value.equal(alpha[kind][torch.tensor(stays[kind])])
    built.load_state_dict(supernet.state_dict(), strict=True)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    logits = [network(images) for network in (supernet, built)]
    torch.testing.assert_close(*logits)
    for output in logits:
        output.square().sum().backward()
    gradients = dict(built.named_parameters())
    for name, parameter in supernet.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=0, atol=0)
    statistics = built.state_dict()
    for name, value in supernet.state_dict().items():
        torch.testing.assert_close(value, statistics[name], rtol=0, atol=0)
    torch.testing.assert_close(supernet.eval()(images), built.eval()(images))


def test_narrow_brings_nothing_back(space):
    supernet = build_supernet(space, Mask("darts", draw_subsets("one", seed=1)))
    with pytest.raises(ValueError, match="the mask keeps candidates that the supernet does not have"):
        supernet.narrow(Mask.full(space))


def test_architecture_parameters_are_in_the_order_of_the_candidates():
    """Of more than nine layers too: sorted as text, layer_10 would come before layer_2."""
    space = load_space("mobilenet", width_multiplier=0.125)
    supernet = build_supernet(space)
    assert list(supernet.alpha) == list(space.kinds) == list(supernet.candidates.names)
    assert list(build_supernet(space, edge_normalization=True).beta) == list(space.kinds)
    sizes = [alpha.numel() for alpha in supernet.architecture_parameters()]
    assert sizes == [len(kind.edges[0].candidates) for kind in space.kinds.values()]
