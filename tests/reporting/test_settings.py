"""Files of settings that say something else than Hydra writes."""

import pytest

from halfnas.reporting.settings import flat_yaml
from halfnas.runs.yaml_files import MAX_INDICATORS


def test_settings_are_flat(config_file, tmp_path):
    text = "a: 1\nb: {c: x, d: {e: [1, 2], f: null}}\n5: true\ng: {}\n"
    assert flat_yaml(config_file(text)) == {"a": 1, "b.c": "x", "b.d.e": "[1, 2]", "b.d.f": None, "5": True}
    assert flat_yaml(tmp_path / "absent.yaml") == {}
    assert flat_yaml(config_file("- a\n")) == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (".nan", "nan"),
        ("-.inf", "-inf"),
        ("2024-01-02", "2024-01-02"),
        ("!!set {x}", "{'x'}"),
        ("9" * 400, "9" * 400),
        (str(2**63 - 1), 2**63 - 1),
        ("1e-3", "1e-3"),
        ("0.5", 0.5),
    ],
    ids=range(8),
)
def test_what_cannot_be_compared_is_text(config_file, text, value):
    assert flat_yaml(config_file(f"a: {text}")) == {"a": value}


def test_as_deep_as_is_read(config_file):
    half = MAX_INDICATORS // 2
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read \(nested too deep, or too long\)"):
        flat_yaml(config_file("a: " + "{a: " * (half - 2) + "1" + "}" * (half - 2)))


@pytest.mark.parametrize("text", ["&a {a: *a}", "a: &a [1]\nb: [*a, *a]", "a: &a {b: 1}\nc: *a", "a: &a [*a]"])
def test_parts_that_are_in_two_places(config_file, text):
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read \(a part of it is in two places\)"):
        flat_yaml(config_file(text))
