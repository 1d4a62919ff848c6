import math

import pytest
import torch
from torch.nn import functional as F

from halfnas.pruning.rankers import GraSP


def test_by_hand(linear, vectors):
    # L = log(1 + exp(-z)) with z = (w0 - w1) x: g = (1 - p) x (-1, 1), H = p (1 - p) x^2 [[1, -1], [-1, 1]],
    # so that H g = 2 p (1 - p)^2 x^3 (-1, 1) and -theta H g = 2 p (1 - p)^2 x^3 (w0 - w1).
    w0, w1, x = 0.7, -0.2, 1.5
    p = 1 / (1 + math.exp(-(w0 - w1) * x))
    found = GraSP()(linear([[w0], [w1]]), vectors([[x]], [0]))
    assert found.item() == pytest.approx(2 * p * (1 - p) ** 2 * x**3 * (w0 - w1), abs=1e-12)


def test_against_differences_of_gradients(network, sample, weights):
    """H g by central differences of the gradient along g."""

    def gradient():
        return torch.autograd.grad(F.cross_entropy(network.module(sample.images), sample.labels), weights)

    along = gradient()
    step, ends = 1e-6, []
    for sign in (1, -1):
        with torch.no_grad():
            for w, g in zip(weights, along, strict=True):
                w.add_(g, alpha=sign * step)
        ends.append(gradient())
        with torch.no_grad():
            for w, g in zip(weights, along, strict=True):
                w.sub_(g, alpha=sign * step)
    products = [(upper - lower) / (2 * step) for upper, lower in zip(*ends, strict=True)]
    expected = -sum((w * product).sum().item() for w, product in zip(weights, products, strict=True))
    found = GraSP()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(expected, rel=1e-5)
    assert abs(expected) > 1e-3


def test_needs_labels(network, unlabelled):
    with pytest.raises(ValueError, match="needs labels, and the images have none"):
        GraSP()(network, unlabelled)
