"""Worked examples: operations and bytes of functions that can be counted by hand."""

import pytest
import torch
from torch.nn.functional import conv2d, cross_entropy

from halfnas import Mask, build_supernet, load_space
from halfnas.memory import Traffic

FLOAT = 4  # bytes


def count(function):
    """Calls by name, and bytes."""
    with Traffic() as traffic:
        function()
    assert traffic.num_operations == sum(traffic.calls.values())
    return dict(traffic.calls), traffic.num_bytes


@pytest.fixture
def x():
    return torch.ones(6, 4)


def test_what_is_read_and_written(x):
    assert count(lambda: x + 1) == ({"add": 1}, 2 * 24 * FLOAT)
    assert count(lambda: x + x.double()) == ({"_to_copy": 1, "add": 1}, 24 * (FLOAT + 8 + FLOAT + 8 + 8))
    assert count(lambda: torch.cat([x, x, x])) == ({"cat": 1}, 6 * 24 * FLOAT)
    assert count(lambda: x.sum()) == ({"sum": 1}, 25 * FLOAT)
    assert count(lambda: x.max(dim=0)) == ({"max": 1}, (24 + 4) * FLOAT + 4 * 8)
    assert count(lambda: torch.zeros(3)) == ({"zeros": 1}, 3 * FLOAT)


def test_in_place_counts_twice(x):
    assert count(lambda: x.add_(x)) == ({"add_": 1}, 3 * 24 * FLOAT)
    assert count(lambda: torch._foreach_add_([x, x], 1)) == ({"_foreach_add_": 1}, 4 * 24 * FLOAT)
    assert count(lambda: torch.add(x, x, out=x.clone())) == ({"clone": 1, "add": 1}, (2 + 3) * 24 * FLOAT)


def test_views_cost_nothing(x):
    def views():
        x.view(4, 6).t()[1:, ::2].unsqueeze(0).expand(5, 5, 2).permute(2, 0, 1).detach().squeeze()
        x.split(2)[0].unbind()[1].chunk(2)
        x.unflatten(0, (2, 3)).diagonal(dim1=0, dim2=1).as_strided((2,), (1,))
        x.reshape(24).contiguous()
        torch.ops.aten._unsafe_view(x, [24])
        x[:1].clone().squeeze_()

    assert count(views) == ({"clone": 1}, 2 * 4 * FLOAT)


def test_copies_that_look_like_views_are_counted(x):
    assert count(lambda: x.t().reshape(24))[0] == {"clone": 1}
    assert count(lambda: x.t().contiguous()) == ({"clone": 1}, 2 * 24 * FLOAT)


def test_expanded_tensors_count_as_they_are_seen(x):
    assert count(lambda: x[:1].expand(6, 4) + 1) == ({"add": 1}, 2 * 24 * FLOAT)
    assert count(lambda: x[:1] + x) == ({"add": 1}, (4 + 24 + 24) * FLOAT)


def test_numbers_that_are_read_back(x):
    assert count(lambda: x[0, 0].item()) == ({"_local_scalar_dense": 1}, FLOAT)
    assert count(lambda: torch.promote_types(torch.float32, torch.float64)) == ({}, 0)


def test_backward_passes_are_counted(x):
    weight = torch.ones(4, 2, requires_grad=True)
    forward, size = count(lambda: x @ weight)
    assert (forward, size) == ({"mm": 1}, (24 + 8 + 12) * FLOAT)
    output = x @ weight
    cotangent = torch.ones(6, 2)
    assert count(lambda: output.backward(cotangent)) == ({"mm": 1}, (24 + 12 + 8) * FLOAT)


def test_convolution():
    images, weight = torch.ones(2, 3, 8, 8), torch.ones(5, 3, 1, 1)
    assert count(lambda: conv2d(images, weight)) == ({"convolution": 1}, 2 * 64 * (3 + 5) * FLOAT + 15 * FLOAT)


def test_operators_of_others_count_by_what_they_do(x):
    @torch.library.custom_op("halfnas_test::twice_and_one", mutates_args=())
    def twice_and_one(x: torch.Tensor) -> torch.Tensor:
        return (x * 2).t().contiguous().t() + 1

    assert count(lambda: twice_and_one(x)) == ({"mul": 1, "clone": 1, "add": 1}, 3 * 2 * 24 * FLOAT)
    assert torch.equal(twice_and_one(x), 2 * x + 1)


@pytest.mark.parametrize(
    ("recompute", "operations", "gib"), [("none", 5100, 52.0), ("nodes", 6400, 65.0), ("cells", 8150, 86.0)]
)
def test_half_a_search_step_of_the_fused_engine(recompute, operations, gib):
    """What a GPU pays for, bounded, so that it does not creep up again; measured: see benchmarks/README.md."""
    batch_size = 2
    torch.manual_seed(0)
    space = load_space("darts", init_channels=16, num_cells=8)
    mask = Mask.random(space, 0.5, seed=0)
    supernet = build_supernet(space, mask, partial_channels=4, engine="fused", recompute=recompute)
    images, labels = torch.randn(batch_size, 3, 32, 32), torch.arange(batch_size)
    cross_entropy(supernet(images), labels).backward()
    supernet.zero_grad()
    with Traffic() as traffic:
        cross_entropy(supernet(images), labels).backward()
    assert 0.8 * operations < traffic.num_operations <= operations
    # Bytes grow with the batch but for those of the weights, few beside 256 images.
    with Traffic() as larger:
        cross_entropy(supernet(images.repeat(2, 1, 1, 1)), labels.repeat(2)).backward()
    an_image = (larger.num_bytes - traffic.num_bytes) / batch_size
    assert 0.8 * gib < 256 * an_image / 2**30 <= gib
    assert not {"_local_scalar_dense", "nonzero", "index_put", "item"} & set(traffic.calls)
