"""Files that are none of a run's, or have been damaged."""

import os

import pytest

from halfnas.runs.reading import MAX_BYTES, MAX_SHOWN, in_short, quoted, read_text


def test_text(tmp_path):
    path = tmp_path / "note.txt"
    path.write_bytes("eins, zwei ö\n".encode())
    assert read_text(path, "broken") == "eins, zwei ö\n"
    path.write_bytes(b"\xef\xbb\xbfmarked")
    assert read_text(str(path), "broken") == "marked"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, r"x: cannot be read \(not a regular file\)"),
        (os.mkdir, r"x: cannot be read \(not a regular file\)"),
        (lambda path: path.symlink_to("gone"), "x: no such file"),
        (lambda path: path.symlink_to("x"), r"x: cannot be read \(Too many levels of symbolic links\)"),
        (lambda path: path.write_bytes(b"a\xff"), r"x: broken \(byte 1 is not UTF-8\)"),
        (lambda path: path.write_bytes(b"\xff\xfea\0"), r"x: broken \(byte 0 is not UTF-8\)"),
    ],
)
def test_what_cannot_be_read(tmp_path, make, message):
    make(tmp_path / "x")
    with pytest.raises(ValueError, match=f"^{tmp_path}/{message}$"):
        read_text(tmp_path / "x", "broken")


@pytest.mark.parametrize("path", ["/dev/zero", "a\0b", "x" * 5000, "a\nb", "\udcff"])
def test_paths_that_are_no_files(path):
    with pytest.raises(ValueError, match=r"cannot be read|no such file") as caught:
        read_text(path, "broken")
    assert str(caught.value).isprintable()


def test_large_files_are_not_loaded(tmp_path):
    path = tmp_path / "x"
    path.touch()
    os.truncate(path, MAX_BYTES)
    assert len(read_text(path, "broken")) == MAX_BYTES
    os.truncate(path, 2**40)
    with pytest.raises(ValueError, match=r"x: cannot be read \(over 16 MiB, and a run's files are small\)"):
        read_text(path, "broken")


def test_a_line_of_printable_characters():
    assert in_short("a plain line") == "a plain line"
    assert in_short("zwei Wörter, 二") == "zwei Wörter, 二"
    assert in_short("a\nb\t\x1b[31m\ud800\u2028") == r"a\nb\t\x1b[31m\ud800\u2028"
    assert in_short("x" * 1000 + "y" * 1000, 10) == "xxxxx...yyyyy"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a", "'a'"),
        (2, "2"),
        (None, "None"),
        ([[[[1]]]], "[[[[...]]]]"),
        (10**5000, "a int of too many digits"),
        ({"a": float("nan")}, "{'a': nan}"),
        ("\ud800", r"'\ud800'"),
    ],
    ids=lambda _: "",
)
def test_values_in_a_message(value, written):
    assert quoted(value) == written


LONG = ["x" * 10**7, ["x" * 10**6] * 100, {"x" * 10**6: 1}, 10**400, b"x" * 10**6]


@pytest.mark.parametrize("value", LONG, ids=lambda value: type(value).__name__)
def test_long_values_in_a_message(value):
    assert len(quoted(value)) <= MAX_SHOWN + 3
