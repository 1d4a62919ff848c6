"""The fused engine against the plain one, which is its oracle, in float64."""

import copy
import dataclasses
import io
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import replace_all_batch_norm_modules_
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import set_checkpoint_early_stop

from halfnas import build_supernet
from halfnas.memory import saved_for_backward
from halfnas.networks.fused.cell import FusedCell
from halfnas.networks.fused.fan import Fan
from halfnas.networks.fused.separable import Separable
from halfnas.spaces import DartsSpace, Mask, NASBench201Space
from halfnas.spaces.operations import FactorizedReduce, ReLUConvBN, SepConv, Zero

RECOMPUTE = ("none", "nodes", "cells")
RELATIVE = 1e-9  # to the largest entry of a tensor
FLOOR = 1e-12  # for gradients that are zero, such as that of the alpha of an edge with one candidate

SMALL = DartsSpace(init_channels=4, num_cells=3)
CANDIDATES = SMALL.candidates("normal")[0]
NUM_EDGES = 14
SOURCES = [source for node in range(2, 6) for source in range(node)]  # of every edge


def make_pair(space, mask=None, *, recompute="none", dtype=torch.float64, **options):
    """A plain and a fused supernet of the same weights, with alpha and beta far from uniform."""
    plain = build_supernet(space, mask, **options).to(dtype)
    with torch.no_grad():
        for parameter in plain.architecture_parameters():
            parameter.normal_()
    fused = build_supernet(space, mask, engine="fused", recompute=recompute, **options).to(dtype)
    fused.load_state_dict(plain.state_dict())
    return plain, fused


def make_batch(batch_size=3, image_size=8, dtype=torch.float64):
    return torch.randn(batch_size, 3, image_size, image_size, dtype=dtype), torch.randint(10, (batch_size,))


def backward(supernet, images, labels):
    """Logits and every gradient, by name."""
    supernet.zero_grad()
    logits = supernet(images)
    F.cross_entropy(logits, labels).backward()
    gradients = {name: parameter.grad.clone() for name, parameter in supernet.named_parameters()}
    return {"logits": logits.detach(), **gradients}


def train(supernet, batches):
    """What every step computed: SGD with momentum on the weights, Adam on the architecture."""
    optimizers = [
        torch.optim.SGD(supernet.weight_parameters(), lr=0.05, momentum=0.9),
        torch.optim.Adam(supernet.architecture_parameters(), lr=0.05),
    ]
    steps = []
    for images, labels in batches:
        steps.append(backward(supernet, images, labels))
        for optimizer in optimizers:
            optimizer.step()
    return steps


def assert_same(found, wanted):
    """Tensors by name, equal up to rounding."""
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        tolerance = RELATIVE * tensor.abs().max().item() + FLOOR
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def fill_statistics(supernet):
    """Running statistics that differ from one batch norm to the next."""
    for name, buffer in supernet.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)


# --- the same function and gradients


subsets = st.sets(st.sampled_from(CANDIDATES), min_size=1).filter(lambda names: names != {"none"})
own_masks = st.lists(subsets, min_size=2 * NUM_EDGES, max_size=2 * NUM_EDGES).map(
    lambda kept: Mask("darts", {"normal": kept[:NUM_EDGES], "reduce": kept[NUM_EDGES:]})
)
random_masks = st.builds(
    Mask.random, st.just(SMALL), st.integers(1, 8).map(lambda size: size / 8), st.integers(0, 2**32)
)


@given(
    mask=own_masks | random_masks,
    channels_and_cells=st.sampled_from([(4, 3), (4, 4), (8, 3)]),
    partial_channels=st.sampled_from([1, 2, 4]),
    edge_normalization=st.booleans(),
    recompute=st.sampled_from(RECOMPUTE),
    batch_size=st.sampled_from([2, 3, 5]),
    image_size=st.sampled_from([7, 8, 9]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, derandomize=True, max_examples=15)
def test_fused_equals_plain_through_steps_of_the_optimizers(
    mask, channels_and_cells, partial_channels, edge_normalization, recompute, batch_size, image_size, seed
):
    torch.manual_seed(seed)
    plain, fused = make_pair(
        DartsSpace(*channels_and_cells),
        mask,
        partial_channels=partial_channels,
        edge_normalization=edge_normalization,
        recompute=recompute,
    )
    batches = [make_batch(batch_size, image_size) for _ in range(3)]
    for found, wanted in zip(train(fused, batches), train(plain, batches), strict=True):
        assert_same(found, wanted)
    assert_same(fused.state_dict(), plain.state_dict())
    assert {int(v) for name, v in fused.state_dict().items() if name.endswith("num_batches_tracked")} == {3}
    images, _ = make_batch(1, image_size)
    assert_same({"logits": fused.eval()(images)}, {"logits": plain.eval()(images)})


@pytest.mark.parametrize("partial_channels", [1, 2])
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_full_mask(recompute, partial_channels):
    torch.manual_seed(0)
    plain, fused = make_pair(SMALL, recompute=recompute, partial_channels=partial_channels)
    batch = make_batch()
    wanted = backward(plain, *batch)
    assert_same(backward(fused, *batch), wanted)
    assert_same(fused.state_dict(), plain.state_dict())
    assert min(tensor.abs().max() for tensor in wanted.values()) > 1e3 * FLOOR  # no gradient is compared in vain


@pytest.mark.parametrize("ratio", [1.0, 0.5])
@pytest.mark.parametrize("partial_channels", [1, 2])
@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_cells_of_one_input_and_one_output(recompute, partial_channels, ratio):
    torch.manual_seed(0)
    space = NASBench201Space(init_channels=4, num_cells=3)
    mask = Mask.random(space, ratio, seed=0)
    plain, fused = make_pair(space, mask, recompute=recompute, partial_channels=partial_channels)
    batches = [make_batch(image_size=7) for _ in range(3)]
    for found, wanted in zip(train(fused, batches), train(plain, batches), strict=True):
        assert_same(found, wanted)
    assert_same(fused.state_dict(), plain.state_dict())
    images, _ = make_batch()
    assert_same({"logits": fused.eval()(images)}, {"logits": plain.eval()(images)})
    fans = [fan for layer in fused.layers if isinstance(layer, FusedCell) for fan in layer.fans]
    assert len(fans) == 3 * 3
    assert not any(fan.others for fan in fans)  # the engine knows all of these operations


def test_cells_of_one_input_keep_less():
    space = NASBench201Space(init_channels=8, num_cells=3)
    plain, fused = make_pair(space, dtype=torch.float32)
    images, _ = make_batch(16, 32, torch.float32)
    kept_plain, kept_fused = (saved_for_backward(partial(net, images), net) for net in (plain, fused))
    assert kept_fused < 0.55 * kept_plain  # measured: 0.51


@pytest.mark.parametrize("name", [name for name in CANDIDATES if name != "none"])
def test_one_candidate_everywhere(name):
    torch.manual_seed(1)
    mask = Mask("darts", {kind: [[name]] * NUM_EDGES for kind in ("normal", "reduce")})
    plain, fused = make_pair(SMALL, mask, partial_channels=2)
    batch = make_batch()
    assert_same(backward(fused, *batch), backward(plain, *batch))
    assert_same(fused.state_dict(), plain.state_dict())


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_mixing_of_the_caller(partial_channels):
    torch.manual_seed(2)
    plain, fused = make_pair(SMALL, partial_channels=partial_channels)
    images, _ = make_batch()
    mixing = {
        kind: weights._replace(operations=tuple(torch.randn_like(w) for w in weights.operations))
        for kind, weights in plain.mixing().items()
    }
    logits = plain(images, mixing)
    assert_same({"logits": fused(images, mixing)}, {"logits": logits})
    assert not torch.allclose(logits, plain(images))


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_gradients_of_the_architecture_alone(recompute):
    torch.manual_seed(3)
    plain, fused = make_pair(SMALL, Mask.random(SMALL, 0.5, seed=3), partial_channels=2, recompute=recompute)
    images, labels = make_batch()
    wanted, found = (
        torch.autograd.grad(F.cross_entropy(supernet(images), labels), supernet.architecture_parameters())
        for supernet in (plain, fused)
    )
    assert_same(dict(enumerate(found)), dict(enumerate(wanted)))


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_frozen_weights(recompute):
    torch.manual_seed(3)
    plain, fused = make_pair(SMALL, Mask.random(SMALL, 0.5, seed=3), partial_channels=2, recompute=recompute)
    images, labels = make_batch()
    for supernet in (plain, fused):
        for parameter in supernet.weight_parameters():
            parameter.requires_grad_(False)
        F.cross_entropy(supernet(images), labels).backward()
    wanted, found = (dict(enumerate(p.grad for p in s.architecture_parameters())) for s in (plain, fused))
    assert_same(found, wanted)
    assert all(parameter.grad is None for parameter in fused.weight_parameters())


@pytest.mark.parametrize("recompute", RECOMPUTE)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("ratio", [0.5, 1])
def test_gradients_of_the_mixing_alone_without_running_statistics(ratio, training, recompute):
    torch.manual_seed(3)
    mask = Mask.random(SMALL, ratio, seed=3)
    networks = make_pair(SMALL, mask, partial_channels=2, recompute=recompute)
    images, _ = make_batch()
    found = []
    for supernet in networks:
        replace_all_batch_norm_modules_(supernet)
        supernet.requires_grad_(False).train(training)
        mixing = {
            kind: weights._replace(operations=tuple(w.requires_grad_() for w in weights.operations))
            for kind, weights in supernet.mixing().items()
        }
        vectors = [w for weights in mixing.values() for w in weights.operations]
        logits = supernet(images, mixing)
        gradients = torch.autograd.grad(logits.square().sum(), vectors)
        found.append({"logits": logits.detach(), **{str(i): g for i, g in enumerate(gradients)}})
        assert not any("running" in name for name in supernet.state_dict())
    assert_same(found[1], found[0])


def test_frozen_weights_cost_no_gradients_of_weights():
    """Of convolutions that one weight serves only the gradients of what they read are left."""
    _, fused = make_pair(SMALL, partial_channels=2, dtype=torch.float32)
    masks = {}
    for frozen in (False, True):
        for parameter in fused.weight_parameters():
            parameter.requires_grad_(not frozen)
        output = fused(make_batch(dtype=torch.float32)[0]).sum()
        with WeightGradients() as counted:
            output.backward()
        masks[frozen] = counted.number
    # Kernels that depend on alpha: of the mixtures, and of what passes by.
    kernels_of_mixtures = 2 * sum(isinstance(module, Fan) for module in fused.modules())
    pointwise_of_pairs = sum(
        any(isinstance(family, Separable) and family.middle for family in module.mixture.families)
        for module in fused.modules()
        if isinstance(module, Fan)
    )
    assert masks[True] <= kernels_of_mixtures + pointwise_of_pairs < masks[False]


class WeightGradients(TorchDispatchMode):
    """Counts the gradients of convolutions' weights."""

    number = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.convolution_backward.default:
            self.number += args[-1][1]
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("training", [True, False])
def test_some_batch_norms_without_running_statistics(training):
    torch.manual_seed(3)
    space = SomeTracked(init_channels=4, num_cells=3)
    plain, fused = make_pair(space)
    fill_statistics(plain)
    fused.load_state_dict(plain.state_dict())
    batch = make_batch()
    assert_same(backward(fused.train(training), *batch), backward(plain.train(training), *batch))
    assert_same(fused.state_dict(), plain.state_dict())


class SomeTracked(DartsSpace):
    def operation(self, name, edge, *, search):
        operation = super().operation(name, edge, search=search)
        return replace_all_batch_norm_modules_(operation) if name == "sep_conv_3x3" else operation


@pytest.mark.parametrize("recompute", RECOMPUTE)
def test_without_gradients_in_training_mode(recompute):
    torch.manual_seed(4)
    plain, fused = make_pair(SMALL, partial_channels=2, recompute=recompute)
    images, _ = make_batch()
    before = copy.deepcopy(fused.state_dict())
    with torch.no_grad():
        assert_same({"logits": fused(images)}, {"logits": plain(images)})
    assert_same(fused.state_dict(), plain.state_dict())
    assert not torch.equal(fused.state_dict()["stem.bn.running_mean"], before["stem.bn.running_mean"])
    assert all(int(v) == 1 for name, v in fused.state_dict().items() if name.endswith("num_batches_tracked"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memory_format_of_the_images_does_not_matter(dtype):
    torch.manual_seed(5)
    _, fused = make_pair(SMALL, partial_channels=2, dtype=dtype)
    images, labels = make_batch(dtype=dtype)
    wanted = backward(fused, images, labels)
    found = backward(fused, images.contiguous(memory_format=torch.channels_last), labels)
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equal_in_either_memory_format(memory_format):
    torch.manual_seed(6)
    plain, fused = make_pair(SMALL, partial_channels=2)
    fused._memory_format = lambda device: memory_format
    batch = torch.randn(5, 3, 9, 6, dtype=torch.float64), torch.randint(10, (5,))
    assert_same(backward(fused, *batch), backward(plain, *batch))


@pytest.mark.parametrize("recompute", RECOMPUTE)
@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_one_value_per_channel_is_refused_in_training_mode(engine, recompute):
    supernet = build_supernet(SMALL, engine=engine, recompute=recompute)
    images = torch.randn(1, 3, 4, 4)  # 1x1 after two reductions
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        supernet(images)
    assert supernet.eval()(images).isfinite().all()


# --- state


@pytest.mark.parametrize("partial_channels", [1, 4])
def test_weights_load_either_way(partial_channels):
    torch.manual_seed(7)
    mask = Mask.random(SMALL, 0.5, seed=7)
    plain = build_supernet(SMALL, mask, partial_channels=partial_channels)
    fused = build_supernet(SMALL, mask, partial_channels=partial_channels, engine="fused")
    assert {name: tensor.shape for name, tensor in fused.state_dict().items()} == {
        name: tensor.shape for name, tensor in plain.state_dict().items()
    }
    assert [name for name, _ in fused.named_parameters()] == [name for name, _ in plain.named_parameters()]
    images = torch.randn(3, 3, 8, 8)
    for source, target in ((plain, fused), (fused, plain)):
        fill_statistics(source)
        with torch.no_grad():
            for parameter in source.parameters():
                parameter.normal_()
        target.load_state_dict(source.state_dict(), strict=True)
        torch.testing.assert_close(target.eval()(images), source.eval()(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ratio", [0.5, 1])
@pytest.mark.parametrize(("recompute", "partial_channels"), [("none", 1), ("cells", 2)])
def test_eval_mode_with_statistics_that_differ_between_edges(recompute, partial_channels, ratio):
    torch.manual_seed(8)
    mask = Mask.random(SMALL, ratio, seed=8)
    plain, fused = make_pair(SMALL, mask, partial_channels=partial_channels, recompute=recompute)
    fill_statistics(plain)
    fused.load_state_dict(plain.state_dict())
    batch = make_batch()
    assert_same(backward(fused.eval(), *batch), backward(plain.eval(), *batch))
    assert_same(fused.state_dict(), plain.state_dict())


@pytest.mark.parametrize(
    ("recompute", "early_stop"), [("none", True), ("nodes", True), ("cells", True), ("nodes", False), ("cells", False)]
)
def test_statistics_that_differ_between_edges_are_updated_once_each(recompute, early_stop):
    torch.manual_seed(9)
    plain, fused = make_pair(SMALL, partial_channels=2, recompute=recompute)
    fill_statistics(plain)
    fused.load_state_dict(plain.state_dict())
    batch = make_batch()
    backward(plain, *batch)
    with set_checkpoint_early_stop(early_stop):  # False: the second pass runs to its end
        backward(fused, *batch)
    assert_same(fused.state_dict(), plain.state_dict())


def test_a_copy_is_independent():
    torch.manual_seed(10)
    _, original = make_pair(SMALL, partial_channels=2)
    duplicate = copy.deepcopy(original)
    before = copy.deepcopy(original.state_dict())
    batches = [make_batch() for _ in range(2)]
    trained = train(duplicate, batches)
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    assert not torch.equal(duplicate.alpha["normal"], original.alpha["normal"])
    assert_same(train(original, batches)[1], trained[1])
    assert_same(original.state_dict(), duplicate.state_dict())


def test_saved_and_loaded():
    torch.manual_seed(11)
    mask = Mask.random(SMALL, 0.5, seed=11)
    _, fused = make_pair(SMALL, mask)
    train(fused, [make_batch()])
    file = io.BytesIO()
    torch.save(fused.state_dict(), file)
    file.seek(0)
    loaded = build_supernet(SMALL, mask, engine="fused").double()
    loaded.load_state_dict(torch.load(file), strict=True)
    batch = make_batch()
    wanted = backward(fused, *batch)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in backward(loaded, *batch).items())
    assert torch.equal(loaded.eval()(batch[0]), fused.eval()(batch[0]))


# --- what it saves


def test_saved_for_backward():
    space, images = DartsSpace(init_channels=8, num_cells=3), torch.randn(8, 3, 16, 16)
    for seed in range(3):
        mask = Mask.random(space, 0.5, seed)
        kept = {}
        for engine, recompute in (("plain", "none"), *(("fused", mode) for mode in RECOMPUTE)):
            supernet = build_supernet(space, mask, partial_channels=4, engine=engine, recompute=recompute)
            kept[engine, recompute] = saved_for_backward(lambda s=supernet: s(images), supernet)
        # measured: 0.31, 0.13 and 0.07 of the plain engine
        assert kept["fused", "none"] < 0.45 * kept["plain", "none"]
        assert kept["fused", "nodes"] < 0.6 * kept["fused", "none"]
        assert kept["fused", "cells"] <= kept["fused", "nodes"]


class Calls(TorchDispatchMode):
    """Counts the calls of pools of 3x3 pixels."""

    def __init__(self):
        super().__init__()
        self.number = {"max_pool_3x3": 0, "avg_pool_3x3": 0}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        pools = {
            torch.ops.aten.max_pool2d_with_indices.default: "max_pool_3x3",
            torch.ops.aten.avg_pool2d.default: "avg_pool_3x3",
        }
        if function in pools and list(args[1]) == [3, 3]:
            self.number[pools[function]] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("ratio", [0.5, 1])
@pytest.mark.parametrize("partial_channels", [1, 4])
def test_pools_run_once_a_source_and_none_never(partial_channels, ratio):
    space = DartsSpace(init_channels=4, num_cells=4)
    mask = Mask.random(space, ratio, seed=12)
    num_zeros = 0

    def count_zero(*_):
        nonlocal num_zeros
        num_zeros += 1

    calls = {}
    for engine in ("plain", "fused"):
        supernet = build_supernet(space, mask, partial_channels=partial_channels, engine=engine)
        for module in supernet.modules():
            if isinstance(module, Zero):
                module.register_forward_hook(count_zero)
        with Calls() as counted:
            supernet(torch.randn(2, 3, 8, 8))
        calls[engine], num_zeros = {**counted.number, "none": num_zeros}, 0

    kinds = ("normal", "reduce", "reduce", "normal")
    edges = {
        name: [(cell, e) for cell, kind in enumerate(kinds) for e, kept in enumerate(mask.kept[kind]) if name in kept]
        for name in ("max_pool_3x3", "avg_pool_3x3", "none")
    }
    sources = {name: {(cell, SOURCES[e]) for cell, e in places} for name, places in edges.items()}
    assert calls["plain"] == {name: len(places) for name, places in edges.items()}
    assert calls["fused"] == {name: 0 if name == "none" else len(places) for name, places in sources.items()}


# --- what it does not know


class OwnOperation(DartsSpace):
    """One operation is not of the package; it has weights, and statistics of its own."""

    def operation(self, name, edge, *, search):
        if name == "dil_conv_5x5":
            return nn.Sequential(
                nn.Conv2d(edge.channels, edge.channels, 3, edge.stride, 1),
                nn.BatchNorm2d(edge.channels, momentum=0.3),
                nn.Tanh(),
            )
        return super().operation(name, edge, search=search)


class AffineNorms(DartsSpace):
    def operation(self, name, edge, *, search):
        if name.startswith("sep_conv"):
            return SepConv(edge.channels, int(name[-1]), edge.stride, affine=True)
        return super().operation(name, edge, search=search)


class UnusualNorms(DartsSpace):
    def operation(self, name, edge, *, search):
        operation = super().operation(name, edge, search=search)
        for norm in operation.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps, norm.momentum = {"avg_pool_3x3": (0.1, 0.1), "dil_conv_3x3": (1e-5, 0.5)}.get(
                    name, (norm.eps, norm.momentum)
                )
        return operation


class NothingKnown(DartsSpace):
    def operation(self, name, edge, *, search):
        if name in ("none", "skip_connect"):
            return super().operation(name, edge, search=search)
        return nn.Sequential(
            nn.Conv2d(edge.channels, edge.channels, 3, edge.stride, 1), nn.BatchNorm2d(edge.channels), nn.Tanh()
        )


class OwnPreprocessing(DartsSpace):
    """Cells read their inputs through affine batch norms."""

    def skeleton(self, *, search, **options):
        skeleton = super().skeleton(search=search, **options)
        layers = [
            dataclasses.replace(plan, preprocess=tuple(map(self._affine, plan.preprocess))) for plan in skeleton.layers
        ]
        return dataclasses.replace(skeleton, layers=layers)

    @staticmethod
    def _affine(module):
        if isinstance(module, FactorizedReduce):
            return FactorizedReduce(module.conv_1.in_channels, module.bn.num_features, affine=True)
        return ReLUConvBN(module[1].in_channels, module[1].out_channels, affine=True)


@pytest.mark.parametrize("space", [OwnOperation, AffineNorms, UnusualNorms, NothingKnown, OwnPreprocessing])
@pytest.mark.parametrize(("recompute", "partial_channels"), [("none", 1), ("nodes", 2), ("cells", 2)])
def test_other_operations_and_norms(space, recompute, partial_channels):
    torch.manual_seed(13)
    space = space(init_channels=4, num_cells=3)
    mask = Mask.random(space, 0.5, seed=13)
    plain, fused = make_pair(space, mask, recompute=recompute, partial_channels=partial_channels)
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if parameter.dim() == 1 and not name.startswith(("alpha", "beta")):  # scale and shift
                parameter.add_(torch.randn_like(parameter) / 4)
    fused.load_state_dict(plain.state_dict())
    batches = [make_batch() for _ in range(2)]
    for found, wanted in zip(train(fused, batches), train(plain, batches), strict=True):
        assert_same(found, wanted)
    assert_same(fused.state_dict(), plain.state_dict())
    images, _ = batches[0]
    assert_same({"logits": fused.eval()(images)}, {"logits": plain.eval()(images)})


# --- bf16


def mixed_precision(supernet, images, labels, *, backward_inside):
    """Logits and gradients under autocast."""
    supernet.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = supernet(images)
        loss = F.cross_entropy(logits, labels)
        if backward_inside:
            loss.backward()
    if not backward_inside:
        loss.backward()
    return {"logits": logits.detach(), **{name: p.grad for name, p in supernet.named_parameters()}}


def distance(found, wanted):
    """Mean over tensors of |found - wanted| / |wanted|."""
    errors = [
        (found[name].float() - tensor).norm() / tensor.norm() for name, tensor in wanted.items() if tensor.norm() > 1e-6
    ]
    return torch.stack(errors).mean().item()


@pytest.mark.parametrize("backward_inside", [False, True])
@pytest.mark.parametrize(("recompute", "partial_channels"), [("none", 1), ("none", 4), ("cells", 4)])
def test_bf16_is_as_near_to_float32_as_the_plain_engine(recompute, partial_channels, backward_inside):
    torch.manual_seed(14)
    space = DartsSpace(init_channels=8, num_cells=3)
    mask = Mask.random(space, 0.5, seed=14)
    plain, fused = make_pair(space, mask, recompute=recompute, partial_channels=partial_channels, dtype=torch.float32)
    batch = make_batch(8, 16, torch.float32)
    wanted = backward(plain, *batch)
    textbook = mixed_precision(plain, *batch, backward_inside=backward_inside)
    found = mixed_precision(fused, *batch, backward_inside=backward_inside)
    assert all(tensor.isfinite().all() for tensor in found.values())
    assert all(parameter.grad.dtype == torch.float32 for parameter in fused.parameters())
    assert distance(found, wanted) < 2 * distance(textbook, wanted)
    torch.testing.assert_close(found["logits"].float(), wanted["logits"], rtol=0, atol=0.1)
