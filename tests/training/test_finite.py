"""What is not finite is found, wherever it stands, and nothing else is."""

import pickle

import pytest
import torch

from halfnas.errors import Diverged
from halfnas.training.finite import check_finite, not_finite

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_finds_one_bad_value_in_a_tensor_and_keeps_large_ones(dtype):
    largest = torch.full((3, 2), torch.finfo(dtype).max, dtype=dtype)
    bad, worse = largest.clone(), -largest.clone()
    bad[1, 1] = -INF
    worse[0, 0], worse[2, 1] = INF, NAN
    found = not_finite([("worse", worse), ("largest", largest), ("bad", bad)])
    assert list(found) == ["worse", "bad"]
    assert str(found["worse"]) == "nan"
    assert found["bad"] == INF


def test_looks_at_numbers_scalars_empty_tensors_and_integers():
    named = [
        ("float", NAN),
        ("huge", 1e300),
        ("scalar", torch.tensor(INF)),
        ("none", torch.empty(0)),
        ("count", torch.ones(2).long()),
    ]
    assert list(not_finite(named)) == ["float", "scalar"]


def test_the_error_names_stage_time_quantity_and_survives_a_process():
    with pytest.raises(
        Diverged, match=r"search diverged in epoch 2 of 5: train_loss is nan, alpha is inf; lower"
    ) as raised:
        check_finite("search", "epoch 2 of 5", [("search/train_loss", NAN), ("alpha", torch.tensor([INF, 0.0]))])
    copied = pickle.loads(pickle.dumps(raised.value))
    assert str(copied) == str(raised.value)


def test_the_error_stays_short():
    with pytest.raises(Diverged, match=r"a0 is nan, a1 is nan, a2 is nan, a3 is nan, and 96 more"):
        check_finite("search", "epoch 1 of 1", [(f"a{number}", NAN) for number in range(100)])
