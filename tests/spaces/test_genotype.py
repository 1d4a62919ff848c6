import copy
import dataclasses
import json
import pickle

import pytest

from halfnas.spaces import Genotype

CONTENT = {
    "format": 1,
    "space": "darts",
    "normal": [
        ["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["sep_conv_3x3", 0], ["skip_connect", 2],
        ["dil_conv_3x3", 3], ["skip_connect", 0], ["max_pool_3x3", 4], ["avg_pool_3x3", 1],
    ],
    "normal_concat": [2, 3, 4, 5],
    "reduce": [
        ["max_pool_3x3", 0], ["max_pool_3x3", 1], ["skip_connect", 2], ["max_pool_3x3", 0],
        ["sep_conv_5x5", 1], ["skip_connect", 2], ["skip_connect", 2], ["dil_conv_5x5", 0],
    ],
    "reduce_concat": [4, 5],
}  # fmt: skip


@pytest.fixture
def genotype():
    return Genotype.from_json(CONTENT)


def test_file_is_exactly_that_of_the_contract(genotype, tmp_path):
    path = genotype.save(tmp_path / "genotype.json")
    assert list(json.loads(path.read_text(encoding="utf-8")).items()) == list(CONTENT.items())  # order of keys too
    assert Genotype.load(path) == genotype


def test_another_space_writes_its_own_keys():
    other = Genotype("nasbench201", {"cell": (("nor_conv_3x3", 0),)})
    assert other.to_json() == {"format": 1, "space": "nasbench201", "cell": [["nor_conv_3x3", 0]]}
    assert Genotype.from_json(other.to_json()) == other


def test_attributes(genotype):
    assert genotype.normal == tuple((name, source) for name, source in CONTENT["normal"])
    assert genotype.reduce is genotype.cells["reduce"]
    assert genotype.normal_concat == (2, 3, 4, 5)
    assert genotype.reduce_concat == (4, 5)
    with pytest.raises(AttributeError, match="Genotype of space 'darts' has no 'cell'"):
        _ = genotype.cell
    assert not hasattr(genotype, "cell_concat")


def test_count(genotype):
    assert genotype.count("skip_connect", "normal") == 2
    assert genotype.count("skip_connect", "reduce") == 3
    assert genotype.count("none", "reduce") == 0


def test_value(genotype):
    twin = Genotype.from_json(CONTENT)
    other = Genotype.from_json({**CONTENT, "reduce_concat": [2, 3, 4, 5]})
    assert twin == genotype
    assert hash(twin) == hash(genotype)
    assert other != genotype
    assert len({twin, genotype, other}) == 2


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_copies(genotype, duplicate):
    assert duplicate(genotype) == genotype
    assert duplicate(genotype).normal == genotype.normal


def test_immutable(genotype):
    with pytest.raises(dataclasses.FrozenInstanceError):
        genotype.space = "other"
    with pytest.raises(TypeError):
        genotype.cells["normal"] = ()
    with pytest.raises(TypeError):
        genotype.outputs["normal"] = ()
    cells = {"normal": [["sep_conv_3x3", 0]]}
    made = Genotype("darts", cells)
    cells["normal"][0][0] = "none"
    assert made.normal == (("sep_conv_3x3", 0),)


def without(*keys):
    return {key: value for key, value in CONTENT.items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**CONTENT, "format": 2}, "here: `format` must be 1, got 2"),
        (without("format"), "`format` must be 1, got None"),
        ({**CONTENT, "space": 3}, "`space` must name a search space, got 3"),
        (without("space"), "`space` must name a search space, got None"),
        ({**CONTENT, "normal": "sep_conv_3x3"}, "`normal` must be a list of pairs such as .* got 'sep_conv_3x3'"),
        ({**CONTENT, "normal": [["sep_conv_3x3"]]}, "`normal` must be a list of pairs"),
        ({**CONTENT, "normal": [["sep_conv_3x3", "0"]]}, "`normal` must be a list of pairs"),
        ({**CONTENT, "normal": [["sep_conv_3x3", -1]]}, "`normal` must be a list of pairs"),
        ({**CONTENT, "normal": [["sep_conv_3x3", True]]}, "`normal` must be a list of pairs"),
        ({**CONTENT, "normal": [[4, 0]]}, "`normal` must be a list of pairs"),
        ({**CONTENT, "normal_concat": 4}, r"`normal_concat` must be a list of states such as \[2, 3, 4, 5\], got 4"),
        ({**CONTENT, "normal_concat": [2.5]}, "`normal_concat` must be a list of states"),
        ({"format": 1, "space": "darts"}, "here: no cell in it"),
        (without("reduce"), "`reduce_concat` without `reduce`"),
    ],
)
def test_malformed_content(content, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(content, "here")


def test_malformed_file(tmp_path, genotype):
    path = genotype.save(tmp_path / "genotype.json")
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(ValueError, match=r"genotype\.json: not complete JSON"):
        Genotype.load(path)
    with pytest.raises(ValueError, match=r"gone\.json: no such file"):
        Genotype.load(tmp_path / "gone.json")
    path.write_text('{"format": 9}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"genotype\.json: `format` must be 1, got 9"):
        Genotype.load(path)
