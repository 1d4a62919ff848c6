import pytest
import torch
from torch import nn

from halfnas.networks import build_supernet
from halfnas.networks.fused.convolutions import Geometry
from halfnas.pruning.importance import initialize
from halfnas.pruning.stacked import StackedSupernet, _Depthwise, _normalized
from halfnas.spaces import DartsSpace, Mask, NASBench201Space
from halfnas.spaces.operations import ReLUConvBN

DARTS = DartsSpace(init_channels=2, num_cells=3, in_channels=1, num_classes=7)
NASBENCH = NASBench201Space(init_channels=2, num_cells=3, num_classes=5, in_channels=1)


class OwnOperations(DartsSpace):
    """With candidates and batch norms that the network knows nothing of."""

    def operation(self, name, edge, *, search):
        if name == "dil_conv_3x3":
            return nn.Sequential(
                nn.Conv2d(edge.channels, edge.channels, 3, edge.stride, padding=1, groups=2), nn.Tanh()
            )
        if name == "sep_conv_3x3":
            return ReLUConvBN(edge.channels, edge.channels, 3, edge.stride, affine=True)
        return super().operation(name, edge, search=search)


OWN = OwnOperations(init_channels=2, num_cells=3, in_channels=1, num_classes=7)


def both(space, *, num_batches=2, size=8, seed=3):
    """The stacked and the plain network with the same weights, and images."""
    images = torch.randn(num_batches, 4, 1, size, size, generator=torch.Generator().manual_seed(seed)).double()
    stacked = StackedSupernet(space, Mask.full(space), num_batches, images)
    plain = build_supernet(space)
    initialize(plain, torch.Generator().manual_seed(seed))
    stacked.draw(torch.Generator().manual_seed(seed))
    return stacked, plain.double().train().requires_grad_(False), images


def random_alphas(kept, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        kind: [torch.randn(len(names), generator=generator, dtype=torch.float64, requires_grad=True) for names in edges]
        for kind, edges in kept.items()
    }


def gradients(logits, alphas):
    coefficients = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits)
    flat = [alpha for edges in alphas.values() for alpha in edges]
    return torch.cat(torch.autograd.grad((logits * coefficients).sum(), flat))


def run_stacked(stacked, images, alphas, kept):
    weights = {kind: [alpha.softmax(dim=0) for alpha in edges] for kind, edges in alphas.items()}
    return stacked(images, weights, kept)


def run_plain(plain, images, alphas):
    """Each batch by itself."""
    flat = {f"alpha.{kind}": torch.cat(edges) for kind, edges in alphas.items()}
    return torch.cat([torch.func.functional_call(plain, flat, batch) for batch in images])


@pytest.mark.parametrize("space", [DARTS, NASBENCH, OWN], ids=["darts", "nasbench201", "own"])
@pytest.mark.parametrize(("num_batches", "size"), [(1, 8), (2, 8), (3, 7)])
def test_logits_and_derivatives_are_those_of_the_plain_network(space, num_batches, size):
    stacked, plain, images = both(space, num_batches=num_batches, size=size)
    kept = Mask.full(space).kept
    alphas = random_alphas(kept)
    found, expected = run_stacked(stacked, images, alphas, kept), run_plain(plain, images, alphas)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradients(found, alphas), gradients(expected, alphas), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", [DARTS, NASBENCH], ids=["darts", "nasbench201"])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.8])
def test_fewer_candidates_are_those_of_a_network_that_dropped_the_others(space, ratio):
    stacked, plain, images = both(space)
    for mask in (Mask.random(space, ratio, seed=1), Mask.random(space, ratio, seed=2)):  # it is left as it was
        narrow = build_supernet(space).double().train().requires_grad_(False)
        torch.func.replace_all_batch_norm_modules_(narrow)
        narrow.load_state_dict(plain.state_dict())
        narrow.narrow(mask)
        kept = mask.ordered(space).kept
        alphas = random_alphas(kept)
        found, expected = run_stacked(stacked, images, alphas, kept), run_plain(narrow, images, alphas)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(gradients(found, alphas), gradients(expected, alphas), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", [DARTS, NASBENCH], ids=["darts", "nasbench201"])
def test_weights_are_drawn_anew_and_stay_where_they_are(space):
    stacked, plain, _ = both(space)
    place = stacked._weights.data_ptr()
    names = dict(stacked.supernet.named_parameters())
    first = {name: p.clone() for name, p in names.items()}
    for name, p in plain.named_parameters():
        if not name.startswith("alpha."):
            assert first[name].equal(p), name
    stacked.draw(torch.Generator().manual_seed(4))
    drawn = [name for name, p in names.items() if p.dim() > 1]
    assert not any(first[name].equal(names[name]) for name in drawn)
    stacked.draw(torch.Generator().manual_seed(3))
    assert all(p.equal(first[name]) for name, p in names.items())
    assert stacked._weights.data_ptr() == place


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_of_a_depthwise_convolution(kernel, dilation, stride, size, layout):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, size, size, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator, dtype=torch.float64)
    sizes = Geometry(stride, dilation * (kernel // 2), dilation)
    x.requires_grad_()
    found, expected = _Depthwise.apply(x, weight, sizes), nn.functional.conv2d(x, weight, None, *sizes, 6)
    assert found.equal(expected)
    gradient = torch.randn(found.shape, generator=generator, dtype=torch.float64)
    for_x, for_x_expected = (torch.autograd.grad(y, x, gradient)[0] for y in (found, expected))
    torch.testing.assert_close(for_x, for_x_expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("num_blocks", [1, 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_batch_norm_with_weights(num_blocks, layout):
    generator = torch.Generator().manual_seed(0)
    x, gradient = torch.randn(2, 4, 256, 3, 3, generator=generator, dtype=torch.float64)
    x = x.contiguous(memory_format=layout).requires_grad_()
    weights = torch.rand(num_blocks, generator=generator, dtype=torch.float64).requires_grad_()
    found = _normalized(x, weights)
    normalized = (x - x.mean((0, 2, 3), keepdim=True)) / (x.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()
    expected = torch.cat([w * y for w, y in zip(weights, normalized.chunk(num_blocks, dim=1), strict=True)], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradient = gradient.contiguous(memory_format=layout)
    for one, other in zip(*(torch.autograd.grad(y, (x, weights), gradient) for y in (found, expected)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_float32():
    space = DartsSpace(init_channels=16, num_cells=3, in_channels=1, num_classes=7)
    images = torch.randn(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    kept = Mask.random(space, 0.375, seed=0).ordered(space).kept
    results = []
    for dtype in (torch.float32, torch.float64):
        stacked = StackedSupernet(space, Mask.full(space), 2, images.to(dtype))
        stacked.draw(torch.Generator().manual_seed(0))
        alphas = {k: [torch.zeros(len(names), dtype=dtype, requires_grad=True) for names in kept[k]] for k in kept}
        results.append(gradients(run_stacked(stacked, images.to(dtype), alphas, kept), alphas).double())
    single, double = results
    scale = double.abs().max()
    assert scale > 1
    torch.testing.assert_close(single / scale, double / scale, rtol=0, atol=1e-4)
