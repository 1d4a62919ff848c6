"""Going on where a run was left, and what is refused: whole runs in process. Kills are in tests/e2e/test_resume.py."""

import json
import shutil
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir

import halfnas
from halfnas.config.schema import register
from halfnas.errors import ConfigError, FileError, Refused
from halfnas.jobs.job import run_job
from halfnas.runs.checkpoints import read_checkpoint
from halfnas.runs.status import read_status
from halfnas.spaces.load import CONF
from same_run import differences
from tiny_run import TINY

SETTINGS = (
    *TINY, "logger=none", "~callbacks.progress", "dataset.max_train_images=80", "searcher.epochs=3",
    "evaluation.epochs=2",
)  # fmt: skip


def run(path, *overrides):
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        paths = [f"paths.data_dir={path / 'data'}", f"paths.output_dir={path}"]
        cfg = compose("config", [*paths, *SETTINGS, *overrides])
    run_job(cfg, path)
    return SimpleNamespace(path=path, metrics=read(path / "metrics.json"))


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


class Stop(Exception):
    """The moment at which a run ends."""


@pytest.fixture
def stopped(monkeypatch):
    """stopped(path, where, n, ...): a run that ends when `where` is called for the n-th time."""

    def start(path, where, number, *overrides):
        module, _, name = where.rpartition(".")
        owner = getattr(__import__(module.rpartition(".")[0], fromlist=["_"]), module.rpartition(".")[2])
        before, calls = getattr(owner, name), []

        def count(*args, **kwargs):
            calls.append(1)
            if len(calls) == number:
                raise Stop
            return before(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, count)
            with pytest.raises(Stop):
                run(path, *overrides)

    return start


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"))


def contents(folder):
    """Every file and what is in it."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def copy(whole, tmp_path):
    """A folder with everything that a whole run leaves."""
    return shutil.copytree(whole.path, tmp_path / "copy")


EPOCH = "halfnas.callbacks.StageCheckpoint.on_train_epoch_end"
#: Where a run ends, and when: in the search, after its last epoch, in the evaluation, after the files of a stage.
MOMENTS = [
    (EPOCH, 2), (EPOCH, 3), (EPOCH, 5),
    ("halfnas.runs.folder.RunFolder.end", 2), ("halfnas.runs.folder.RunFolder.done", 2),
    ("halfnas.runs.folder.RunFolder.done", 3), ("halfnas.runs.folder.RunFolder.finish", 1),
]  # fmt: skip


@pytest.mark.parametrize(("where", "number"), MOMENTS)
def test_it_comes_to_what_an_uninterrupted_one_does(whole, stopped, tmp_path, where, number):
    stopped(tmp_path, where, number)
    assert read_status(tmp_path)["state"] == "failed"
    run(tmp_path, "ckpt=last")
    assert differences(whole.path, tmp_path) == []
    status = read_status(tmp_path)
    assert (status["state"], status["stages_done"]) == ("done", ["prune", "search", "evaluate"])


def test_nothing_there_is_a_beginning(whole, tmp_path):
    run(tmp_path, "ckpt=last")
    assert differences(whole.path, tmp_path) == []


def test_seconds_go_on_too(stopped, tmp_path):
    stopped(tmp_path, EPOCH, 3)
    header, _ = read_checkpoint(tmp_path / "checkpoints" / "search.ckpt")
    metrics = run(tmp_path, "ckpt=last").metrics
    assert metrics["search/seconds"] > header.seconds + 0.01 > 0.05
    assert metrics["total/search_seconds"] == pytest.approx(metrics["prune/seconds"] + metrics["search/seconds"])


def test_finished_stages_are_not_run_again(copy, monkeypatch):
    def begun(*args):
        raise AssertionError("it is done")

    monkeypatch.setattr("halfnas.runs.folder.RunFolder.begin", begun)
    run(copy, "ckpt=last")
    assert read_status(copy)["stages_done"] == ["prune", "search", "evaluate"]


def test_a_stage_after_those_that_are_there(whole, tmp_path):
    run(tmp_path, "stage=prune")
    run(tmp_path, "stage=search", f"mask={tmp_path / 'mask.json'}")
    assert read_status(tmp_path)["stages_done"] == ["search"]
    run(tmp_path, "ckpt=last")
    assert read(tmp_path / "made_with.json") == read(whole.path / "made_with.json")
    assert (tmp_path / "genotype.json").read_bytes() == (whole.path / "genotype.json").read_bytes()


# --- other settings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("go_on", [(), ("ckpt=last",)])
@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("ratio=0.25", r"of stage=prune with other settings, ratio=0\.25 \(was 0\.5\)"),
        ("searcher.epochs=4", r"of stage=search with other settings, searcher\.epochs=4 \(was 3\)"),
        ("evaluation.drop_path=0.1", r"of stage=evaluate with other settings, evaluation\.drop_path=0\.1 \(was 0\.0\)"),
        ("seed=1", r"of stage=prune with other settings, seed=1 \(was 0\)"),
        ("dataset.crop_padding=0", r"dataset\.crop_padding=0 \(was 1\)"),
        ("space.init_channels=8", r"of stage=search with other settings, space\.init_channels=8 \(was 4\)"),
    ],
)
def test_results_of_other_settings_are_not_lost(copy, whole, override, told, go_on):
    before = contents(copy)
    with pytest.raises(Refused, match=told):
        run(copy, override, *go_on)
    assert contents(copy) == before  # its status too, which is that of the run whose results these are


def test_unless_they_may_be(copy):
    run(copy, "seed=1", "overwrite=true", "stage=prune")
    assert read(copy / "mask.json")["seed"] == 1
    assert list(read(copy / "made_with.json")["stages"]) == ["prune"]
    assert not (copy / "genotype.json").exists()
    assert not list((copy / "checkpoints").iterdir())


@pytest.mark.parametrize(
    "override", ["logger=csv", "paths.data_dir=elsewhere", "dataset.num_workers=2", "callbacks.progress=null"]
)
def test_what_never_is_another_setting(copy, override):
    run(copy, "~callbacks.speed" if override.startswith("callbacks") else override)


def test_a_mistake_leaves_a_good_end_as_it_stands(copy):
    before = contents(copy)
    with pytest.raises(ConfigError, match="must be at least 1"):
        run(copy, "ckpt=last", "evaluation.epochs=-1")
    assert contents(copy) == before


def test_a_stage_alone_does_not_lose_those_after_it(copy):
    before = contents(copy)
    with pytest.raises(Refused, match=r"has a result of stage=search, of what would be made anew"):
        run(copy, "stage=prune")
    assert contents(copy) == before
    run(copy, "stage=prune", "overwrite=true")
    assert list(read(copy / "made_with.json")["stages"]) == ["prune"]


def test_a_consequence_is_no_mistake_of_its_own(copy):
    with pytest.raises(Refused) as caught:
        run(copy, "searcher.epochs=4")
    assert len(caught.value.problems) == 1
    assert str(caught.value).startswith("halfnas: the folder has what these settings would destroy\n")


def test_a_mask_from_elsewhere_is_not_that_of_the_pruning(copy, tmp_path):
    run(tmp_path / "other", "stage=prune", "seed=7")
    mask = f"mask={tmp_path / 'other' / 'mask.json'}"
    run(copy, "stage=search", mask, "overwrite=true")
    with pytest.raises(Refused, match=r"of stage=search with other settings, mask=made by this run"):
        run(copy, "ckpt=last")


def test_a_damaged_mask_is_made_again(copy, whole):
    (copy / "mask.json").write_text("{")
    run(copy, "ckpt=last", "overwrite=true")
    assert differences(whole.path, copy) == []


def test_a_setting_without_bounds_is_written_down(tmp_path):
    run(tmp_path, "stage=prune+search", "searcher.gradient_clip=inf")
    assert read(tmp_path / "made_with.json")["stages"]["search"]["searcher.gradient_clip"] == "inf"
    run(tmp_path, "stage=prune+search", "searcher.gradient_clip=inf", "ckpt=last")


def test_what_was_half_written_is_taken_away(copy, whole):
    for path in (copy / ".status.json.1-2.tmp", copy / "checkpoints" / ".search.ckpt.1-2.tmp"):
        path.write_text("half")
    run(copy, "ckpt=last")
    assert contents(copy).keys() == contents(whole.path).keys()


def test_a_mask_that_would_take_the_place_of_one_that_was_made(whole, tmp_path):
    run(tmp_path, "stage=prune", "seed=3")
    before = (tmp_path / "mask.json").read_bytes()
    mask = f"mask={whole.path / 'mask.json'}"
    with pytest.raises(Refused, match=r"mask\.json is another mask than the one that is given"):
        run(tmp_path, "stage=search", mask)
    assert (tmp_path / "mask.json").read_bytes() == before
    run(tmp_path, "stage=search", mask, "overwrite=true")
    assert (tmp_path / "mask.json").read_bytes() == (whole.path / "mask.json").read_bytes()


def test_a_search_of_a_given_mask_is_not_that_of_the_pipeline(whole, tmp_path):
    run(tmp_path, "stage=prune", "seed=5")
    given = shutil.move(tmp_path / "mask.json", tmp_path / "mine.json")
    other = tmp_path / "other"
    run(other, "stage=search", f"mask={given}")
    with pytest.raises(Refused, match=r"of stage=search .*, mask=made by this run \(was [0-9a-f]{12}\)"):
        run(other)


# --- damaged checkpoints ----------------------------------------------------------------------------------------------


@pytest.fixture
def searching(stopped, tmp_path):
    """A folder of a search that was left after two of its epochs."""
    folder = tmp_path / "searching"
    stopped(folder, EPOCH, 3)
    return folder


def tear(path):
    path.write_bytes(path.read_bytes()[:1000])


def test_the_older_one_is_used_and_named(searching, whole, caplog):
    tear(searching / "checkpoints" / "search.ckpt")
    run(searching, "ckpt=last")
    [message] = [record.message for record in caplog.records if "not a whole checkpoint" in record.message]
    assert f"{searching / 'checkpoints' / 'search.ckpt'}: not a whole" in message
    assert message.endswith(f"the one before is used, {searching / 'checkpoints' / 'search-previous.ckpt'}")
    assert differences(whole.path, searching) == []


def test_where_none_is_whole_the_stage_begins_anew(searching, whole, caplog):
    for path in (searching / "checkpoints").iterdir():
        tear(path)
    run(searching, "ckpt=last")
    assert caplog.text.count("the search begins anew") == 2
    assert differences(whole.path, searching) == []


def test_those_of_other_settings_are_refused(searching):
    with pytest.raises(ConfigError, match=r"search\.ckpt: written with other settings: searcher\.epochs=9 \(was 3\)"):
        run(searching, "ckpt=last", "searcher.epochs=9")
    run(searching, "ckpt=last", "searcher.epochs=4", "overwrite=true", "stage=prune+search")


def test_those_of_another_version_are_refused(searching, monkeypatch):
    monkeypatch.setattr(halfnas, "__version__", "9.9.9")
    with pytest.raises(Refused, match=r"written by halfnas 0\.1\.0, and this is 9\.9\.9; overwrite=true begins"):
        run(searching, "ckpt=last")


def test_another_word_for_last(tmp_path):
    with pytest.raises(ConfigError, match="`ckpt` must be last, got 'best'"):
        run(tmp_path, "ckpt=best")


# --- folders that are gone or full ------------------------------------------------------------------------------------


def test_a_folder_that_is_removed_ends_the_run(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr("halfnas.stages.run.check_finite", lambda *args: shutil.rmtree(folder))
    with pytest.raises(FileError, match="run: the folder was removed while the run went on"):
        run(folder)
    assert not folder.exists()


def test_a_folder_in_the_place_of_another_is_left_alone(tmp_path, monkeypatch):
    folder = tmp_path / "run"

    def replace(*args):
        shutil.rmtree(folder)
        folder.mkdir()

    monkeypatch.setattr("halfnas.stages.run.check_finite", replace)
    with pytest.raises(FileError, match="run: the folder was removed while the run went on"):
        run(folder)
    assert list(folder.iterdir()) == []


def test_an_error_of_the_system_names_a_file(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("halfnas.stages.prune.publish_mask", full)
    with pytest.raises(FileError, match=f"cannot write {tmp_path}: No space left on device"):
        run(tmp_path)
    assert read_status(tmp_path)["error"] == f"halfnas: cannot write {tmp_path}: No space left on device"


def test_an_error_of_the_system_elsewhere_is_left_as_it_is(tmp_path, monkeypatch):
    def refused(*args, **kwargs):
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("halfnas.stages.prune.publish_mask", refused)
    with pytest.raises(ConnectionRefusedError):
        run(tmp_path)
    assert "Connection refused" in read_status(tmp_path)["error"]
