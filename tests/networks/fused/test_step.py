"""Each step against autograd of what it stands for, in float64, and what each keeps."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn import functional as F

from halfnas.memory import SavedTensors
from halfnas.networks.fused.backward import MixtureStep
from halfnas.networks.fused.batch_norms import EPS
from halfnas.networks.fused.convolutions import Geometry, depthwise, depthwise_backward, pointwise
from halfnas.networks.fused.fan import Fan
from halfnas.networks.fused.fold import fold_, fold_backward
from halfnas.networks.fused.parts import relu_of_parts
from halfnas.networks.fused.passages import shuffled_places
from halfnas.networks.fused.preprocess import ReluConvNorm, preprocessed
from halfnas.networks.fused.sorting import Candidate
from halfnas.spaces import EdgePlan
from halfnas.spaces.operations import DARTS_OPERATIONS, FactorizedReduce, ReLUConvBN

FORMATS = [torch.contiguous_format, torch.channels_last]
GEOMETRIES = {
    "3x3": (3, Geometry(1, 1, 1)),
    "5x5": (5, Geometry(1, 2, 1)),
    "3x3, stride 2": (3, Geometry(2, 1, 1)),
    "5x5, stride 2": (5, Geometry(2, 2, 1)),
    "3x3, dilation 2": (3, Geometry(1, 2, 2)),
    "5x5, dilation 2": (5, Geometry(1, 4, 2)),
    "3x3, stride and dilation 2": (3, Geometry(2, 2, 2)),
    "5x5, stride and dilation 2": (5, Geometry(2, 4, 2)),
}

each_format = pytest.mark.parametrize("memory_format", FORMATS, ids=["contiguous", "channels_last"])
each_size = pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 2)])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normal(*shape, memory_format=torch.contiguous_format, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()


def assert_close(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def bytes_kept(function, leave_out=()):
    with SavedTensors(leave_out) as saved:
        output = function()
    assert output.requires_grad
    return saved.num_bytes


def num_bytes(*tensors):
    return sum(tensor.nbytes for tensor in tensors)


# --- convolutions


@each_format
@each_size
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("needed", [(True, True), (True, False), (False, True)])
def test_depthwise_backward(needed, geometry, size, memory_format):
    kernel_size, geometry = GEOMETRIES[geometry]
    x, weight = normal(2, 6, *size, memory_format=memory_format), normal(6, 1, kernel_size, kernel_size)
    output = depthwise(x, weight, geometry)
    cotangent = torch.randn_like(output)
    wanted = torch.autograd.grad(output, [x, weight], cotangent)
    found = depthwise_backward(cotangent, x.detach(), weight.detach(), geometry, needed)
    for gradient, expected, is_needed in zip(found, wanted, needed, strict=True):
        assert (gradient is not None) == is_needed
        if is_needed:
            torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)


@each_format
@pytest.mark.parametrize("channels", [(4,), (2, 3, 1)])
def test_relu_of_parts(channels, memory_format):
    parts = [normal(3, c, 5, 4, memory_format=memory_format).detach() for c in channels]
    found = relu_of_parts(parts, torch.float32)
    assert torch.equal(found, torch.cat(parts, dim=1).relu().float())
    assert found.is_contiguous(memory_format=memory_format)


# --- batch norms


def textbook_norm(features, linear):
    """Batch norm of the 1x1 convolution of every block."""
    blocks = features.split(linear.shape[2], dim=1)
    products = [F.conv2d(block, a[..., None, None]) for block, a in zip(blocks, linear, strict=True)]
    return torch.cat([F.batch_norm(z, None, None, training=True, eps=EPS) for z in products], dim=1)


def folded_norm(features, linear):
    """The same from the folded maps, by autograd."""
    centred = features * 1
    fold, _ = fold_(centred, linear, torch.eye(linear.shape[1], dtype=linear.dtype))
    return pointwise(centred, fold.folded)


@each_format
@each_size
@pytest.mark.parametrize(("outputs", "width"), [(3, 3), (1, 1), (2, 3)])
def test_fold_is_a_batch_norm(outputs, width, size, memory_format):
    inputs = [normal(3, 2 * width, *size, memory_format=memory_format), normal(2, outputs, width)]
    found, wanted = folded_norm(*inputs), textbook_norm(*inputs)
    cotangent = torch.randn_like(wanted)
    assert_close([found], [wanted])
    assert_close(*(torch.autograd.grad(output, inputs, cotangent) for output in (found, wanted)))


@each_format
def test_moments_of_fold(memory_format):
    features, linear = normal(3, 6, 5, 4, memory_format=memory_format).detach(), normal(2, 2, 3).detach()
    z = [F.conv2d(b, a[..., None, None]) for b, a in zip(features.split(3, 1), linear, strict=True)]
    z = torch.cat(z, dim=1)
    _, (mean, variance, positions) = fold_(features.clone(), linear, torch.eye(2, dtype=torch.float64))
    assert positions == 3 * 5 * 4
    torch.testing.assert_close(mean.flatten(), z.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance.flatten(), z.var(dim=(0, 2, 3), correction=0) + EPS)


@pytest.mark.parametrize("needs_linear", [True, False])
def test_fold_backward(needs_linear):
    features, linear = normal(3, 6, 5, 4), normal(2, 3, 3)
    centred = features * 1
    fold, moments = fold_(centred, linear, torch.eye(3, dtype=torch.float64))
    cotangent = torch.randn_like(fold.folded)
    wanted = torch.autograd.grad(fold.folded, [features, linear], cotangent, retain_graph=True)
    with torch.no_grad():
        grad_linear, quadratic = fold_backward(cotangent, fold, moments.positions, needs_linear=needs_linear)
        torch.testing.assert_close(pointwise(centred, quadratic), wanted[0], rtol=1e-10, atol=1e-10)
    if needs_linear:
        torch.testing.assert_close(grad_linear, wanted[1], rtol=1e-10, atol=1e-10)
    else:
        assert grad_linear is None


@each_format
def test_fold_is_as_accurate_as_batch_norm(memory_format):
    wide = (100 + torch.randn(8, 8, 16, 16, dtype=torch.float64)).contiguous(memory_format=memory_format)
    linear = torch.randn(2, 4, 4, dtype=torch.float64) / 2
    cotangent = torch.randn(8, 8, 16, 16, dtype=torch.float64)

    def run(function, dtype):
        inputs = [wide.to(dtype).requires_grad_(), linear.to(dtype).requires_grad_()]
        output = function(*inputs)
        return [output.detach(), *torch.autograd.grad(output, inputs, cotangent.to(dtype))]

    exact, textbook, folded = (
        run(textbook_norm, torch.float64),
        run(textbook_norm, torch.float32),
        run(folded_norm, torch.float32),
    )
    for right, usual, found in zip(exact, textbook, folded, strict=True):
        assert (found - right).abs().max() <= 10 * (usual - right).abs().max()
        assert (found - right).norm() < 1e-2 * right.norm()


# --- preprocessing


@each_format
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (3, 4)])
@pytest.mark.parametrize(
    "module",
    [
        ReLUConvBN(6, 4, affine=False),
        ReLUConvBN(6, 4, 1, 2, affine=False),
        ReLUConvBN(6, 4, 3, affine=False),
        FactorizedReduce(6, 4, affine=False),
    ],
    ids=["1x1", "1x1, stride 2", "3x3", "FactorizedReduce"],
)
@pytest.mark.parametrize("channels", [(6,), (2, 3, 1)])
def test_preprocessed(channels, module, size, memory_format):
    module = module.double()
    inputs = [normal(3, c, *size, memory_format=memory_format) for c in channels] + list(module.parameters())
    found, norm, moments = preprocessed(module, inputs[: len(channels)])
    wanted = module(torch.cat(inputs[: len(channels)], dim=1))
    cotangent = torch.randn_like(wanted)
    assert_close([found], [wanted])
    assert_close(*(torch.autograd.grad(output, inputs, cotangent) for output in (found, wanted)))
    assert any(norm is part for part in module.modules())
    assert moments.positions == found.numel() // 4
    assert not moments.mean.requires_grad
    assert not moments.variance.requires_grad


def test_preprocessed_gradcheck():
    inputs = [normal(4, 3, 1, 1), normal(2, 2, 3, 2), normal(2, 1, 3, 2)]
    assert gradcheck(lambda *inputs: ReluConvNorm.run(Geometry(), 1, *inputs)[0], inputs)


def test_preprocessed_keeps_parts_and_output():
    module = ReLUConvBN(6, 4, affine=False)
    parts = [normal(2, 3, 8, 8, dtype=torch.float32) for _ in range(2)]
    kept = bytes_kept(lambda: preprocessed(module, parts)[0], [*module.parameters(), *parts])
    assert kept == num_bytes(torch.empty(2, 4, 8, 8)) + 4 * 4  # and the scale of 4 channels


# --- fans


NAMES = ("max_pool_3x3", "avg_pool_3x3", "skip_connect", "sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def make_fan(stride=1, partial_channels=2, num_targets=3, num_complete=1, recompute=False, names=NAMES, bare=False):
    """A fan of 4 channels with every candidate on two edges, or in turn on one."""
    width = 4 // partial_channels
    candidates, weight = {}, 0
    for name in names:
        candidates[name] = []
        for target in (0, 2) if name.startswith("sep") or weight % 2 else (1,):
            operation = DARTS_OPERATIONS[name](EdgePlan(width, width, stride), True)
            candidates[name].append(Candidate(operation, weight, target % num_targets))
            weight += 1
    if bare:
        candidates["avg_pool"] = [Candidate(nn.AvgPool2d(3, stride, 1, count_include_pad=False), weight, 0)]
        weight += 1
    bypass = nn.Identity() if stride == 1 or partial_channels == 1 else nn.MaxPool2d(2, stride=2, ceil_mode=True)
    fan = Fan(
        candidates,
        [(weight + target, target) for target in range(num_targets)],
        num_targets=num_targets,
        num_complete=num_complete,
        num_weights=weight + num_targets,
        channels=4,
        partial_channels=partial_channels,
        bypass=bypass,
        recompute=recompute,
    ).double()
    scalars = (torch.randn(weight + num_targets, dtype=torch.float64) @ fan.routes.double()).requires_grad_()
    weights = [torch.cat([w.detach().double().flatten() for w in stack]) for stack in fan.weights()]
    shapes = [stack[0].shape[1:] for stack in fan.weights()]
    weights = [w.view(-1, *shape).requires_grad_() for w, shape in zip(weights, shapes, strict=True)]
    return SimpleNamespace(fan=fan, mixture=fan.mixture, scalars=scalars, weights=weights)


@each_format
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"partial_channels": 1},
        {"stride": 2},
        {"stride": 2, "partial_channels": 1},
        {"num_targets": 1, "num_complete": 1},
        {"num_complete": 0},
        {"num_complete": 2},
        {"bare": True},
        {"partial_channels": 1, "bare": True, "names": ("skip_connect", "sep_conv_3x3")},
        {"names": ("skip_connect",)},
        {"names": ("sep_conv_5x5",), "partial_channels": 1},
        {"names": ("max_pool_3x3", "dil_conv_3x3")},
    ],
    ids=str,
)
@pytest.mark.parametrize("with_sums", [False, True])
def test_backward_pass_of_a_fan_is_that_of_autograd(with_sums, options, recompute, size, memory_format):
    made = make_fan(recompute=recompute, **options)
    state = normal(3, 4, *size, memory_format=memory_format)
    inputs = [state, made.scalars, *made.weights]
    sums = None
    if with_sums:
        stride = options.get("stride", 1)
        shape = 3, 4 * made.fan.num_targets, *(-(-length // stride) for length in size)
        sums = normal(*shape, memory_format=memory_format)
        inputs.append(sums)
    wanted = MixtureStep.compute(made.mixture, sums, state, made.scalars, *made.weights)
    found = MixtureStep.apply(made.mixture, sums, state, made.scalars, *made.weights)
    assert_close(found, wanted)
    num_pieces = len(made.mixture.piece_sizes)
    cotangents = [torch.randn_like(piece) for piece in wanted[:num_pieces]]
    assert_close(*(torch.autograd.grad(pieces[:num_pieces], inputs, cotangents) for pieces in (found, wanted)))
    assert not any(statistic.requires_grad for statistic in found[num_pieces:])


def test_gradients_of_a_fan_that_nobody_needs_or_reads():
    made = make_fan()
    state = normal(3, 4, 6, 6)
    pieces = MixtureStep.apply(made.mixture, None, state, made.scalars, *(w.detach() for w in made.weights))
    wanted = MixtureStep.compute(made.mixture, None, state, made.scalars, *made.weights)
    for i in range(2):  # of one piece alone
        found, expected = (
            torch.autograd.grad(outputs[i].pow(2).sum(), [state, made.scalars], retain_graph=True)
            for outputs in (pieces, wanted)
        )
        assert_close(found, expected)
    weights_alone = MixtureStep.apply(made.mixture, None, state.detach(), made.scalars.detach(), *made.weights)
    found, expected = (
        torch.autograd.grad(outputs[0].pow(2).sum(), made.weights) for outputs in (weights_alone, wanted)
    )
    assert_close(found, expected)


def test_a_fan_keeps_state_and_maps():
    made = make_fan(names=("dil_conv_3x3", "dil_conv_5x5"), num_complete=3, num_targets=3)
    state = normal(2, 4, 16, 16)
    ignored = [made.scalars, *made.weights]
    kept = bytes_kept(lambda: MixtureStep.apply(made.mixture, None, state, made.scalars, *made.weights)[0], ignored)
    num_maps = len(made.mixture.norms)
    small = num_maps * 3 * (2 * 2) * 8  # of the fold
    assert num_bytes(state) * (1 + num_maps / 2) <= kept <= num_bytes(state) * (1 + num_maps / 2) + small
    made.mixture.recompute = True
    again = bytes_kept(lambda: MixtureStep.apply(made.mixture, None, state, made.scalars, *made.weights)[0], ignored)
    assert again == num_bytes(state)


def test_shuffled_places():
    x = torch.arange(12)
    shuffled = x.unflatten(0, (3, 4)).transpose(0, 1).flatten()  # 3 groups of 4, see PartialMixedOperation
    assert torch.equal(torch.empty_like(x).scatter(0, torch.tensor(shuffled_places(12, 4)), x), shuffled)


# --- autocast


@each_format
@pytest.mark.parametrize("backward_inside", [False, True])
def test_gradients_under_autocast_have_the_dtype_of_the_inputs(backward_inside, memory_format):
    made = make_fan()
    state = normal(8, 4, 6, 6, memory_format=memory_format)
    weight = normal(4, 4, 1, 1)

    def run(state, weight, scalars, *weights):
        x = ReluConvNorm.run(Geometry(), 1, weight, state)[0]
        return sum(
            piece.float().pow(2).sum() for piece in MixtureStep.run(made.mixture, None, x, scalars, *weights)[:2]
        )

    inputs = [state, weight, made.scalars, *made.weights]
    wanted = torch.autograd.grad(run(*inputs), inputs)
    made.fan.float()
    narrow = [tensor.detach().float().requires_grad_() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(*narrow)
    with torch.autocast("cpu", torch.bfloat16) if backward_inside else nullcontext():
        found = torch.autograd.grad(loss, narrow)
    for gradient, expected in zip(found, wanted, strict=True):
        assert gradient.dtype == torch.float32
        assert (gradient - expected).norm() < 0.1 * expected.norm() + 1e-3
