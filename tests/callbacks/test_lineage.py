"""Artifacts and what they were made from, with the W&B run replaced; tests/e2e reads those of a real one."""

import hashlib
import logging
from types import SimpleNamespace

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger

from halfnas import Genotype, Mask
from halfnas.callbacks import Lineage
from halfnas.callbacks.lineage import describe
from halfnas.callbacks.loggers import RunLogger
from halfnas.data import Fake

GENES = (("sep_conv_3x3", 0), ("skip_connect", 1)) * 4
FOUND = Genotype("darts", {"normal": GENES, "reduce": GENES})


class Config(dict):
    def update(self, values, allow_val_change):
        assert allow_val_change
        super().update(values)


class Run:
    """Takes what a W&B run takes; `error` is what its server answers to inputs."""

    def __init__(self, offline, error=None):
        self.offline = offline
        self.error = error
        self.config = Config(pruner="nngp", ratio=0.5, searcher="darts")
        self.inputs, self.outputs, self.waited = [], [], False

    def use_artifact(self, artifact):
        assert not self.offline, "W&B refuses"
        if self.error:
            raise self.error
        self.inputs.append(artifact)
        self.waited = True

    def log_artifact(self, artifact):
        self.outputs.append(artifact)

    def _log_artifact(self, artifact, *, is_user_created, use_after_commit):
        assert self.offline
        assert is_user_created, "or the run would count as the artifact's maker"
        assert use_after_commit
        self.inputs.append(artifact)


@pytest.fixture(params=[True, False], ids=["offline", "online"])
def run(request):
    return Run(offline=request.param)


def lineage(run, log_weights=True):
    return Lineage([RunLogger(run, log_weights=log_weights)])


def sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


def whole_run(run, folder, space, dataset, log_weights=True):
    mask = Mask.random(space, ratio=0.25, seed=3)
    mask.save(folder / "mask.json")
    FOUND.save(folder / "genotype.json")
    (folder / "evaluate.ckpt").write_bytes(b"weights")
    noted = lineage(run, log_weights)
    noted.dataset(dataset)
    noted.mask(mask, folder / "mask.json")
    noted.genotype(FOUND, folder / "genotype.json")
    metrics = {"search/val_acc": 0.1, "evaluate/test_acc": 0.5, "evaluate/params": 7, "evaluate/seconds": 2.0}
    noted.weights(folder / "evaluate.ckpt", metrics)


def test_each_says_what_it_was_made_from(run, tmp_path, space, dataset):
    whole_run(run, tmp_path, space, dataset)

    [images] = run.inputs
    mask, genotype, weights = run.outputs
    assert [artifact.type for artifact in (images, mask, genotype, weights)] == [
        "dataset",
        "mask",
        "genotype",
        "weights",
    ]
    from_images = {"dataset": f"fake@{images.metadata['sha256']}"}
    from_mask = {**from_images, "mask": sha256(tmp_path / "mask.json")}
    from_genotype = {**from_mask, "genotype": sha256(tmp_path / "genotype.json")}
    assert [a.metadata["made_from"] for a in (mask, genotype, weights)] == [from_images, from_mask, from_genotype]
    assert [a.metadata["sha256"] for a in (mask, genotype)] == [from_mask["mask"], from_genotype["genotype"]]
    own = {"space": "darts", "ratio": 0.25, "pruner": "random", "seed": 3}
    assert {key: mask.metadata[key] for key in own} == own
    assert {key: weights.metadata[key] for key in ("test_acc", "params")} == {"test_acc": 0.5, "params": 7}
    assert "seconds" not in weights.metadata
    assert [list(a.manifest.entries) for a in (images, mask, genotype, weights)] == [
        ["dataset.json"],
        ["mask.json"],
        ["genotype.json"],
        ["evaluate.ckpt"],
    ]
    assert run.waited is not run.offline


def test_what_one_run_makes_is_what_another_is_given(tmp_path, space, dataset):
    """The same name and content, so that W&B joins the two runs by one artifact."""
    maker, user = Run(offline=True), Run(offline=False)
    whole_run(maker, tmp_path, space, dataset)
    Mask.load(tmp_path / "mask.json").save(tmp_path / "copy" / "mask.json")
    noted = lineage(user)
    noted.mask(Mask.load(tmp_path / "mask.json"), tmp_path / "copy" / "mask.json", given=True)
    noted.genotype(FOUND, tmp_path / "genotype.json")

    [made, *_], [given] = maker.outputs, user.inputs
    assert (made.name, made.digest) == (given.name, given.digest)
    assert "made_from" not in given.metadata  # unknown here, and written there
    assert user.outputs[0].metadata["made_from"] == {"mask": made.metadata["sha256"]}


def test_jobs_of_a_sweep_do_not_overwrite_each_other(tmp_path, space):
    names = set()
    for seed in range(3):
        run, mask = Run(offline=True), Mask.random(space, ratio=0.5, seed=seed)
        lineage(run).mask(mask, mask.save(tmp_path / str(seed) / "mask.json"))
        names |= {artifact.name for artifact in run.outputs}
    assert len(names) == 3


def test_a_given_genotype_is_an_input(run, tmp_path):
    lineage(run).genotype(FOUND, FOUND.save(tmp_path / "genotype.json"), given=True)
    assert [artifact.type for artifact in run.inputs] == ["genotype"]
    assert run.outputs == []


def test_weights_stay_here_where_they_are_not_wanted(run, tmp_path, space, dataset):
    whole_run(run, tmp_path, space, dataset, log_weights=False)
    assert [artifact.type for artifact in run.outputs] == ["mask", "genotype"]


def test_weights_that_were_not_saved(run, tmp_path):
    lineage(run).weights(tmp_path / "evaluate.ckpt", {"evaluate/test_acc": 0.5})
    assert run.outputs == []


@pytest.mark.parametrize("error", [wandb.errors.CommError("no server"), ValueError("no project")])
def test_an_input_that_the_server_refuses_does_not_end_the_run(tmp_path, dataset, caplog, error):
    run = Run(offline=False, error=error)
    with caplog.at_level(logging.WARNING):
        lineage(run).dataset(dataset)

    assert f"did not take the artifact dataset-fake: {error}" in caplog.text


def test_without_wandb_no_image_is_read(tmp_path, space):
    untouchable = SimpleNamespace()
    noted = Lineage([CSVLogger(tmp_path)])
    noted.dataset(untouchable)
    noted.mask(Mask.full(space), tmp_path / "absent.json")
    noted.weights(tmp_path / "absent.ckpt", {})


# --- fingerprints -----------------------------------------------------------------------------------------------------


def fake(**changes):
    settings = {"num_classes": 4, "in_channels": 1, "image_size": 8, "num_train": 600, "num_test": 8, "seed": 0}
    return Fake(**(settings | changes), crop_padding=1, flip=True, num_workers=0)


def test_a_dataset_is_described_alike_every_time():
    assert describe(fake()) == describe(fake())
    assert describe(fake())["num_train_images"] == 600
    assert describe(fake())["num_test_images"] == 8


@pytest.mark.parametrize("change", [{"seed": 1}, {"num_train": 599}, {"num_test": 9}, {"num_classes": 3}])
def test_another_dataset_has_another_fingerprint(change):
    assert describe(fake(**change))["fingerprint"] != describe(fake())["fingerprint"]
