"""Worked examples: what autograd keeps is known for a linear layer, a ReLU and the square of a tensor."""

import gc
import weakref

import pytest
import torch
from torch import nn

from halfnas.memory import SavedTensors, saved_for_backward

FLOAT = 4  # bytes


def test_linear_and_relu_by_hand():
    network = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    images = torch.randn(5, 8)
    # the first layer keeps its input, ReLU its output, which is also the second layer's input; the sum keeps nothing
    assert saved_for_backward(lambda: network(images).sum(), network) == (5 * 8 + 5 * 16) * FLOAT


def test_the_size_of_an_element_counts():
    network = nn.Linear(8, 4).double()
    images = torch.randn(5, 8, dtype=torch.float64)
    assert saved_for_backward(lambda: network(images), network) == 5 * 8 * 8


def test_a_storage_saved_twice_counts_once():
    x = torch.randn(7, requires_grad=True)
    with SavedTensors() as saved:
        y = 2 * x
        _ = y * y, y.pow(3)  # y is saved three times
    assert saved.num_bytes == 7 * FLOAT


def test_a_view_counts_its_whole_storage_once():
    x = torch.randn(10, requires_grad=True)
    with SavedTensors() as saved:
        y = 2 * x
        _ = y[:2].pow(2), y[5:].pow(2), y.view(2, 5).pow(2)  # the ten numbers of y stay alive, whatever is read
    assert saved.num_bytes == 10 * FLOAT


def test_equal_tensors_in_different_storages_count_twice():
    x = torch.randn(10, requires_grad=True)
    with SavedTensors() as saved:
        _ = (x + 0).pow(2), (x + 0).pow(2)
    assert saved.num_bytes == 2 * 10 * FLOAT


def test_parameters_are_left_out():
    layer = nn.Linear(8, 4, bias=False)
    images = torch.randn(5, 8, requires_grad=True)  # so that the weight is saved, too
    assert saved_for_backward(lambda: layer(images), layer) == 5 * 8 * FLOAT
    assert saved_for_backward(lambda: layer(images), nn.Identity()) == (5 * 8 + 8 * 4) * FLOAT


def test_a_view_of_a_parameter_is_left_out():
    layer = nn.Linear(8, 4, bias=False)
    assert saved_for_backward(lambda: layer.weight[1:].t().pow(2).sum(), layer) == 0


def test_buffers_are_left_out():
    norm = nn.BatchNorm1d(6).eval()  # evaluation reads the running statistics, and saves them
    images = torch.randn(5, 6, requires_grad=True)
    ours = saved_for_backward(lambda: norm(images), norm)
    everything = saved_for_backward(lambda: norm(images), nn.Identity())
    assert everything - ours == 3 * 6 * FLOAT  # weight, running mean, running variance


def test_storages_that_died_are_not_confused_with_new_ones():
    x = torch.randn(1000, requires_grad=True)
    with SavedTensors() as saved:
        for _ in range(5):
            (x + 0).pow(2)  # its graph dies at once, and its memory would be handed out again
    assert saved.num_bytes == 5 * 1000 * FLOAT


def test_nothing_is_counted_outside_or_without_a_gradient():
    x = torch.randn(10, requires_grad=True)
    with SavedTensors() as saved:
        (2 * x.detach()).pow(2)
        with torch.no_grad():
            (2 * x).pow(2)
    (2 * x).pow(2)
    assert saved.num_bytes == 0


def test_the_backward_pass_works_inside():
    x = torch.randn(10, requires_grad=True)
    with SavedTensors():
        (2 * x).pow(2).sum().backward()
    torch.testing.assert_close(x.grad, 8 * x.detach())


def test_a_forward_pass_without_gradient_is_refused():
    layer = nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(AssertionError, match="backward pass that cannot happen"):
        saved_for_backward(lambda: layer(torch.zeros(1, 3)), layer)


def test_nothing_is_held_once_the_output_is_dropped():
    layer = nn.Linear(4, 3)
    activations = []

    def forward():
        hidden = layer(torch.randn(2, 4)).relu()
        activations.append(weakref.ref(hidden.untyped_storage()))
        return hidden.pow(2)

    gc.disable()  # reference counts alone must free them: at real sizes they are gigabytes
    try:
        saved_for_backward(forward, layer)
        assert activations[0]() is None
    finally:
        gc.enable()
