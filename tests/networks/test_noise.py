"""A candidate that draws random numbers: the same ones when it is computed again, and for all networks of one call."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from halfnas import build_supernet
from halfnas.networks import DiscreteNetwork
from halfnas.networks.recompute import recomputed
from halfnas.pruning import Batch, ImportancePruner
from halfnas.pruning.rankers import NNGPFrobenius, SynFlow
from halfnas.spaces import DartsSpace, Mask
from halfnas.spaces.operations import Noise, SepConv, draws_random_numbers
from halfnas.training import Replay
from recorded import give_weights

NAMES = ("noise", "sep_conv_3x3")
SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1, name="s4", candidates=NAMES)


def batch(seed):
    source = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1, 8, 8, generator=source, dtype=torch.float64), torch.randint(4, (4,), generator=source)


def test_noise_is_standard_normal_and_does_not_depend_on_the_input():
    torch.manual_seed(0)
    noise = Noise(stride=1)(torch.full((8, 4, 64, 64), 3.0, dtype=torch.float64, requires_grad=True))
    assert (noise.shape, noise.dtype, noise.requires_grad) == ((8, 4, 64, 64), torch.float64, False)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert noise.std().item() == pytest.approx(1, abs=0.01)
    assert Noise(stride=2)(torch.zeros(1, 2, 7, 7)).shape == (1, 2, 4, 4)
    assert not Noise(stride=1).eval()(torch.zeros(1, 1, 2, 2)).equal(torch.zeros(1, 1, 2, 2))


def test_modules_say_whether_they_draw():
    assert draws_random_numbers(build_supernet(SPACE))
    assert not draws_random_numbers(build_supernet(DartsSpace(init_channels=4, num_cells=3)))
    assert not draws_random_numbers(SepConv(4, 3, 1, affine=False))


def test_the_second_pass_draws_what_the_first_drew():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    noise = Noise(stride=1)
    drawn = []
    noise.register_forward_hook(lambda module, inputs, output: drawn.append(output))
    torch.manual_seed(0)
    output = recomputed(lambda x: x * noise(x), x, owner=noise)
    torch.randn(7)  # others draw in between
    before = torch.get_rng_state()
    (gradient,) = torch.autograd.grad(output.sum(), x)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(gradient, drawn[0])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("partial_channels", [1, 2])
@pytest.mark.parametrize("engine", ["plain", "fused"])
@pytest.mark.parametrize("recompute", ["nodes", "cells"])
def test_gradients_do_not_depend_on_recomputation(engine, recompute, partial_channels):
    found = []
    for mode in ("none", recompute):
        supernet = build_supernet(SPACE, engine=engine, recompute=mode, partial_channels=partial_channels)
        give_weights(supernet.double().train())
        torch.manual_seed(3)
        images, labels = batch(0)
        F.cross_entropy(supernet(images), labels).backward()
        found.append({name: parameter.grad for name, parameter in supernet.named_parameters()})
    for name, wanted in found[0].items():
        torch.testing.assert_close(found[1][name], wanted, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
def test_engines_agree_where_they_draw_the_same(recompute, monkeypatch):
    """The engines run candidates in different orders; noise that is made of the shape takes that away."""

    def forward(self, x):
        shape = x[:, :, :: self.stride, :: self.stride].shape
        return torch.randn(shape, dtype=x.dtype, generator=torch.Generator().manual_seed(5))

    monkeypatch.setattr(Noise, "forward", forward)
    outputs = []
    for options in ({"engine": "plain"}, {"engine": "fused", "recompute": recompute}):
        supernet = build_supernet(SPACE, partial_channels=2, **options)
        give_weights(supernet.double().train())
        images, labels = batch(0)
        loss = F.cross_entropy(supernet(images), labels)
        loss.backward()
        outputs.append([loss, *(parameter.grad for parameter in supernet.parameters())])
    for expected, found in zip(*outputs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("recompute", "space", "captures"), [
    ("none", SPACE, True), ("nodes", SPACE, False), ("cells", SPACE, False),
    ("cells", DartsSpace(init_channels=4, num_cells=3), True),
])  # fmt: skip
def test_what_is_drawn_again_cannot_be_captured(recompute, space, captures):
    obstacle = build_supernet(space, recompute=recompute).obstacle
    assert (obstacle is None) == captures
    assert captures or "random numbers that are drawn again in the backward pass" in obstacle


def make_pruner(ranker, importance, repeats=1):
    pruner = ImportancePruner(
        "toy", {"toy": ranker()}, importance=importance, combine="sum", rounds=1, scope="edge", aggregate="mean",
        repeats=repeats, max_repeats=1, stability=0.9, network={}, image_size=None, num_batches=1, batch_size=4,
        candidates_per_call=5,
    )  # fmt: skip
    pruner.begin(SPACE, SPACE, ratio=0.5, seed=0)
    return pruner


@pytest.mark.parametrize("importance", ["exact", "taylor"])
@pytest.mark.parametrize("ranker", [NNGPFrobenius, SynFlow])
def test_noise_is_pruned(ranker, importance):
    pruner = make_pruner(ranker, importance)
    images, labels = batch(1)
    pruner.step([Batch(images.float(), labels)])
    pruner.mask.check(SPACE)
    assert {len(edge) for edges in pruner.mask.kept.values() for edge in edges} == {1}


@pytest.mark.parametrize("importance", ["exact", "taylor"])
def test_what_is_drawn_in_a_rating_depends_on_its_number_alone(importance):
    """So that it is the same in another process, and in a pruning that goes on."""
    first, second = (make_pruner(NNGPFrobenius, importance, repeats=2) for _ in range(2))
    images, labels = batch(1)
    batches = [Batch(images.float(), labels)]
    torch.manual_seed(0)
    expected = [first.rate(number, batches).levels.tolist() for number in (0, 1)]
    torch.manual_seed(1)
    assert [second.rate(number, batches).levels.tolist() for number in (1, 0)] == expected[::-1]
    assert expected[0] != expected[1]


def test_a_final_network_of_noise_alone_trains():
    torch.manual_seed(0)
    noisy = Mask(SPACE.name, dict.fromkeys(SPACE.kinds, (("noise",),) * 14))
    network = DiscreteNetwork(SPACE, build_supernet(SPACE, noisy).genotype()).double()
    images, labels = batch(2)
    F.cross_entropy(network(images), labels).backward()
    assert network.head.linear.weight.grad.abs().sum() > 0


@pytest.mark.gpu
def test_noise_in_a_graph_is_drawn_anew_in_every_replay():
    noise = Noise(stride=1)
    replay = Replay(lambda x: noise(x).sum(dim=0), cuda_graphs=True)
    x = torch.zeros(2, 3, device="cuda")[..., None, None]
    drawn = [replay(x).clone() for _ in range(6)]  # two as they are, the others captured
    assert replay.captured == 1
    assert all(not a.equal(b) for a, b in itertools.combinations(drawn, 2))
