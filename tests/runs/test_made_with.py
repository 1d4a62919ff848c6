import pytest

from halfnas import Mask, load_space
from halfnas.runs.made_with import differences, digest, read_made_with, write_made_with


def test_settings_of_stages_come_back(tmp_path):
    assert read_made_with(tmp_path) == {}
    write_made_with(tmp_path, {"prune": {"seed": 0, "dataset.mean": [0.5]}})
    assert read_made_with(tmp_path) == {"prune": {"seed": 0, "dataset.mean": [0.5]}}
    write_made_with(tmp_path, {})
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "made_with.json").write_text('{"stages": [1]}')
    with pytest.raises(ValueError, match=r"made_with\.json: `stages` must have the settings of stages"):
        read_made_with(tmp_path)


def test_differences_in_the_words_of_the_command_line():
    before = {"seed": 0, "ratio": 0.5, "flip": True, "gone": 1}
    now = {"seed": 0, "ratio": 0.25, "flip": None, "new": False}
    assert differences(now, before) == [
        "ratio=0.25 (was 0.5)", "flip=null (was true)", "new=false (was null)", "gone=null (was 1)",
    ]  # fmt: skip
    assert differences(now, now) == []


def test_digests_tell_masks_apart():
    space = load_space("darts")
    first, again, other = (Mask.random(space, 0.5, seed) for seed in (0, 0, 1))
    assert digest(first) == digest(again) != digest(other)
    assert len(digest(first)) == 12
