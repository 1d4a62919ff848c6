"""Settings against signatures."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Unpack

import pytest
from pydantic import Field

from halfnas.config.signatures import arguments_of, check_arguments, problem_of


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
        ({"_target_": "a.Class"}, int),  # a node of its own
    ],
)
def test_matches(value, hint):
    assert problem_of(value, hint) is None


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
    assert problem_of(value, hint) is not None


@pytest.mark.parametrize(
    ("value", "hint", "words"),
    [
        ("x", int, "must be an integer, got 'x'"),
        ("x", float, "must be a number, got 'x'"),
        ("x", bool, "must be true or false, got 'x'"),
        (1, str, "must be text, got 1"),
        ("x", int | None, "must be an integer, got 'x'"),
        (1.5, int | str, "must be an integer or text, got 1.5"),
        ("x", Sequence[float], "must be a list, got 'x'"),
        ([1, "x"], Sequence[float], "must be a list in which number 2 is a number, got [1, 'x']"),
        ([1.0], tuple[float, float], "must be a list of another length, got [1.0]"),
        ("x", Mapping[str, Any], "must be a mapping, got 'x'"),
        ("x", Literal["a", "b"], "must be a or b, got 'x'"),
        (0, Annotated[int, Field(ge=1, description="a reason")], "must be at least 1: a reason, got 0"),
        (0, Annotated[int, Field(ge=1)] | None, "must be at least 1, got 0"),
        (0, Annotated[float, Field(gt=0)], "must be positive, got 0"),
        (3, Annotated[float, Field(gt=3)], "must be more than 3, got 3"),
        (4, Annotated[float, Field(le=3)], "must be at most 3, got 4"),
        (3, Annotated[float, Field(lt=3)], "must be less than 3, got 3"),
        ("often", Annotated[int, Field(ge=1)] | Literal["auto"], "must be an integer or auto, got 'often'"),
    ],
)
def test_problems_in_words(value, hint, words):
    assert problem_of(value, hint) == words


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


class Common(TypedDict):
    width: Annotated[int, Field(ge=1)]
    height: NotRequired[int | None]


class Unpacked:
    def __init__(self, depth: int, **common: Unpack[Common]) -> None:
        """What it takes is named by a TypedDict, too."""


def test_arguments_of_a_typed_dict():
    assert list(arguments_of(Unpacked)) == ["depth", "width", "height"]
    checked = check_arguments({"depth": 1, "width": 0, "height": None}, "it", also=[Unpacked])
    assert checked == ["`it.width` must be at least 1, got 0"]
    [problem] = check_arguments({"depth": 1, "breadth": 0}, "it", also=[Unpacked])
    assert problem == "`it.breadth`: Unpacked has no such argument; it has depth, width, height"
    assert check_arguments({"height": "x"}, "it", also=[Unpacked]) == ["`it.height` must be an integer, got 'x'"]


def test_classes_that_take_anything():
    assert check_arguments({"_target_": "halfnas.pruning.RandomPruner", "whatever": 3}, "pruner") == []


def test_classes_without_a_signature_pass():
    assert check_arguments({"_target_": "builtins.dict", "whatever": 3}, "pruner") == []


class Other:
    def __init__(self, depth: int, seed: int) -> None:
        """It takes some of the settings, too."""


def test_settings_of_several():
    assert check_arguments(node(depth=3), "ranker", also=[Other], given=["seed"]) == []
    assert check_arguments(node(depth="x"), "ranker", also=[Other], given=["seed"]) == [
        "`ranker.depth` must be an integer, got 'x'"
    ]
    [problem] = check_arguments(node(width=3), "ranker", also=[Other], given=["seed"])
    assert problem == "`ranker.width`: NNGPFrobenius has no such argument; it has weight, sign, depth"
