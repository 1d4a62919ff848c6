import math

import pytest
import torch
from torch import nn
from torch.func import grad, vmap
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from halfnas import build_supernet
from halfnas.pruning import Batch, RankingFunction, Sample, ScoringNetwork
from halfnas.pruning.ranking import check_several, loss
from halfnas.pruning.scoring_network import smooth_norm
from halfnas.spaces import DartsSpace

#: candidates of each edge of the supernet
EDGES = [3, 1, 2, 1, 2, 1]

ON_SUPERNET = pytest.mark.parametrize("network", ["supernet"], indirect=True)


def hooks_left(module):
    return [
        part for part in module.modules() if part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)
    ]


# --- sample


def test_sample_joins_its_batches(sample):
    assert sample.images.equal(torch.cat([batch.images for batch in sample.batches]))
    assert sample.labels.equal(torch.cat([batch.labels for batch in sample.batches]))
    assert sample.images.shape == (8, 3, 6, 6)


def test_sample_without_labels(sample, unlabelled):
    mixed = Sample([sample.batches[0], unlabelled.batches[1]])
    for some in (unlabelled, mixed):
        assert some.images.equal(sample.images)
        with pytest.raises(ValueError, match="this ranking function needs labels, and the images have none"):
            _ = some.labels


def test_sample_draws_the_same_numbers_at_every_call(sample):
    first = sample.normal(3, 4, stream=5)
    assert first.shape == (3, 4)
    assert first.equal(sample.normal(3, 4, stream=5))
    assert first.equal(Sample(sample.batches, seed=3).normal(3, 4, stream=5))
    assert not first.equal(sample.normal(3, 4, stream=6))
    assert not first.equal(Sample(sample.batches, seed=4).normal(3, 4, stream=5))
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    sample.normal(2, stream=0)
    assert torch.rand(1).equal(expected)  # the numbers of others are not touched


def test_sample_draws_standard_normal_numbers_of_the_type_of_the_images(sample):
    drawn = sample.normal(100_000, stream=0)
    assert drawn.dtype == torch.float64
    assert abs(drawn.mean().item()) < 5 / math.sqrt(100_000)
    assert drawn.std().item() == pytest.approx(1, abs=5 / math.sqrt(200_000))
    single = Sample([Batch(sample.images.float(), None)], seed=3).normal(100_000, stream=0)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, drawn.float())


@pytest.mark.parametrize("seed", [0, 2**62])
def test_sample_takes_any_seed(seed):
    assert Sample([Batch(torch.zeros(1), None)], seed).normal(2, stream=2**32).isfinite().all()


# --- a network as a function


def test_call_gives_the_logits(network, sample):
    torch.testing.assert_close(network(sample.images), network.module(sample.images), rtol=0, atol=0)


@ON_SUPERNET
def test_alpha_replaces_the_supernets_own(network, sample):
    alpha = torch.randn(10, dtype=torch.float64)
    found = ScoringNetwork(network.module, {"cell": alpha.split(EDGES)})(sample.images)
    with torch.no_grad():
        network.module.alpha["cell"].copy_(alpha)
    torch.testing.assert_close(found, network.module(sample.images), rtol=0, atol=0)
    assert not found.allclose(network(sample.images))


def test_parameters_replace_those_of_the_module(network, sample):
    name = "stem.conv.weight"
    other = torch.randn_like(network.parameters()[name])
    before = network.module.stem.conv.weight.clone()
    found = network(sample.images, {name: other})
    assert network.module.stem.conv.weight.equal(before)
    with torch.no_grad():
        network.module.stem.conv.weight.copy_(other)
    torch.testing.assert_close(found, network.module(sample.images), rtol=0, atol=0)


def test_parameters_are_everything_but_the_architecture(network):
    own = dict(network.module.named_parameters())
    found = network.parameters()
    assert set(own) - set(found) == ({"alpha.cell"} if network.alpha else set())
    assert all(value.equal(own[name]) and not value.requires_grad for name, value in found.items())


def test_parameters_are_not_those_of_edges():
    network = ScoringNetwork(build_supernet(DartsSpace(init_channels=4, num_cells=3), partial_channels=2))
    own = {name for name, _ in network.module.named_parameters()}
    removed = {f"{what}.{kind}" for what in ("alpha", "beta") for kind in ("normal", "reduce")}
    assert own - set(network.parameters()) == removed


def test_weights_are_those_of_convolutions_and_linear_layers(network):
    expected = {
        f"{name}.weight": part.weight
        for name, part in network.module.named_modules()
        if isinstance(part, (nn.Conv2d, nn.Linear))
    }
    found = network.weights()
    assert list(found) == list(expected)
    assert all(value.equal(expected[name]) for name, value in found.items())


def test_hook_replaces_the_output(network, sample):
    named, seen = dict(network.module.named_modules()), []

    def hook(name, module, x, output):
        assert named[name] is module
        assert isinstance(module, (nn.ReLU, nn.Conv2d))
        if isinstance(module, nn.Conv2d):
            torch.testing.assert_close(output, module._conv_forward(x, module.weight, module.bias))
        seen.append(name)
        return output * 0 + 1 if isinstance(module, nn.ReLU) else None

    found = network(sample.images, hook=hook, types=(nn.ReLU, nn.Conv2d))
    assert set(seen) == {name for name, part in named.items() if isinstance(part, (nn.ReLU, nn.Conv2d))}
    # All ReLUs give 1, the last one too, so that the head sees ones.
    head = network.module.head[-1]
    expected = head(torch.ones(1, 8, dtype=torch.float64)).expand(8, -1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert not hooks_left(network.module)


def test_hook_that_gives_nothing_changes_nothing(network, sample):
    found = network(sample.images, hook=lambda *_: None, types=(nn.Module,))
    torch.testing.assert_close(found, network.module(sample.images), rtol=0, atol=0)


def test_norm_replaces_all_batch_norms(network, sample):
    named, seen = dict(network.module.named_modules()), []

    def norm(name, module, x):
        assert named[name] is module
        seen.append(name)
        return x * 0

    found = network(sample.images, norm=norm)
    assert set(seen) == {name for name, part in named.items() if isinstance(part, _BatchNorm)}
    bias = network.module.head[-1].bias  # nothing but that comes through the last one
    torch.testing.assert_close(found, bias.expand(8, -1), rtol=0, atol=1e-12)
    assert not hooks_left(network.module)
    torch.testing.assert_close(network(sample.images), network.module(sample.images), rtol=0, atol=0)


def test_nothing_is_left_after_an_exception(network, sample):
    expected = network.module(sample.images)

    def fail(*_):
        raise ArithmeticError("on purpose")

    def keep(name, module, x):
        return x

    with pytest.raises(ArithmeticError, match="on purpose"):
        network(sample.images, hook=fail, types=(nn.ReLU,), norm=keep)
    with pytest.raises(ArithmeticError, match="on purpose"):
        network(sample.images, {"stem.conv.weight": torch.zeros(2, 3, 3, 3).double()}, norm=fail)
    with pytest.raises(ArithmeticError, match="on purpose"):
        network.features(sample.images, hook=fail, types=(nn.ReLU,))
    assert not hooks_left(network.module)
    torch.testing.assert_close(network.module(sample.images), expected, rtol=0, atol=0)


def test_features_are_what_the_global_pooling_reads(network, sample):
    head = network.module.head
    found = network.features(sample.images)
    assert found.shape == (8, 8, 2, 2)
    torch.testing.assert_close(head[-1](found.mean(dim=(2, 3))), network(sample.images), rtol=0, atol=1e-12)
    assert found.min() == 0  # after the last ReLU
    assert not hooks_left(network.module)
    other = network.features(sample.images, {"stem.conv.weight": torch.ones(2, 3, 3, 3).double()})
    assert not other.allclose(found)


def test_features_where_the_head_begins_with_the_pooling():
    network = ScoringNetwork(build_supernet(DartsSpace(init_channels=2, num_cells=3)))
    images = torch.randn(3, 3, 8, 8)
    features = network.features(images)
    assert features.shape == (3, 32, 2, 2)
    torch.testing.assert_close(network.module.head.linear(features.mean(dim=(2, 3))), network(images))


def test_frozen_norms_are_batch_norms_in_evaluation_mode(network, sample, frozen):
    images, others = sample.images, torch.randn(5, 3, 6, 6, dtype=torch.float64) * 2 + 1
    norm = network.frozen_norms(images)
    torch.testing.assert_close(network(images, norm=norm), network(images), rtol=0, atol=1e-10)
    expected = frozen(network.module, images)(others)
    torch.testing.assert_close(network(others, norm=norm), expected, rtol=0, atol=1e-10)
    assert not hooks_left(network.module)


def test_frozen_norms_make_images_independent(network, sample):
    norm = network.frozen_norms(sample.images)
    together = network(sample.images, norm=norm)
    apart = torch.cat([network(image[None], norm=norm) for image in sample.images])
    torch.testing.assert_close(apart, together, rtol=0, atol=1e-10)
    images = sample.images.clone()
    images[3] += 1
    moved = (network(images, norm=norm) - together).abs().amax(dim=1) > 1e-10
    assert moved.tolist() == [False] * 3 + [True] + [False] * 4
    assert ((network(images) - together).abs().amax(dim=1) > 1e-10).all()  # without them all move


def test_frozen_norms_of_vectors():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(4, track_running_stats=False)
    network = ScoringNetwork(nn.Sequential(nn.Flatten(), nn.Linear(3, 4), norm).double())
    images = torch.randn(6, 3, 1, 1, dtype=torch.float64)
    frozen = network.frozen_norms(images)
    torch.testing.assert_close(network(images, norm=frozen), network(images), rtol=0, atol=1e-12)
    torch.testing.assert_close(network(images[:1], norm=frozen), network(images)[:1], rtol=0, atol=1e-12)


def test_smooth_norm_is_a_batch_norm(network, sample):
    torch.testing.assert_close(network(sample.images, norm=smooth_norm), network(sample.images), rtol=0, atol=1e-10)
    assert not hooks_left(network.module)


def test_smooth_norm_has_a_third_derivative():
    """Torch's own does not: why GraSP, itself of second derivatives, has no use for it."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(2, track_running_stats=False).double()
    x = torch.randn(3, 2, 2, 1, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(3, 2, 2, 1, dtype=torch.float64)

    def second(x):
        (first,) = torch.autograd.grad((smooth_norm("", norm, x) * weights).tanh().sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, x)


# --- presence


@ON_SUPERNET
def test_presence(network):
    alpha = torch.zeros(10, dtype=torch.float64)
    alpha[1], alpha[4] = -torch.inf, math.log(0.25)  # nor_conv_1x1 on edge 0, nor_conv_3x3 on edge 2
    rated = ScoringNetwork(network.module, {"cell": alpha.split(EDGES)})
    expected = {(0, "nor_conv_1x1"): 0.0, (2, "nor_conv_3x3"): 0.25}
    inside = 0
    for name, _ in network.module.named_modules():
        parts = name.split(".")  # layers.0.edges.2.operations.nor_conv_3x3.1
        if "operations" in parts[:-1]:
            inside += 1
            assert float(rated.presence(name)) == pytest.approx(expected.get((int(parts[3]), parts[5]), 1.0)), name
        else:
            assert rated.presence(name) == 1, name
    assert inside > 3 * 10  # candidates and what is inside them, in three cells


def test_presence_is_one_without_candidates(network):
    whole = ScoringNetwork(network.module)
    assert {whole.presence(name) for name, _ in network.module.named_modules()} == {1.0}


@ON_SUPERNET
def test_count(network):
    alpha = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    operations = "layers.0.edges.0.operations"
    numbers = [(f"{operations}.nor_conv_3x3.1", 5), (f"{operations}.nor_conv_3x3.2", 2), ("stem.conv", 100)]
    total = ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}).count(numbers)
    assert (total.item(), total.dtype, total.shape) == (107, torch.float64, ())
    assert torch.autograd.grad(total, alpha)[0].tolist() == [0, 0, 7, 0, 0, 0, 0, 0, 0, 0]
    nothing = ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}).count([("stem.conv", 100)])
    assert torch.autograd.grad(nothing, alpha)[0].tolist() == [0] * 10
    without = torch.zeros(10).index_fill(0, torch.tensor([2]), -torch.inf)
    assert ScoringNetwork(network.module, {"cell": without.split(EDGES)}).count(numbers).item() == 100
    assert ScoringNetwork(network.module).count(numbers).item() == 107


# --- transformations


def everything(network, images):
    """A number that all parts of a scoring network have a share in."""
    seen = []

    def hook(name, module, x, output):
        seen.append(output.square().mean() * network.presence(name))

    norm = network.frozen_norms(images)
    logits = network(images, hook=hook, types=(nn.Conv2d,), norm=norm)
    return logits.square().mean() + network.features(images).square().mean() + torch.stack(seen).sum()


@ON_SUPERNET
def test_in_vmap(network, sample):
    alphas = torch.randn(5, 10, dtype=torch.float64)
    alphas[0, 1] = -torch.inf

    def rate(alpha):
        return everything(ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}), sample.images)

    together = vmap(rate)(alphas)
    torch.testing.assert_close(together, torch.stack([rate(alpha) for alpha in alphas]), rtol=0, atol=1e-10)
    assert together.unique().numel() == 5
    assert not hooks_left(network.module)


@ON_SUPERNET
def test_under_autograd(network, sample):
    alpha = torch.randn(10, dtype=torch.float64, requires_grad=True)

    def rate(alpha):
        return everything(ScoringNetwork(network.module, {"cell": alpha.split(EDGES)}), sample.images)

    (found,) = torch.autograd.grad(rate(alpha), alpha)
    torch.testing.assert_close(grad(rate)(alpha.detach()), found, rtol=0, atol=1e-10)
    step, basis = 1e-6, torch.eye(10, dtype=torch.float64)
    with torch.no_grad():
        expected = torch.stack([(rate(alpha + step * e) - rate(alpha - step * e)) / (2 * step) for e in basis])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


# --- ranking functions


def test_loss_is_the_cross_entropy_of_all_images_together(network, sample):
    expected = F.cross_entropy(network.module(sample.images), sample.labels)
    torch.testing.assert_close(loss(network, sample, {}), expected, rtol=0, atol=1e-12)
    moved = loss(network, sample, {"head.4.bias": torch.arange(4).double()})
    assert not moved.allclose(expected)


@pytest.mark.parametrize("sign", [0, 2, -2, 0.5])
def test_sign_must_be_1_or_minus_1(sign):
    class Ranker(RankingFunction):
        def __call__(self, network, sample):
            return torch.zeros(())

    assert (Ranker().weight, Ranker().sign) == (1.0, 1)
    assert (Ranker(2.0, -1).weight, Ranker(2.0, -1).sign) == (2.0, -1)
    with pytest.raises(ValueError, match=rf"`sign` must be 1 \(larger is better\) or -1 .*, got {sign}"):
        Ranker(sign=sign)


def test_several_images():
    check_several(torch.zeros(2, 3), "This")
    for number in (0, 1):
        with pytest.raises(ValueError, match=f"This compares images and needs at least 2, got {number}"):
            check_several(torch.zeros(number, 3), "This")
