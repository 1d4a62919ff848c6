import math

import numpy as np
import pytest
import torch

from halfnas import build_supernet, load_space
from halfnas.pruning import ScoringNetwork
from halfnas.pruning.rankers import JacobianCovariance

K = 1e-5


def score(*eigenvalues):
    return -sum(math.log(v + K) + 1 / (v + K) for v in eigenvalues)


def test_of_images_that_all_have_the_same_gradient(linear, vectors):
    # A linear network: all correlations are 1, the eigenvalues N and 0.
    found = JacobianCovariance()(linear([[1, 2], [3, -4]]), vectors([[1, 0], [0, 1], [5, 2]]))
    assert found.item() == pytest.approx(score(3, 0, 0), rel=1e-9)


def test_of_uncorrelated_gradients(linear, vectors):
    # Image a opens unit a alone: gradients (1, -1, 0, 0) and (0, 0, 1, -1), correlation 0, eigenvalues 1 and 1.
    network = linear([[1, -1, 0, 0], [0, 0, 1, -1]], [[1, 1]])
    found = JacobianCovariance()(network, vectors([[1, 0, 0, 1], [0, 1, 1, 0]]))
    assert found.item() == pytest.approx(score(1, 1), rel=1e-9)


def test_a_constant_gradient_is_guarded(linear, vectors):
    # The second image opens no unit: it correlates with nothing, itself included.
    found = JacobianCovariance()(linear([[1, -1]], [[1]]), vectors([[1, 0], [0, 1]]))
    assert found.item() == pytest.approx(score(1, 0), rel=1e-9)


def test_against_gradients_of_one_image_after_the_other(network, sample, frozen):
    module, rows = frozen(network.module, sample.images), []
    for image in sample.images:
        x = image[None].clone().requires_grad_()
        rows.append(torch.autograd.grad(module(x).sum(), x)[0].numpy().ravel())
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(np.array(rows)))
    found = JacobianCovariance()(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(score(*eigenvalues), rel=1e-8)


def test_the_published_form_is_one_backward_pass_of_the_batch(network, sample):
    """SamsungLabs/zero-cost-nas: training mode, `y.backward(ones)`, the eigenvalues of corrcoef."""
    images = sample.images.clone().requires_grad_()
    logits = network.module(images)
    logits.backward(torch.ones_like(logits))
    eigenvalues = np.linalg.eigvals(np.corrcoef(images.grad.flatten(1).numpy())).real
    found = JacobianCovariance(batch_norm="published")(network, sample)
    assert found.item() == pytest.approx(score(*eigenvalues), rel=1e-8)
    assert found.item() != pytest.approx(JacobianCovariance()(network, sample).item(), rel=1e-3)


def test_the_published_form_has_no_gradient_where_the_features_are_normalised_last(sample):
    """The logits of a batch sum to a constant in a DARTS supernet: `frozen` is what can prune it."""
    torch.manual_seed(0)
    supernet = build_supernet(load_space("darts", init_channels=2, num_cells=3)).double().train()
    images = sample.images.clone().requires_grad_()
    [published] = torch.autograd.grad(supernet(images).sum(), images)
    norm = ScoringNetwork(supernet).frozen_norms(sample.images)
    [ours] = torch.autograd.grad(ScoringNetwork(supernet)(images, norm=norm).sum(), images)
    assert published.abs().max() < 1e-12 * ours.abs().max()


def test_other_batch_norms_are_refused():
    with pytest.raises(ValueError, match="`batch_norm` must be one of frozen, published, got 'live'"):
        JacobianCovariance(batch_norm="live")


def test_needs_several_images(network, single):
    with pytest.raises(ValueError, match="the Jacobian covariance compares images and needs at least 2, got 1"):
        JacobianCovariance()(network, single)
