"""Checkpoints as files: the last two, whole or not at all, and read back checked."""

import os
from dataclasses import replace

import pytest
import torch

import halfnas
from halfnas.errors import FileError
from halfnas.runs import checkpoints
from halfnas.runs.checkpoints import HEADER, Damaged, Header, check_made_with, next_checkpoint, read_checkpoint

HEADERS = Header("search", {"seed": 0, "searcher.epochs": 50}, epochs=3, seconds=1.5)


def write(folder, number, header=HEADERS):
    with next_checkpoint(folder, "search") as beside:
        checkpoints.save_state(beside, {HEADER: header.to_content(), "number": number})


def numbers(folder):
    """What the newest and the one before hold."""
    paths = (checkpoints.newest(folder, "search"), checkpoints.previous(folder, "search"))
    return [read_checkpoint(path)[1]["number"] for path in paths]


@pytest.fixture
def two(tmp_path):
    folder = tmp_path / "checkpoints"
    for number in (1, 2, 3):
        write(folder, number)
    return folder


def test_the_last_two_are_kept_and_nothing_else(two):
    assert numbers(two) == [3, 2]
    assert sorted(path.name for path in two.iterdir()) == ["search-previous.ckpt", "search.ckpt"]
    assert read_checkpoint(two / "search.ckpt")[0] == HEADERS


def test_what_fails_while_it_is_written_costs_none(two):
    def fail():
        with next_checkpoint(two, "search") as beside:
            beside.write_bytes(b"half")
            raise RuntimeError("no more memory")

    with pytest.raises(RuntimeError, match="no more memory"):
        fail()
    assert numbers(two) == [3, 2]
    assert len(list(two.iterdir())) == 2


def test_a_full_disk_names_the_file(two):
    with pytest.raises(FileError, match=r"cannot write .*search\.ckpt: No space left"), next_checkpoint(two, "search"):
        raise OSError(28, "No space left on device")
    assert numbers(two) == [3, 2]


def test_a_folder_that_is_gone_stays_so(tmp_path):
    with pytest.raises(FileError, match=r"run/checkpoints: No such file"):
        write(tmp_path / "run" / "checkpoints", 1)
    assert list(tmp_path.iterdir()) == []


def test_killed_between_the_two_renames(two, monkeypatch):
    rename, calls = os.replace, []

    def killed(source, target):
        calls.append(target)
        if len(calls) == 2:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(two, 4)
    assert [path.name for path in two.iterdir()] == ["search-previous.ckpt"]
    assert read_checkpoint(two / "search-previous.ckpt")[1]["number"] == 3
    monkeypatch.undo()
    write(two, 4)
    assert numbers(two) == [4, 3]


@pytest.mark.parametrize("part", [0, 1, 100, -1, -100])
def test_half_a_file(two, part):
    path = two / "search.ckpt"
    path.write_bytes(path.read_bytes()[:part])
    with pytest.raises(Damaged, match=r"search\.ckpt: not a whole checkpoint \(.+\)"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04junk", b"text", os.urandom(1000)])
def test_no_checkpoint_at_all(tmp_path, content):
    path = tmp_path / "search.ckpt"
    path.write_bytes(content)
    with pytest.raises(Damaged, match="not a whole checkpoint") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1], {HEADER: 1}])
def test_a_checkpoint_of_something_else(tmp_path, content):
    path = tmp_path / "search.ckpt"
    torch.save(content, path)
    with pytest.raises(ValueError, match="not a checkpoint of this version of halfnas"):
        read_checkpoint(path)


def test_another_version(two, monkeypatch):
    monkeypatch.setattr(halfnas, "__version__", "9.9.9")
    with pytest.raises(ValueError, match=r"search\.ckpt: written by halfnas 0\.1\.0, and this is 9\.9\.9"):
        read_checkpoint(two / "search.ckpt")


def test_other_settings_are_named(two):
    header, _ = read_checkpoint(two / "search.ckpt")
    check_made_with(two / "search.ckpt", header, dict(HEADERS.made_with))
    other = {"seed": 1, "searcher.epochs": 50, "ratio": None}
    with pytest.raises(ValueError, match=r"written with other settings: seed=1 \(was 0\)$"):
        check_made_with(two / "search.ckpt", header, other)
    many = replace(header, made_with={str(n): n for n in range(9)})
    with pytest.raises(ValueError, match="and 7 more"):
        check_made_with(two / "search.ckpt", many, HEADERS.made_with)


def test_the_newest_that_cannot_be_gone_on_from_makes_room(two):
    with next_checkpoint(two, "search", in_place=True) as beside:
        checkpoints.save_state(beside, {HEADER: HEADERS.to_content(), "number": 4})
    assert numbers(two) == [4, 2]
    checkpoints.remove_checkpoints(two, "search")
    assert list(two.iterdir()) == []
