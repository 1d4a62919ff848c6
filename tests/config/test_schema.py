"""How a job's folder is named after its settings."""

import pytest

from halfnas.config.schema import job_folder, overrides_hash


def test_tame_overrides_are_the_folder_name():
    assert job_folder("pruner=nngp,ratio=0.5,seed=0") == "pruner-nngp_ratio-0.5_seed-0"
    assert job_folder("") == "job"


@pytest.mark.parametrize("wild", ["mask=/data/../x.json", "name='a b'", "x" * 121, "a=$HOME", "a=[1,2]"])
def test_wild_overrides_are_cut_and_hashed(wild):
    name = job_folder(wild)

    assert len(name) <= 110
    assert "/" not in name
    assert " " not in name
    assert name.endswith(f"-{overrides_hash(wild.split(','))}")


def test_folders_that_differ_late_or_in_wild_letters_only_differ():
    assert job_folder("a=" + "x" * 150 + "1") != job_folder("a=" + "x" * 150 + "2")
    assert job_folder("mask=a/b") != job_folder("mask=a:b")


def test_hash_does_not_depend_on_the_order():
    assert overrides_hash(["a=1", "b=2"]) == overrides_hash(["b=2", "a=1"])
    assert overrides_hash(["a=1", "b=2"]) != overrides_hash(["a=1", "b=3"])
    # The first eight digits of sha256 of no bytes.
    assert overrides_hash([]) == "e3b0c442"


def test_the_seed_of_a_long_name_can_be_read():
    long = ",".join(f"evaluation.setting_{number}={number}" for number in range(9))
    assert job_folder(f"{long},seed=12,space=darts").rsplit("-", 1)[0].endswith("_seed-12")
    assert job_folder(f"a={'x' * 200},seed=1") != job_folder(f"a={'x' * 200},seed=11")
    assert job_folder("mask=a/b,seed=3").startswith("mask-a_b_seed-3-")
    assert len(job_folder(f"a={'x' * 300},seed=4294967295")) < 150
