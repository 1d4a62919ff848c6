"""Settings against signatures."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from halfnas.config.signatures import check_arguments, describe, matches


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),  # yaml's 1 is a fine learning rate
        (1.5, float),
        (True, bool),
        ("a", str),
        (None, int | None),
        (3, int | None),
        (3, int | str),
        ("auto", int | str),
        ([1, 2], Sequence[int]),
        ([1, 2.5], Sequence[float]),
        ((), tuple[int, ...]),
        (["a"], list[str]),
        ({"a": 1}, Mapping[str, Any]),
        ({}, dict[str, int]),
        ("what", Any),
        ("what", Literal["no"]),  # not ours to say
    ],
)
def test_matches(value, hint):
    assert matches(value, hint)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1.5, int),
        (1.0, int),
        ("1", int),
        (True, int),
        (False, float),
        (1, bool),
        ("true", bool),
        (1, str),
        (None, str),
        (None, int),
        ("x", int | None),
        (1.5, int | str),
        (None, int | str),
        (True, int | str),
        ([1, "a"], Sequence[int]),
        (3, Sequence[int]),
        ("ab", Sequence[str]),
        ([], Mapping[str, Any]),
    ],
)
def test_does_not_match(value, hint):
    assert not matches(value, hint)


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "an integer"),
        (float, "a number"),
        (bool, "true or false"),
        (str, "text"),
        (int | None, "an integer or null"),
        (int | str, "an integer or text"),
        (Sequence[float], "a list"),
        (Mapping[str, Any], "a mapping"),
    ],
)
def test_describe(hint, words):
    assert describe(hint) == words


def node(**changes):
    return {"_target_": "halfnas.pruning.rankers.NNGPFrobenius", "weight": 1.0, "sign": 1} | changes


def test_good_arguments():
    assert check_arguments(node(), "ranker") == []
    assert check_arguments(node(_convert_="all", _partial_=True), "ranker") == []
    assert check_arguments({}, "logger") == []


def test_wrong_type():
    assert check_arguments(node(sign="up"), "ranker") == ["`ranker.sign` must be an integer, got 'up'"]


def test_unknown_argument_names_the_known():
    assert check_arguments(node(wieght=1), "ranker") == [
        "`ranker.wieght`: NNGPFrobenius has no such argument; it has weight, sign"
    ]


@pytest.mark.parametrize("target", ["halfnas.pruning.Nothing", "no_such_package.Thing"])
def test_unknown_class(target):
    [problem] = check_arguments(node(_target_=target), "ranker")

    assert problem.startswith(f"`ranker._target_`: {target!r} cannot be imported")


def test_nested_nodes_are_checked_under_their_own_name():
    problems = check_arguments({"deep": {"er": node(sign="up", weight="x")}}, "pruner")

    assert sorted(problems) == [
        "`pruner.deep.er.sign` must be an integer, got 'up'",
        "`pruner.deep.er.weight` must be a number, got 'x'",
    ]


def test_classes_that_take_anything():
    assert check_arguments({"_target_": "halfnas.pruning.RandomPruner", "whatever": 3}, "pruner") == []


def test_classes_without_a_signature_pass():
    assert check_arguments({"_target_": "builtins.dict", "whatever": 3}, "pruner") == []
