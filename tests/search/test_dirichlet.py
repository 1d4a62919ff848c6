"""DrNAS against `torch.distributions` and the formulas of its public code, in float64."""

import pytest
import torch
from engines import forbid_reading, other_engines
from torch.distributions import Dirichlet as Reference
from torch.distributions import kl_divergence
from torch.nn import functional as F

from halfnas.networks import build_supernet
from halfnas.search import BilevelStep, Dirichlet, DirichletKL
from halfnas.search.dirichlet import PROPOSALS, concentrations, log_gamma_variates
from halfnas.spaces import DartsSpace, Mask
from halfnas.training import adam, generator, sgd
from recorded import give_weights

SPACE = DartsSpace(init_channels=8, num_cells=3, num_classes=4, in_channels=1)
#: Edges of one, two and four candidates.
EDGES = (("sep_conv_3x3",), ("none", "skip_connect"), ("max_pool_3x3", "skip_connect", "sep_conv_5x5", "none"))
UNEVEN = Mask("darts", {kind: tuple(EDGES[e % 3] for e in range(14)) for kind in ("normal", "reduce")})


def make_supernet(spread=1.0, **options):
    """With alphas of either sign."""
    supernet = build_supernet(SPACE, UNEVEN, **options)
    give_weights(supernet.double().train())
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for alpha in supernet.alpha.values():
            alpha.normal_(std=spread, generator=source)
    return supernet


def batch(seed, size=4):
    source = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 1, 8, 8, generator=source, dtype=torch.float64)
    return images, torch.randint(4, (size,), generator=source)


class TorchSample(torch.autograd.Function):
    """Given x, the gradient of `torch.distributions.dirichlet._Dirichlet`, as its rsample has it."""

    @staticmethod
    def forward(ctx, concentration, x):
        ctx.save_for_backward(x, concentration)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        x, concentration = ctx.saved_tensors
        return torch.distributions.dirichlet._Dirichlet_backward(x, concentration, gradient), None


# --- the distribution


def kolmogorov_smirnov(first, second):
    """The largest distance between two empirical distribution functions, in units of its standard deviation."""
    both = torch.cat([first, second]).sort().values
    distance = (
        torch.searchsorted(first.sort().values, both, right=True) / len(first)
        - torch.searchsorted(second.sort().values, both, right=True) / len(second)
    ).abs()
    return distance.max().item() * (len(first) * len(second) / (len(first) + len(second))) ** 0.5


@pytest.mark.parametrize(
    "concentration",
    [(1.0, 1.0, 1.0), (0.5, 0.5), (0.02, 0.1, 0.3), (3.0, 0.4, 1.5, 7.0), (0.01, 1.0), (40.0, 25.0, 0.9)],
    ids=str,
)
def test_a_draw_has_the_distribution_of_torch(concentration):
    size = 40_000
    c = torch.tensor(concentration, dtype=torch.float64)
    source = generator(0, "test", 0)
    shape = (size, len(c))
    noise = torch.cat(
        [
            torch.randn(PROPOSALS, *shape, generator=source, dtype=torch.float64),
            torch.empty(PROPOSALS + 1, *shape, dtype=torch.float64).exponential_(generator=source),
        ]
    )
    found = log_gamma_variates(c.expand(shape), noise).softmax(dim=1).clamp(max=1 - 2**-53)  # as torch does
    torch.manual_seed(0)
    expected = Reference(c).sample((size,))
    for o in range(len(c)):
        assert kolmogorov_smirnov(found[:, o], expected[:, o]) < 1.95, "as far apart once in a thousand"
    reference = Reference(c)
    torch.testing.assert_close(found.mean(dim=0), reference.mean, rtol=0, atol=0.008)
    torch.testing.assert_close(found.var(dim=0), reference.variance, rtol=0.05, atol=1e-4)


@pytest.mark.parametrize("concentration", [0.05, 0.7, 1.0, 12.0])
def test_a_gamma_variate_has_its_moments(concentration):
    source = generator(1, "test", 0)
    c = torch.full((200_000, 1), concentration, dtype=torch.float64)
    normal = torch.randn(PROPOSALS, *c.shape, generator=source, dtype=torch.float64)
    exponential = torch.empty(PROPOSALS + 1, *c.shape, dtype=torch.float64).exponential_(generator=source)
    x = log_gamma_variates(c, torch.cat([normal, exponential])).exp()
    assert x.mean().item() == pytest.approx(concentration, rel=0.05)
    assert x.var().item() == pytest.approx(concentration, rel=0.1)
    logs = log_gamma_variates(c, torch.cat([normal, exponential]))
    assert logs.mean().item() == pytest.approx(torch.digamma(c[0]).item(), abs=0.02 + 0.01 / concentration)


def test_where_no_proposal_is_accepted_a_variate_is_near_the_mode():
    c = torch.tensor([[2.0]], dtype=torch.float64)
    noise = torch.full((2 * PROPOSALS + 1, 1, 1), -9.0, dtype=torch.float64)  # v < 0
    noise[PROPOSALS:] = 0.0
    assert log_gamma_variates(c, noise).exp().item() == pytest.approx(2.0 + 1 - 1 / 3)


# --- the weights of a supernet and their gradient


def test_concentrations_are_the_published_ones():
    """utils.py, process_step_vector: elu(alpha) + 1, here exact where alpha is far below 0."""
    supernet = make_supernet(spread=3.0)
    c_EO, kept_EO = concentrations(supernet)
    rows = iter(zip(c_EO, kept_EO, strict=True))
    for kind in supernet.alpha:
        for alpha in supernet.edge_alphas(kind):
            c, kept = next(rows)
            assert kept.tolist() == [True] * len(alpha) + [False] * (4 - len(alpha))
            torch.testing.assert_close(c[kept], F.elu(alpha) + 1, rtol=1e-12, atol=1e-15)
    with torch.no_grad():
        supernet.alpha["normal"].fill_(-60.0)
    assert concentrations(supernet)[0][0, 0].item() == pytest.approx(8.75651076269652e-27)


@pytest.mark.parametrize("spread", [1e-3, 1.0, 4.0])
def test_weights_and_gradients_are_those_of_torch(spread):
    """For the same x: the gradient with respect to alpha of a random projection of all weights."""
    supernet, relaxation = make_supernet(spread), Dirichlet()
    mixing = relaxation(supernet, relaxation.draw(supernet, generator(0, "test", 0)))
    source = torch.Generator().manual_seed(2)
    for kind in supernet.alpha:
        for e, alpha in enumerate(supernet.edge_alphas(kind)):
            weights = mixing[kind].operations[e]
            assert weights.sum().item() == pytest.approx(1.0, abs=1e-12)
            along = torch.randn(len(alpha), generator=source, dtype=torch.float64)
            expected = TorchSample.apply(F.elu(alpha) + 1, weights.detach())
            gradients = [
                torch.autograd.grad(w @ along, supernet.alpha[kind], retain_graph=True)[0] for w in (weights, expected)
            ]
            torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)
            if spread < 4:
                assert bool(gradients[0].count_nonzero()) == (len(alpha) > 1)


def test_a_draw_is_the_same_in_single_precision():
    supernets, relaxation = [make_supernet(), make_supernet().float()], Dirichlet()
    noises = [relaxation.draw(supernet, generator(0, "test", 0)) for supernet in supernets]
    assert [noise.dtype for noise in noises] == [torch.float64, torch.float32]
    assert noises[0].shape == (2 * PROPOSALS + 1, 28, 4)
    found = [relaxation(*pair)["reduce"].operations for pair in zip(supernets, noises, strict=True)]
    for double, single in zip(*found, strict=True):
        torch.testing.assert_close(single.double(), double, rtol=1e-3, atol=1e-6)


def test_far_concentrations_stay_finite():
    """Where exp(alpha) leaves nothing of a variate itself, its logarithm is still there."""
    for value in (-12.0, -40.0, 30.0):
        supernet, relaxation = make_supernet().float(), Dirichlet()
        with torch.no_grad():
            supernet.alpha["normal"].fill_(value)
        mixing = relaxation(supernet, relaxation.draw(supernet, generator(0, "test", 0)))
        sum((w * torch.arange(len(w))).sum() for w in mixing["normal"].operations).backward()
        assert all(w.isfinite().all() for w in mixing["normal"].operations)
        assert supernet.alpha["normal"].grad.isfinite().all()


def test_without_noise_it_is_the_mean():
    supernet = make_supernet()
    for kind, mixing in Dirichlet()(supernet).items():
        for w, alpha in zip(mixing.operations, supernet.edge_alphas(kind), strict=True):
            torch.testing.assert_close(w, Reference(F.elu(alpha) + 1).mean)


def test_validation_draws_as_training_does():
    supernet, relaxation = make_supernet(), Dirichlet()
    noise = relaxation.draw(supernet, generator(0, "test", 0))
    for found, expected in zip(
        relaxation.validated(supernet, noise).values(), relaxation(supernet, noise).values(), strict=True
    ):
        assert all(a.equal(b) for a, b in zip(found.operations, expected.operations, strict=True))


# --- the regulariser


def test_divergence_is_that_of_the_published_code():
    """model_search.py, _get_kl_reg: a sum over both kinds of cell and all edges, its gradient too."""
    supernet = make_supernet()
    found = DirichletKL(1e-3)(supernet)
    edges = [F.elu(alpha) + 1 for kind in supernet.alpha for alpha in supernet.edge_alphas(kind)]
    expected = sum(kl_divergence(Reference(c), Reference(torch.ones_like(c))) for c in edges)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for kind in supernet.alpha:
        gradients = [
            torch.autograd.grad(each, supernet.alpha[kind], retain_graph=True)[0] for each in (found, expected)
        ]
        torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-12)


def test_divergence_is_nothing_at_the_anchor():
    supernet = make_supernet()
    with torch.no_grad():
        for alpha in supernet.alpha.values():
            alpha.zero_()
    assert DirichletKL(1e-3)(supernet).item() == pytest.approx(0.0, abs=1e-12)
    assert DirichletKL(1e-3).weight_at(0, 50) == DirichletKL(1e-3).weight_at(49, 50) == 1e-3


# --- a whole step


def make_step(partial_channels, regularizer=None, **options):
    supernet = make_supernet(partial_channels=partial_channels, edge_normalization=False, **options)
    weights = sgd(supernet.weight_parameters(), learning_rate=0.1, momentum=0.9, weight_decay=3e-4)
    architecture = adam(supernet.architecture_parameters(), learning_rate=6e-3, betas=(0.5, 0.999), weight_decay=1e-3)
    return BilevelStep(
        supernet, weights, architecture, gradient_clip=5.0, relaxation=Dirichlet(), regularizer=regularizer
    )


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_an_architecture_step_is_that_of_the_published_code(partial_channels):
    """architect.py, _backward_step with reg_type=kl, given the weights that were drawn."""
    step = make_step(partial_channels, DirichletKL(1e-3))
    step.begin_epoch(0, 2)
    step.draw(0, 0)
    theirs = make_step(partial_channels).supernet
    drawn = step.relaxation(step.supernet, step._noise["architecture"])
    images, labels = batch(0)
    mixing = {
        kind: m._replace(
            operations=tuple(
                TorchSample.apply(F.elu(alpha) + 1, x.detach())
                for alpha, x in zip(theirs.edge_alphas(kind), m.operations, strict=True)
            )
        )
        for kind, m in drawn.items()
    }
    loss = F.cross_entropy(theirs(images, mixing), labels)
    for kind in theirs.alpha:
        for alpha in theirs.edge_alphas(kind):
            c = F.elu(alpha) + 1
            loss = loss + 1e-3 * kl_divergence(Reference(c), Reference(torch.ones_like(c)))
    loss.backward()
    torch.optim.Adam(theirs.architecture_parameters(), lr=6e-3, betas=(0.5, 0.999), weight_decay=1e-3).step()

    step._architecture_step(images, labels, images, labels)
    for kind, alpha in step.supernet.alpha.items():
        torch.testing.assert_close(alpha, theirs.alpha[kind], rtol=1e-9, atol=1e-12)


@other_engines
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_steps_are_the_same_on_every_engine(partial_channels, options):
    steps = [make_step(partial_channels, **each) for each in ({}, options)]
    for step in steps:
        for number in range(2):
            step.draw(0, number)
            step(*batch(number), *batch(10 + number))
    expected = steps[0].supernet.state_dict()
    assert (expected["alpha.normal"] - make_supernet().alpha["normal"]).abs().max() > 0.01, "it was trained"
    for name, value in steps[1].supernet.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-8, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_a_step_reads_nothing_back(monkeypatch):
    """On a GPU every value that Python looks at makes it wait for the device, and breaks a capture."""
    step = make_step(4, DirichletKL(1e-3), engine="fused")
    step.draw(0, 0)
    step(*batch(0), *batch(10))  # optimisers make their state
    step.draw(0, 1)

    forbid_reading(monkeypatch)
    step(*batch(1), *batch(11))
