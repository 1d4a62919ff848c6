import pytest

from halfnas.spaces import DartsSpace, load_space


def test_from_another_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = load_space("darts")
    assert type(space) is DartsSpace
    # quark0/darts, cnn/train_search.py
    assert (space.init_channels, space.num_cells, space.num_classes, space.in_channels) == (16, 8, 10, 3)
    assert space.stem == "cifar"


def test_arguments_win_over_the_yaml():
    space = load_space("darts", init_channels=6, num_cells=5, num_classes=100, in_channels=1, stem="cifar")
    assert (space.init_channels, space.num_cells, space.num_classes, space.in_channels) == (6, 5, 100, 1)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("dart", {}, "unknown space 'dart'; known: .*darts"),
        ("darts", {"width": 3}, "space 'darts': .*unexpected keyword argument 'width'"),
        ("darts", {"num_cells": 2}, "space 'darts': .*`num_cells` must be at least 3, got 2"),
        ("darts", {"stem": "none"}, "space 'darts': .*`stem` must be one of cifar.*, got 'none'"),
        ("darts", {"init_channels": 0}, "`init_channels` must be positive, got 0"),
    ],
)
def test_errors(name, overrides, message):
    with pytest.raises(ValueError, match=message):
        load_space(name, **overrides)
