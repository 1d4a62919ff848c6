"""Each function against autograd of what it stands for, in float64, and what each keeps."""

from contextlib import nullcontext

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn import functional as F

from halfnas.memory import SavedTensors
from halfnas.networks.batch_norms import fold_batch_norm, standardize
from halfnas.networks.convolutions import Geometry, pointwise_relu_depthwise, relu_conv, relu_depthwise

EPS = 1e-3
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
each_geometry = pytest.mark.parametrize("geometry", GEOMETRIES)
each_size = pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 2)])


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def normal(*shape, memory_format=torch.contiguous_format, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()


def as_tuple(outputs):
    return (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)


def compare(function, textbook, inputs):
    """Outputs, and gradients with respect to all inputs, are those of the textbook."""
    found, wanted = as_tuple(function(*inputs)), as_tuple(textbook(*inputs))
    assert len(found) == len(wanted)
    for output, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(output, expected, rtol=1e-10, atol=1e-10)
    cotangents = [torch.randn_like(output) for output in wanted]
    found, wanted = (torch.autograd.grad(outputs, inputs, cotangents) for outputs in (found, wanted))
    for gradient, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-10)
        assert expected.abs().max() > 1e-6  # not compared in vain


def bytes_kept(function, inputs, leave_out=()):
    with SavedTensors(leave_out) as saved:
        outputs = function(*inputs)
    assert as_tuple(outputs)[0].requires_grad
    return saved.num_bytes


def num_bytes(*tensors):
    return sum(tensor.nbytes for tensor in tensors)


# --- relu_conv


@each_format
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (3, 4)])
@pytest.mark.parametrize(("kernel_size", "stride", "padding"), [(1, 1, 0), (1, 2, 0), (2, 2, 0), (3, 1, 1)])
@pytest.mark.parametrize("channels", [(4,), (2, 3, 1)])
def test_relu_conv(channels, kernel_size, stride, padding, size, memory_format):
    weight = normal(5, sum(channels), kernel_size, kernel_size)
    parts = [normal(3, c, *size, memory_format=memory_format) for c in channels]
    compare(
        lambda weight, *parts: relu_conv(parts, weight, stride, padding),
        lambda weight, *parts: F.conv2d(torch.cat(parts, dim=1).relu(), weight, stride=stride, padding=padding),
        [weight, *parts],
    )


def test_relu_conv_keeps_its_parts():
    weight, parts = normal(4, 6, 1, 1), [normal(2, 3, 8, 8) for _ in range(2)]
    kept = bytes_kept(lambda *parts: relu_conv(parts, weight), parts, [weight])
    assert kept == num_bytes(*parts)
    assert bytes_kept(lambda *parts: relu_conv(parts, weight), parts, [weight, *parts]) == 0
    textbook = bytes_kept(lambda *parts: F.conv2d(torch.cat(parts, dim=1).relu(), weight), parts, [weight, *parts])
    assert textbook == num_bytes(*parts)  # what the convolution read exists for its sake


# --- relu_depthwise


def textbook_relu_depthwise(geometries):
    """Filter by filter: [n * C, 1, k, k] is n filters a channel, one after the other for all channels."""

    def function(x, *weights):
        channels = x.shape[1]
        return tuple(
            torch.cat([F.conv2d(x.relu(), w, None, *g, groups=channels) for w in weight.split(channels)], dim=1)
            for weight, g in zip(weights, geometries, strict=True)
        )

    return function


@each_format
@each_size
@each_geometry
@pytest.mark.parametrize("repeats", [1, 3])
def test_relu_depthwise(repeats, geometry, size, memory_format):
    kernel_size, geometry = GEOMETRIES[geometry]
    x = normal(2, 3, *size, memory_format=memory_format)
    weight = normal(repeats * 3, 1, kernel_size, kernel_size)
    compare(
        lambda x, weight: relu_depthwise(x, [weight], [geometry]),
        textbook_relu_depthwise([geometry]),
        [x, weight],
    )


@each_format
@pytest.mark.parametrize("stride", [1, 2])
def test_relu_depthwise_several_at_once(stride, memory_format):
    geometries = [Geometry(stride, 1, 1), Geometry(stride, 2, 1), Geometry(stride, 4, 2)]
    x = normal(3, 4, 7, 6, memory_format=memory_format)
    weights = [normal(n * 4, 1, k, k) for n, k in ((2, 3), (1, 5), (3, 5))]
    compare(
        lambda x, *weights: relu_depthwise(x, weights, geometries), textbook_relu_depthwise(geometries), [x, *weights]
    )


@each_format
def test_relu_depthwise_of_some_channels(memory_format):
    """With partial channels the state is a view."""
    whole = normal(3, 8, 5, 5, memory_format=memory_format)
    weight, geometry = normal(4, 1, 3, 3), [Geometry(1, 1, 1)]
    compare(
        lambda x, weight: relu_depthwise(x[:, :2], [weight], geometry),
        lambda x, weight: textbook_relu_depthwise(geometry)(x[:, :2], weight),
        [whole, weight],
    )


def test_relu_depthwise_gradcheck():
    x, weights = normal(2, 2, 4, 3), [normal(4, 1, 3, 3), normal(2, 1, 5, 5)]
    geometries = [Geometry(2, 2, 2), Geometry(1, 2, 1)]
    assert gradcheck(lambda x, *weights: relu_depthwise(x, weights, geometries), [x, *weights])


def test_relu_depthwise_keeps_its_input():
    geometries = [Geometry(1, 1, 1), Geometry(1, 4, 2)]
    x, weights = normal(2, 4, 8, 8), [normal(12, 1, 3, 3), normal(8, 1, 5, 5)]
    kept = bytes_kept(lambda *inputs: relu_depthwise(inputs[0], inputs[1:], geometries), [x, *weights], weights)
    assert kept == num_bytes(x)
    textbook = bytes_kept(textbook_relu_depthwise(geometries), [x, *weights], [x, *weights])
    assert textbook >= 5 * num_bytes(x)  # the ReLU of every edge


# --- pointwise_relu_depthwise


def textbook_pointwise_relu_depthwise(geometries):
    def function(x, linear, bias, *weights):
        width = linear.shape[1]
        blocks = [
            F.conv2d(block, a[..., None, None], b).relu()
            for block, a, b in zip(x.split(width, dim=1), linear, bias, strict=True)
        ]
        active = torch.cat(blocks, dim=1).split([len(weight) for weight in weights], dim=1)
        return tuple(
            F.conv2d(part, weight, None, *g, groups=len(weight))
            for part, weight, g in zip(active, weights, geometries, strict=True)
        )

    return function


@each_format
@each_size
@each_geometry
@pytest.mark.parametrize("width", [1, 3])
def test_pointwise_relu_depthwise(width, geometry, size, memory_format):
    kernel_size, geometry = GEOMETRIES[geometry]
    x = normal(2, 2 * width, *size, memory_format=memory_format)
    linear, bias = normal(2, width, width), normal(2, width)
    weight = normal(2 * width, 1, kernel_size, kernel_size)
    compare(
        lambda x, linear, bias, weight: pointwise_relu_depthwise(x, linear, bias, [weight], [geometry]),
        textbook_pointwise_relu_depthwise([geometry]),
        [x, linear, bias, weight],
    )


@each_format
def test_pointwise_relu_depthwise_shared_out(memory_format):
    geometries = [Geometry(1, 1, 1), Geometry(1, 2, 1)]
    x, linear, bias = normal(3, 9, 5, 6, memory_format=memory_format), normal(3, 3, 3), normal(3, 3)
    weights = [normal(6, 1, 3, 3), normal(3, 1, 5, 5)]
    compare(
        lambda x, linear, bias, *weights: pointwise_relu_depthwise(x, linear, bias, weights, geometries),
        textbook_pointwise_relu_depthwise(geometries),
        [x, linear, bias, *weights],
    )


def test_pointwise_relu_depthwise_gradcheck():
    inputs = [normal(2, 4, 3, 4), normal(2, 2, 2), normal(2, 2), normal(4, 1, 3, 3)]
    assert gradcheck(
        lambda x, linear, bias, weight: pointwise_relu_depthwise(x, linear, bias, [weight], [Geometry(1, 1, 1)]), inputs
    )


def test_pointwise_relu_depthwise_keeps_its_input():
    x, small = normal(2, 12, 8, 8), [normal(3, 4, 4), normal(3, 4), normal(12, 1, 3, 3)]
    geometries = [Geometry(1, 1, 1)]
    kept = bytes_kept(
        lambda x, linear, bias, weight: pointwise_relu_depthwise(x, linear, bias, [weight], geometries),
        [x, *small],
        small,
    )
    assert kept == num_bytes(x)
    textbook = bytes_kept(textbook_pointwise_relu_depthwise(geometries), [x, *small], small)
    assert textbook >= 2 * num_bytes(x)  # and what comes out of the 1x1 convolution


# --- standardize


@each_format
@pytest.mark.parametrize("size", [(6, 6), (5, 7), (1, 1)])
def test_standardize(size, memory_format):
    x = normal(3, 4, *size, memory_format=memory_format)
    compare(
        lambda x: standardize(3 * x + 2, EPS)[0],
        lambda x: F.batch_norm(3 * x + 2, None, None, training=True, eps=EPS),
        [x],
    )
    _, mean, variance = standardize(x, EPS)
    torch.testing.assert_close(mean, x.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance, x.var(dim=(0, 2, 3), correction=0))
    assert not mean.requires_grad
    assert not variance.requires_grad


def test_standardize_gradcheck():
    assert gradcheck(lambda x: standardize(x, 0.1)[0], [normal(2, 2, 3, 3)])


def test_standardize_keeps_its_output():
    x = normal(2, 4, 8, 8)
    with SavedTensors() as saved:
        y, _, _ = standardize(x * 1, EPS)
    assert saved.num_bytes == num_bytes(y) + 4 * 8  # and the scale of 4 channels


# --- fold_batch_norm


def textbook_norm(features, linear):
    """Batch norm of the 1x1 convolution of every block."""
    n, _, width = linear.shape
    blocks = features[:, : n * width].split(width, dim=1)
    return torch.cat(
        [
            F.batch_norm(F.conv2d(block, a[..., None, None]), None, None, training=True, eps=EPS)
            for block, a in zip(blocks, linear, strict=True)
        ],
        dim=1,
    )


def folded_norm(features, linear):
    """The same from the folded maps."""
    n, _, width = linear.shape
    folded, bias, _, _ = fold_batch_norm(features, linear, EPS)
    used = features[:, : n * width]
    return F.conv2d(used, folded.flatten(0, 1)[..., None, None].to(features.dtype), bias.flatten(), groups=n)


@each_format
@each_size
@pytest.mark.parametrize("unused", [0, 2])
@pytest.mark.parametrize(("outputs", "width"), [(3, 3), (1, 1), (2, 3)])
def test_fold_batch_norm(outputs, width, unused, size, memory_format):
    features = normal(3, (2 + unused) * width, *size, memory_format=memory_format)
    linear = normal(2, outputs, width)
    compare(folded_norm, textbook_norm, [features, linear])


@each_format
def test_unused_blocks_have_no_gradient(memory_format):
    features, linear = normal(2, 9, 4, 4, memory_format=memory_format), normal(2, 3, 3)
    folded, bias, _, _ = fold_batch_norm(features, linear, EPS)
    (gradient,) = torch.autograd.grad((folded**2).sum() + bias.sum(), [features])
    assert gradient[:, :6].abs().min() > 0
    assert not gradient[:, 6:].any()


def test_fold_batch_norm_gradcheck():
    features, linear = normal(2, 6, 3, 2), normal(2, 2, 2)
    assert gradcheck(lambda features, linear: fold_batch_norm(features, linear, 0.1)[:2], [features, linear])


@each_format
def test_statistics_of_fold_batch_norm(memory_format):
    features, linear = normal(3, 6, 5, 4, memory_format=memory_format), normal(2, 2, 3)
    _, _, mean, variance = fold_batch_norm(features, linear, EPS)
    z = torch.cat([F.conv2d(b, a[..., None, None]) for b, a in zip(features.split(3, 1), linear, strict=True)], dim=1)
    torch.testing.assert_close(mean.flatten(), z.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(variance.flatten(), z.var(dim=(0, 2, 3), correction=0))
    assert not mean.requires_grad
    assert not variance.requires_grad


def test_fold_batch_norm_keeps_its_features():
    features, linear = normal(2, 12, 16, 16), normal(2, 4, 4)
    kept = bytes_kept(lambda f, a: fold_batch_norm(f, a, EPS), [features, linear])
    assert num_bytes(features) <= kept <= num_bytes(features) + 8 * num_bytes(linear)
    textbook = bytes_kept(textbook_norm, [features, linear])
    assert textbook > 1.5 * num_bytes(features)  # and the 1x1 convolution of both blocks that have one


@each_format
def test_fold_batch_norm_is_as_accurate_as_batch_norm(memory_format):
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


# --- autocast


FUNCTIONS = {
    "relu_conv": (lambda x, a, b, w: relu_conv([x, x], torch.cat([a.flatten(0, 1)] * 2, 1)[..., None, None])),
    "relu_depthwise": lambda x, a, b, w: relu_depthwise(x, [w], [Geometry(1, 1, 1)])[0],
    "pointwise_relu_depthwise": lambda x, a, b, w: pointwise_relu_depthwise(x, a, b, [w], [Geometry(1, 1, 1)])[0],
    "standardize": lambda x, a, b, w: standardize(x, EPS)[0],
    "fold_batch_norm": lambda x, a, b, w: fold_batch_norm(x, a, EPS)[0],
}


@each_format
@pytest.mark.parametrize("backward_inside", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_under_autocast_have_the_dtype_of_the_inputs(name, backward_inside, memory_format):
    inputs = [normal(4, 4, 6, 6, memory_format=memory_format), normal(1, 4, 4), normal(1, 4), normal(4, 1, 3, 3)]
    wanted = torch.autograd.grad(FUNCTIONS[name](*inputs).pow(2).sum(), inputs, allow_unused=True)
    narrow = [tensor.detach().float().requires_grad_() for tensor in inputs]
    with torch.autocast("cpu", torch.bfloat16):
        loss = FUNCTIONS[name](*narrow).float().pow(2).sum()
    with torch.autocast("cpu", torch.bfloat16) if backward_inside else nullcontext():
        found = torch.autograd.grad(loss, narrow, allow_unused=True)
    for gradient, expected in zip(found, wanted, strict=True):
        assert (gradient is None) == (expected is None)
        if expected is not None:
            assert gradient.dtype == torch.float32
            assert (gradient - expected).norm() < 0.05 * expected.norm() + 1e-3


@pytest.mark.parametrize("name", FUNCTIONS)
def test_autocast_in_the_backward_pass_alone_changes_nothing(name):
    shapes = [(4, 4, 6, 6), (1, 4, 4), (1, 4), (4, 1, 3, 3)]
    inputs = [normal(*shape, dtype=torch.float32) for shape in shapes]
    loss = FUNCTIONS[name](*inputs).pow(2).sum()
    wanted = torch.autograd.grad(loss, inputs, allow_unused=True, retain_graph=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(loss, inputs, allow_unused=True)
    for gradient, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=0)
