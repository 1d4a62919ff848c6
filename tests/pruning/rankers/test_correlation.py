import numpy as np
import pytest
import torch

from halfnas.pruning.rankers.correlation import correlation


@pytest.mark.parametrize(("num_samples", "num_values"), [(2, 2), (5, 10), (28, 10), (12, 100)])
def test_is_corrcoef(num_samples, num_values):
    rows = torch.randn(num_samples, num_values, dtype=torch.float64) * 3 + 7
    found = correlation(rows)
    torch.testing.assert_close(found, torch.corrcoef(rows), rtol=0, atol=1e-12)
    np.testing.assert_allclose(found.numpy(), np.corrcoef(rows.numpy()), rtol=0, atol=1e-12)
    assert found.abs().max() <= 1 + 1e-12


def test_by_hand():
    # Centred: (-1, 0, 1), (1, 0, -1), (-1, 1, 0) with norms sqrt(2): correlations -1, 1/2 and -1/2.
    rows = torch.tensor([[1.0, 2.0, 3.0], [30.0, 20.0, 10.0], [0.0, 2.0, 1.0]], dtype=torch.float64)
    expected = torch.tensor([[1, -1, 0.5], [-1, 1, -0.5], [0.5, -0.5, 1]], dtype=torch.float64)
    torch.testing.assert_close(correlation(rows), expected, rtol=0, atol=1e-12)


def test_ignores_scale_and_shift_of_each_sample():
    rows = torch.randn(6, 10, dtype=torch.float64)
    moved = rows * torch.rand(6, 1).add(0.1) + torch.randn(6, 1)
    torch.testing.assert_close(correlation(moved), correlation(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("constant", [0.0, 1.0, -2.5, 0.3, 1 / 3, 1e6])
def test_constants_correlate_with_nothing(constant, dtype):
    rows = torch.randn(4, 10, dtype=dtype)
    rows[1] = constant
    found = correlation(rows)
    assert found[1].eq(0).all()
    assert found[:, 1].eq(0).all()
    others = [0, 2, 3]
    torch.testing.assert_close(found[others][:, others], torch.corrcoef(rows[others]))


def test_constants_have_finite_derivatives():
    rows = torch.randn(4, 10, dtype=torch.float64)
    rows[1] = 0.3
    rows.requires_grad_()
    correlation(rows).square().sum().backward()
    assert rows.grad.isfinite().all()
    assert rows.grad[1].eq(0).all()
    assert rows.grad[0].ne(0).any()


def test_derivatives():
    rows = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(correlation, rows)


def test_what_is_not_a_number_is_not_hidden():
    rows = torch.randn(3, 5)
    rows[1, 2] = torch.nan
    assert correlation(rows)[1].isnan().all()
