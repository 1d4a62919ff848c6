"""The order of equals: recorded numbers, and frequencies over seeds."""

import hashlib
import random

import numpy as np
import pytest
import torch

from halfnas.spaces.ties import EDGE, ordered, tie_break

NAMES = ("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect")


def test_it_is_the_hash_of_seed_kind_edge_and_operation():
    """Of the text written out here, so that no machine and no version of Python gives another one."""
    digest = hashlib.sha256(b'[3, "normal", 13, "skip_connect"]').hexdigest()
    assert tie_break(3, "normal", 13, "skip_connect") == int(digest[:16], 16) == 0xC8D61BD905449655
    assert tie_break(0, "cell", 0) == int(hashlib.sha256(b'[0, "cell", 0, ""]').hexdigest()[:16], 16)
    assert EDGE == ""


def test_numbers_of_numpy_and_torch_are_those_of_python():
    assert tie_break(np.int64(3), "normal", int(torch.tensor(13)), "a") == tie_break(3, "normal", 13, "a")


def test_all_of_it_counts():
    base = (0, "normal", 1, "skip_connect")
    changed = [(1, *base[1:]), (0, "reduce", *base[2:]), (*base[:2], 11, base[3]), (*base[:3], "none")]
    assert len({tie_break(*each) for each in [base, *changed]}) == 5


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]])
def test_every_candidate_is_the_first_of_equals_as_often(names):
    """Over 4000 seeds each of four in a quarter, whatever the order in which they are given; six standard errors."""
    firsts = [ordered(dict.fromkeys(names, 0.25), "cell", 2, seed)[0] for seed in range(4000)]
    assert all(abs(firsts.count(name) / 4000 - 0.25) < 6 * np.sqrt(0.25 * 0.75 / 4000) for name in names)


def test_the_order_of_two_does_not_depend_on_the_others():
    for seed in range(20):
        everything = ordered(dict.fromkeys(NAMES, 0.0), "cell", 0, seed)
        two = ordered(dict.fromkeys(NAMES[1:3], 0.0), "cell", 0, seed)
        assert two == [name for name in everything if name in NAMES[1:3]]


def test_values_come_before_ties():
    values = {"none": 0.1, "max_pool_3x3": np.nextafter(0.2, 1), "avg_pool_3x3": 0.2, "skip_connect": 0.3}
    expected = ["skip_connect", "max_pool_3x3", "avg_pool_3x3", "none"]
    assert all(ordered(values, "cell", 0, seed) == expected for seed in (None, *range(20)))


def test_without_a_seed_equals_stay_as_they_are():
    assert ordered({"b": 1.0, "a": 1.0, "c": 2.0}, "cell", 0, None) == ["c", "b", "a"]


def test_no_generator_is_advanced():
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    ordered(dict.fromkeys(NAMES, 0.0), "cell", 0, 5)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
