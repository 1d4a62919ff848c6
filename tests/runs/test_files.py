import json
import os
import stat

import pytest

from halfnas.runs.files import read_json, write_json, write_text


def test_json_comes_back_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b" / "metrics.json"
    assert write_json(path, {"x": 1.5, "y": None}) == path
    assert read_json(path) == {"x": 1.5, "y": None}
    assert path.read_text(encoding="utf-8").endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_json_leave_the_old_file(tmp_path, number):
    path = write_json(tmp_path / "metrics.json", {"x": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"x": number})
    assert json.loads(path.read_text(encoding="utf-8")) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_failure_while_writing_leaves_the_old_file_and_no_stray(tmp_path):
    path = write_text(tmp_path / "note.txt", "old")
    with pytest.raises(UnicodeEncodeError):  # raised by the write itself, when the file beside is open
        write_text(path, "new \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_failure_while_renaming_leaves_the_old_file_and_no_stray(tmp_path, monkeypatch):
    path = write_text(tmp_path / "note.txt", "old")

    def refuse(source, target):
        raise OSError("disk gone")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="disk gone"):
        write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_reader_never_sees_half_a_file(tmp_path, monkeypatch):
    path = write_text(tmp_path / "note.txt", "old")
    rename = os.replace
    seen = []

    def look_then_rename(source, target):
        seen.append(path.read_text(encoding="utf-8"))
        with open(source, encoding="utf-8") as beside:
            seen.append(beside.read())
        rename(source, target)

    monkeypatch.setattr(os, "replace", look_then_rename)
    write_text(path, "new")
    assert seen == ["old", "new"]
    assert path.read_text(encoding="utf-8") == "new"


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        path = write_text(tmp_path / "note.txt", "x")
        assert os.umask(umask) == umask  # left as it was found
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": 1, "kept": {"nor', r"x\.json: not complete JSON .*interrupted\?"),
        (b"", "not complete JSON"),
        (b'{"a": "\xff"}', "not complete JSON"),
        (b"[1, 2]", "expected a JSON object, found a list"),
        (b"null", "expected a JSON object, found a NoneType"),
    ],
)
def test_malformed_file(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(path)


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_json(tmp_path)
