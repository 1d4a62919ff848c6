"""Masks and genotypes of any bytes: they are read, or refused in one line that names the file; a fuzz test."""

import json
import os
import random
import re
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfnas.spaces import Genotype, Mask, find_genotype, load_space, published_cells, sample_genotype
from halfnas.spaces.load import CONF

SPACES = {path.stem: load_space(path.stem) for path in sorted((CONF / "space").glob("*.yaml"))}
READERS = {"mask": Mask.load, "genotype": Genotype.load, "name": lambda path: find_genotype(str(path))}
#: Characters that a message may have beside the name of the file.
LINE = 500
fuzzed = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check(read, path):
    """Read a file and use what it has: both may be refused, in a line."""
    try:
        found = read(path)
        for space in SPACES.values():
            if found.space == space.name:
                found.check(space) if isinstance(found, Mask) else space.check_genotype(found)
    except ValueError as error:
        message = str(error)
        assert str(path) in message
        assert message.isprintable()
        assert len(message) < len(str(path)) + LINE
        return message
    again = found.save(path.with_name("again.json"))
    assert type(found).load(again) == found
    return None


@pytest.fixture(scope="module")
def contents():
    """The files of masks and genotypes of all spaces, by reader."""
    masks = [Mask.random(space, 0.5, 0) for space in SPACES.values()]
    darts = Mask.random(SPACES["darts"], 0.25, 1)
    scores = {kind: [dict.fromkeys(names, 0.5) for names in edges] for kind, edges in darts.kept.items()}
    masks.append(replace(darts, importance=scores))
    genotypes = [cell.genotype for cell in published_cells().values()]
    text = {"mask": masks, "genotype": genotypes, "name": genotypes}
    return {key: [json.dumps(each.to_json()).encode() for each in found] for key, found in text.items()}


@pytest.mark.parametrize("reader", READERS)
def test_files_of_ours(tmp_path, contents, reader):
    for content in contents[reader]:
        (tmp_path / "x.json").write_bytes(content)
        assert check(READERS[reader], tmp_path / "x.json") is None


@pytest.mark.parametrize("reader", READERS)
@given(content=st.binary(max_size=200) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
@fuzzed
def test_any_bytes(tmp_path, reader, content):
    (tmp_path / "x.json").write_bytes(content)
    check(READERS[reader], tmp_path / "x.json")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(
    [10**400, -(10**25), "none", "sep_conv_3x3", "darts", "nasbench201", 0, 1, 5]
)  # fmt: skip
keys = st.sampled_from(["format", "space", "kept", "ratio", "normal", "reduce", "normal_concat", "cell"]) | st.text(
    max_size=5
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))


@pytest.mark.parametrize("reader", READERS)
@given(data=st.data())
@fuzzed
def test_any_values(tmp_path, contents, reader, data):
    """In place of the values of a real file."""
    content = json.loads(data.draw(st.sampled_from(contents[reader])))
    for key in data.draw(st.lists(st.sampled_from([*content]) | keys, min_size=1, max_size=3)):
        content[key] = data.draw(values)
    (tmp_path / "x.json").write_text(json.dumps(content))  # NaN too
    check(READERS[reader], tmp_path / "x.json")


@pytest.mark.parametrize("reader", READERS)
def test_bytes_changed(tmp_path, contents, reader):
    draw = random.Random(0)
    refused = set()
    for number in range(400):
        content = bytearray(contents[reader][number % len(contents[reader])])
        for _ in range(draw.randint(1, 3)):
            at, length = draw.randrange(len(content)), draw.randint(1, 20)
            match draw.randrange(4):
                case 0:
                    content[at] = draw.randrange(256)
                case 1:
                    del content[at : at + length]
                case 2:
                    content[at:at] = content[at : at + length]
                case 3:
                    content[at:at] = draw.choice([b"\0", b"[", b"{", b"9" * 400, b"\\ud800", b"NaN", b"-", b",", b'"'])
        (tmp_path / "x.json").write_bytes(content)
        refused.add(check(READERS[reader], tmp_path / "x.json"))
    assert len(refused) > 20  # as many reasons


def genotype_with(value):
    return b'{"format": 1, "space": "darts", "normal": %b}' % value


def mask_with(value):
    return b'{"format": 1, "space": "darts", "kept": {"normal": %b}}' % value


HOSTILE = {
    "nested": (b"[" * 10**6, "nested too deep"),
    "nested, whole": (b'{"a": ' * 5000 + b"1" + b"}" * 5000, "nested too deep"),
    "nested, a little": (genotype_with(b"[" * 500 + b"]" * 500), "must"),
    "400 digits": (genotype_with(b'[["a", %b]]' % (b"9" * 400)), "no integer of 64 bits"),
    "20 digits": (genotype_with(b'[["a", %b]]' % (b"9" * 20)), "no integer of 64 bits"),
    "a million digits": (genotype_with(b"9" * 10**6), "no integer of 64 bits"),
    "1e400": (mask_with(b"1e400"), "no finite number"),
    "NaN": (mask_with(b"NaN"), "'NaN' is no finite number"),
    "half a character": (mask_with(rb'[["\ud800"]]'), r"'\\ud800' is no character"),
    "half a character, in a key": (b'{"format": 1, "space": "darts", "\\udfff": 5}', "is no character"),
    "50 MB": (mask_with(b'[["' + b"x" * 50 * 2**20 + b'"]]'), "over 16 MiB"),
    "10 MB": (mask_with(b'"' + b"x" * 10 * 2**20 + b'"'), "`kept` must"),
    "10 MB, in a key": (b'{"format": 1, "space": "darts", "kept": 1, "' + b"x" * 10**7 + b'": 1}', "must"),
    "10 MB, cut": (b'{"a": "' + b"x" * 10 * 2**20, "not complete JSON"),
    "lines": (b'{"format": "' + rb"\n" * 1000 + b'"}', "`format` must be 1"),
    "colours": (b'{"format": 1, "space": ["\\u001b[31m"]}', r"`space` must .*\\x1b\[31m"),
    "utf-16": ('{"format": 1}'.encode("utf-16"), r"not complete JSON \(byte 0 is not UTF-8\)"),
    "zeros": (bytes(1000), "not complete JSON"),
    "a key twice": (b'{"format": 1, "space": "darts", "space": "s1"}', "'space' is in one object twice"),
    "a list": (b"[1]", "expected a JSON object, found a list"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, reader, name):
    content, message = HOSTILE[name]
    (tmp_path / "x.json").write_bytes(content)
    start = time.process_time()
    assert re.search(message, check(READERS[reader], tmp_path / "x.json"))
    assert time.process_time() - start < 5


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("x.json", path)])
def test_what_is_no_file(tmp_path, reader, make):
    make(tmp_path / "x.json")
    assert "cannot be read" in check(READERS[reader], tmp_path / "x.json")


@pytest.mark.parametrize("reader", READERS)
def test_a_byte_order_mark(tmp_path, contents, reader):
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + contents[reader][0])
    assert check(READERS[reader], tmp_path / "x.json") is None


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x" * 10**7, "a\nb", "\udcff", "\x1b[31m", ""], ids=len)
def test_any_name(name):
    with pytest.raises(ValueError, match=r"neither a file nor one of: ") as caught:
        find_genotype(name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < LINE


@pytest.mark.parametrize("name", SPACES)
def test_architectures_of_every_space_come_back(tmp_path, name):
    space = SPACES[name]
    for seed in range(5):
        genotype = sample_genotype(space, Mask.full(space), random.Random(seed).random)
        space.check_genotype(genotype)
        assert check(Genotype.load, genotype.save(tmp_path / "x.json")) is None
