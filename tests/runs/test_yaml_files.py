"""YAML that Hydra does not write."""

import pytest

from halfnas.runs.yaml_files import load_yaml


@pytest.mark.parametrize(("text", "content"), [("a: 1", {"a": 1}), ("- x\n- y", ["x", "y"]), ("", None)])
def test_what_stands_there(config_file, text, content):
    assert load_yaml(config_file(text)) == content


@pytest.mark.parametrize(
    "text",
    ["[" * 10**6, "- " * 10**5, "a: " + "[" * 50_000 + "]" * 50_000, "? " * 20_000, "{a: " * 20_000],
    ids=range(5),
)
def test_what_would_end_the_process(config_file, text):
    """libyaml calls itself for every level, until there is no stack left."""
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read \(no file of settings is so long, or nested"):
        load_yaml(config_file(text))


@pytest.mark.parametrize(
    "text",
    [
        "a: !!bool x",
        "a: !!int ''",
        "a: !!timestamp x",
        "a: 2024-13-45",
        f"a: {'9' * 5000}",
        "a: *b",
        "a: \0",
        "{[]: 1}",
    ],
    ids=range(8),
)
def test_values_that_are_none(config_file, text):
    with pytest.raises(ValueError, match=r"config\.yaml: cannot be read \(.*\)$") as caught:
        load_yaml(config_file(f"a: {text}"))
    assert str(caught.value).isprintable()


def test_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"absent\.yaml: no such file"):
        load_yaml(tmp_path / "absent.yaml")
