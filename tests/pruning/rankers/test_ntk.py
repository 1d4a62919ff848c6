import math

import numpy as np
import pytest
import torch
from torch import nn

from halfnas.pruning import Batch, Sample, ScoringNetwork
from halfnas.pruning.rankers import NTKConditionNumber

NTK = NTKConditionNumber(sign=-1)


def test_of_a_linear_network(linear, vectors):
    # The gradient of the sum of C logits is x, C times: Theta = C X X^T. For X = [[1, 0], [1, 1]] the eigenvalues of
    # X X^T = [[1, 1], [1, 2]] are (3 +- sqrt(5)) / 2.
    sample = vectors([[1, 0], [1, 1]])
    golden = (3 + math.sqrt(5)) / (3 - math.sqrt(5))
    assert NTK(linear([[2, 1], [0, 5], [1, -1]]), sample).item() == pytest.approx(golden, rel=1e-12)
    assert NTK(linear([[0, 0]]), sample).item() == pytest.approx(golden, rel=1e-12)
    assert NTK(linear([[2, 1]]), vectors([[3, 0], [0, 1]])).item() == pytest.approx(9, rel=1e-12)


def test_of_two_layers(linear, vectors):
    # f = w2 relu(w1 x) with w1 = 2, w2 = 3 at x = 1, 4 and -1: gradients (w2 x, w1 x) = (3, 2), (12, 8) and 0.
    found = NTK(linear([[2, 0], [0, 1]], [[3, 1]]), vectors([[1, -1], [-1, 1]]))
    # gradients: sample 1 reads unit 1: dW1 = (3, -3), dw2 = 2; sample 2 unit 2: dW1 = (-1, 1), dw2 = 1.
    assert found.item() == pytest.approx((9 + 9 + 4) / (1 + 1 + 1), rel=1e-12)


def test_a_singular_kernel_has_a_finite_condition_number(linear, vectors):
    found = NTK(linear([[1, 1]]), vectors([[1, 0], [2, 0]]))
    assert found.item() == pytest.approx(2**52, rel=1e-9)


def test_against_gradients_of_one_sample_after_the_other(network, sample, frozen):
    module = frozen(network.module, sample.images)
    weights = [p.requires_grad_() for name, p in module.named_parameters() if name.endswith("weight")]
    assert any(p.dim() == 1 for p in weights)  # those of batch norms
    rows = []
    for image in sample.images:
        gradients = torch.autograd.grad(module(image[None]).sum(), weights)
        rows.append(np.concatenate([g.numpy().ravel() for g in gradients]))
    eigenvalues = np.linalg.eigvalsh(np.array(rows) @ np.array(rows).T)
    found = NTK(network, sample)
    assert found.shape == ()
    assert found.item() == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-8)
    assert found.item() > 1


def test_the_published_form_is_one_backward_pass_a_sample_through_the_batch(network, sample):
    """VITA-Group/TENAS: one forward pass in training mode, then a backward pass of every sample's sum of logits."""
    weights = [p.requires_grad_() for name, p in network.module.named_parameters() if name.endswith("weight")]
    logits = network.module(sample.images)
    rows = []
    for sum_of_logits in logits.sum(dim=1):
        gradients = torch.autograd.grad(sum_of_logits, weights, retain_graph=True)
        rows.append(np.concatenate([g.numpy().ravel() for g in gradients]))
    eigenvalues = np.linalg.eigvalsh(np.array(rows) @ np.array(rows).T)
    found = NTKConditionNumber(sign=-1, batch_norm="published")(network, sample)
    assert found.item() == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-8)
    assert found.item() != pytest.approx(NTK(network, sample).item(), rel=1e-3)


def test_other_batch_norms_are_refused():
    with pytest.raises(ValueError, match="`batch_norm` must be one of frozen, published, got 'live'"):
        NTKConditionNumber(batch_norm="live")


def test_biases_do_not_count():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)).double()
    images = torch.randn(3, 2, 1, 1).double()
    rows = []
    for image in images:
        gradients = torch.autograd.grad(module(image[None]).sum(), [module[1].weight, module[3].weight])
        rows.append(torch.cat([g.flatten() for g in gradients]))
    eigenvalues = np.linalg.eigvalsh(torch.stack(rows).numpy() @ torch.stack(rows).numpy().T)
    found = NTK(ScoringNetwork(module), Sample([Batch(images, None)]))
    assert found.item() == pytest.approx(eigenvalues[-1] / eigenvalues[0], rel=1e-8)


def test_needs_several_images(network, single):
    with pytest.raises(ValueError, match="the NTK compares images and needs at least 2, got 1"):
        NTK(network, single)
