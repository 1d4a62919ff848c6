import json
import os
import stat

import pytest

from halfnas.runs.files import entry, read_json, write_json, write_text


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
        (b"[" * 10**6, r"x\.json: not JSON of ours \(nested too deep\)"),
        (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "nested too deep"),
        (b'{"a": NaN}', "'NaN' is no finite number"),
        (b'{"a": [-Infinity]}', "'-Infinity' is no finite number"),
        (b'{"a": 1e400}', "'1e400' is no finite number"),
        (b'{"a": 9223372036854775808}', "'9223372036854775808' is no integer of 64 bits"),
        (b'{"a": -%b}' % (b"9" * 5000), r"'-9+\.\.\.9+' is no integer of 64 bits"),
        (rb'{"a": ["\ud800"]}', r"'\\ud800' is no character"),
        (rb'{"\udc00": 1}', r"'\\udc00' is no character"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' is in one object twice"),
        (b'{"a": {"b": 1, "b": 1}}', "'b' is in one object twice"),
    ],
)
def test_malformed_file(tmp_path, content, message):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b'\xef\xbb\xbf{"a": 1}', 1),
        (rb'{"a": "\ud83d\ude00"}', "\N{GRINNING FACE}"),
        (b'{"a": 9223372036854775807}', 2**63 - 1),
        (b'{"a": -9223372036854775808}', -(2**63)),
        (b'{"a": 1e308}', 1e308),
    ],
)
def test_what_is_well(tmp_path, content, found):
    (tmp_path / "x.json").write_bytes(content)
    assert read_json(tmp_path / "x.json") == {"a": found}


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(ValueError, match=r"x\.json: cannot be read \(not a regular file\)"):
        read_json(tmp_path / "x.json")


def test_entries_are_told_in_short():
    with pytest.raises(ValueError, match=r"^here: `kept` must be a number, got 'x+\.\.\.x+'$") as caught:
        entry({"kept": "x" * 10**7}, "kept", int, "be a number", "here")
    assert len(str(caught.value)) < 200
    with pytest.raises(ValueError, match=r"^here: `a\\n+.*` must be a number, got None$") as caught:
        entry({}, "a\n" * 10**6, int, "be a number", "here")
    assert len(str(caught.value)) < 200


def test_absent_file_and_folder(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.json: no such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(ValueError, match="cannot be read"):
        read_json(tmp_path)
