"""GDAS against the formulas of its public code, in float64."""

import copy

import pytest
import torch
from engines import other_engines
from torch.nn import functional as F

from halfnas.memory import peak_live_memory
from halfnas.networks import build_supernet
from halfnas.search import BilevelStep, HardGumbel, Softmax
from halfnas.search.relaxations import draw
from halfnas.spaces import DartsSpace, Mask, NASBench201Space
from halfnas.training import adam, generator, sgd
from recorded import give_weights

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
OTHER_SPACE = NASBench201Space(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
#: Edges of one, two and four candidates.
EDGES = (("sep_conv_3x3",), ("none", "skip_connect"), ("max_pool_3x3", "skip_connect", "sep_conv_5x5", "none"))
UNEVEN = Mask("darts", {kind: tuple(EDGES[e % 3] for e in range(14)) for kind in ("normal", "reduce")})


def make_relaxation(add_others=False):
    return HardGumbel(temperature=10.0, temperature_min=0.1, add_others=add_others).double()


def make_supernet(mask=UNEVEN, space=SPACE, **options):
    supernet = build_supernet(space, mask, **options)
    give_weights(supernet.double().train())
    return supernet


def batch(seed, size=4):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 1, 8, 8, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (size,), generator=source)


@pytest.mark.parametrize(("epochs", "expected"), [(250, {0: 10.0, 1: 9.960241, 249: 0.1}), (1, {0: 10.0})])
def test_the_temperature_falls_on_a_line(epochs, expected):
    """exps/NAS-Bench-201-algos/GDAS.py: tau_max - (tau_max - tau_min) * epoch / (total_epoch - 1)."""
    relaxation = make_relaxation()
    for epoch, value in expected.items():
        relaxation.begin_epoch(epoch, epochs)
        assert relaxation.temperature.item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("tau", [10.0, 0.1])
def test_weights_are_those_of_the_published_code(tau):
    """search_model_gdas.py, forward, edge by edge, with the noise that was drawn."""
    supernet, relaxation = make_supernet(), make_relaxation()
    relaxation.temperature.fill_(tau)
    noise = relaxation.draw(supernet, generator(0, "test", 0))
    mixing = relaxation(supernet, noise)
    numbers = iter(range(28))
    upstream = torch.Generator().manual_seed(0)
    for kind in supernet.alpha:
        for e, alpha in enumerate(supernet.edge_alphas(kind)):
            gumbels = noise[next(numbers), : len(alpha)]
            probs = ((alpha.log_softmax(dim=0) + gumbels) / tau).softmax(dim=0)
            index = probs.max(-1, keepdim=True)[1]
            hard = torch.zeros_like(probs).scatter_(-1, index, 1.0) - probs.detach() + probs
            found = mixing[kind].operations[e]
            torch.testing.assert_close(found, hard, rtol=0, atol=1e-15)
            assert mixing[kind].picked[e] == (index.item(),)
            along = torch.randn(len(alpha), generator=upstream, dtype=torch.float64)
            gradients = [
                torch.autograd.grad(w @ along, supernet.alpha[kind], retain_graph=True)[0] for w in (found, hard)
            ]
            torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-15)
            assert bool(gradients[0].count_nonzero()) == (len(alpha) > 1)


def test_a_candidate_is_picked_as_often_as_its_softmax_says():
    """The Gumbel-max trick, whatever the temperature."""
    supernet, relaxation = make_supernet(), make_relaxation()
    with torch.no_grad():
        supernet.alpha["normal"].normal_(std=2, generator=torch.Generator().manual_seed(1))
    source = generator(0, "test", 0)
    picked = torch.tensor(
        [[o for (o,) in relaxation(supernet, relaxation.draw(supernet, source))["normal"].picked] for _ in range(2000)]
    )
    for e, alpha in enumerate(supernet.edge_alphas("normal")):
        found = torch.bincount(picked[:, e], minlength=len(alpha)) / 2000
        torch.testing.assert_close(found.double(), alpha.softmax(dim=0), rtol=0, atol=0.045)  # 4 standard deviations


def test_noise_is_always_finite(monkeypatch):
    """Where the published code draws again: for an exponential variate of 0."""
    supernet, relaxation = make_supernet(), make_relaxation()
    assert relaxation.draw(supernet, torch.Generator()).shape == (28, 4)
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda tensor, generator: tensor.zero_())
    noise = relaxation.draw(supernet, torch.Generator())
    assert noise.isfinite().all()
    assert all(w.isfinite().all() for w in relaxation(supernet, noise)["normal"].operations)


@pytest.mark.parametrize("add_others", [False, True])
@pytest.mark.parametrize("space", [SPACE, OTHER_SPACE], ids=lambda space: space.name)
def test_a_pass_is_that_of_the_published_cells(space, add_others):
    """search_cells.py: forward_gdas of NAS201SearchCell adds the weights of the others, that of MixedOp does not."""
    mask = UNEVEN if space is SPACE else Mask.random(space, 0.5, 0)
    ours, theirs = make_supernet(mask, space), make_supernet(mask, space)
    relaxation = make_relaxation(add_others)
    noise = relaxation.draw(ours, generator(0, "test", 0))
    images, labels = batch(0)
    F.cross_entropy(ours(images, relaxation(ours, noise)), labels).backward()

    mixing = relaxation(theirs, noise)

    def mixed_as_published(kind, number, operations):
        weights, [picked] = mixing[kind].operations[number], mixing[kind].picked[number]
        if not add_others:
            return lambda x, *_: operations[picked](x) * weights[picked]
        return lambda x, *_: sum(
            weight * operation(x) if o == picked else weight
            for o, (weight, operation) in enumerate(zip(weights, operations, strict=True))
        )

    for layer, kind in zip(theirs.layers, theirs.layer_kinds, strict=True):
        for number, edge in enumerate(layer.edges if kind is not None else ()):
            edge.forward = mixed_as_published(kind, number, list(edge.operations.values()))
    F.cross_entropy(theirs(images, theirs.mixing()), labels).backward()

    gradients = {name: p.grad for name, p in theirs.named_parameters()}
    assert all(gradients[f"alpha.{kind}"].count_nonzero() > 0 for kind in ours.alpha)
    assert any(gradient is None for gradient in gradients.values())
    for name, parameter in ours.named_parameters():
        if gradients[name] is None:
            assert parameter.grad is None, name
        else:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("add_others", [False, True])
@other_engines
@pytest.mark.parametrize("partial_channels", [1, 2])
def test_steps_are_the_same_on_every_engine(partial_channels, options, add_others):
    supernets = [make_supernet(partial_channels=partial_channels, **each) for each in ({}, options)]
    for supernet in supernets:
        weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
        alphas = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
        step = BilevelStep(supernet, weights, alphas, gradient_clip=0.5, relaxation=make_relaxation(add_others))
        for number in range(3):
            step.begin_epoch(number, 3)
            step.draw(number, 0)
            step(*batch(number), *batch(10 + number))
    expected, start = supernets[0].state_dict(), make_supernet(partial_channels=partial_channels)
    assert (expected["alpha.normal"] - start.alpha["normal"]).abs().max() > 0.01, "it was trained"
    for name, value in supernets[1].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_validation_takes_the_best_path_alone(engine):
    edges = (("skip_connect", "sep_conv_3x3"), ("max_pool_3x3",), ("avg_pool_3x3", "dil_conv_5x5", "skip_connect"))
    mask = Mask("darts", {kind: tuple(edges[e % 3] for e in range(14)) for kind in ("normal", "reduce")})
    supernet, relaxation = make_supernet(mask, engine=engine), make_relaxation(add_others=True)
    images, _ = batch(0)
    mixing = relaxation.validated(supernet, None)
    best = {kind: [alpha.argmax().item() for alpha in supernet.edge_alphas(kind)] for kind in supernet.alpha}
    assert {kind: [o for (o,) in m.picked] for kind, m in mixing.items()} == best
    kept = {
        kind: [(names[o],) for names, o in zip(edges, best[kind], strict=True)]
        for kind, edges in supernet.mask.kept.items()
    }
    supernet.eval()
    logits = supernet(images, mixing)
    alone = copy.deepcopy(supernet)
    alone.narrow(Mask("darts", kept))
    torch.testing.assert_close(logits, alone(images), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_a_whole_path_needs_less_than_the_half_with_partial_channels(engine):
    """One candidate an edge with all channels, against the four of a half with a quarter of them."""
    space = DartsSpace(init_channels=16, num_cells=3, num_classes=4, in_channels=1)
    images, labels = torch.randn(8, 1, 16, 16), torch.arange(8) % 4
    peaks = {}
    for name, partial_channels, relaxation in (("path", 1, HardGumbel(10.0, 0.1, False)), ("half", 4, Softmax())):
        supernet = build_supernet(
            space,
            Mask.random(space, 0.5, 0),
            partial_channels=partial_channels,
            engine="plain" if name == "half" else engine,
        ).train()

        def loss(supernet=supernet, relaxation=relaxation):
            noise = draw(relaxation, supernet, generator(0, "test", 0))
            F.cross_entropy(supernet(images, relaxation(supernet, noise)), labels).backward()

        peaks[name] = peak_live_memory(loss)
    assert peaks["path"] < 0.8 * peaks["half"]
