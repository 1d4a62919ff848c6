"""A search gives the same whichever way its supernet is computed."""

import pytest
import torch

from halfnas.data import Fake, SearchData
from halfnas.networks.fused.cell import FusedCell
from halfnas.search import BilevelSearch
from halfnas.spaces import DartsSpace, Mask
from quiet import quiet_trainer

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)
IMAGES = {"num_classes": 4, "in_channels": 1, "image_size": 8, "num_train": 32, "num_test": 8, "seed": 0}
SETTINGS = {
    "partial_channels": 2,
    "edge_normalization": None,
    "epochs": 2,
    "warmup_epochs": 1,
    "batch_size": 8,
    "learning_rate": 0.1,
    "learning_rate_min": 0.0,
    "momentum": 0.9,
    "weight_decay": 3e-4,
    "gradient_clip": 5.0,
    "architecture_learning_rate": 0.01,
    "architecture_betas": (0.5, 0.999),
    "architecture_weight_decay": 1e-3,
}


@pytest.fixture
def search(tmp_path):
    """search(engine=..., ...): the module after two epochs of two steps, and its trainer."""

    def run(precision="64-true", seed=3, **supernet):
        torch.manual_seed(0)
        module = BilevelSearch(SPACE, supernet, **SETTINGS)
        module.begin(Mask.random(SPACE, 0.5, seed))
        dataset = Fake(**IMAGES, crop_padding=0, flip=False, num_workers=0)
        data = SearchData(dataset, batch_size=8, seed=0, warmup_epochs=SETTINGS["warmup_epochs"])
        trainer = quiet_trainer(max_epochs=2, precision=precision, default_root_dir=tmp_path)
        trainer.fit(module, datamodule=data)
        return module, trainer

    return run


@pytest.mark.parametrize("recompute", ["none", "nodes", "cells"])
def test_engines_end_in_the_same_place(search, recompute):
    plain, trainer = search(engine="plain")
    fused, other = search(engine="fused", recompute=recompute)

    moved = plain.supernet.alpha["normal"].detach().abs().max()
    assert moved > 0.005, "the architecture was trained"
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], expected, rtol=1e-7, atol=1e-9, msg=name)
    for key in ("search/train_loss", "search/val_loss", "search/val_acc"):
        assert other.callback_metrics[key].item() == pytest.approx(trainer.callback_metrics[key].item(), rel=1e-6)
    assert fused.genotype == plain.genotype


@pytest.mark.parametrize("recompute", ["none", "cells"])
def test_bf16_stays_near_float32(search, recompute):
    exact, trainer = search("32-true", engine="fused")
    rough, other = search("bf16-mixed", engine="fused", recompute=recompute)

    assert all(parameter.dtype == torch.float32 and parameter.isfinite().all() for parameter in rough.parameters())
    losses = [t.callback_metrics["search/train_loss"].item() for t in (trainer, other)]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
    for name, expected in exact.supernet.alpha.items():
        assert (rough.supernet.alpha[name] - expected).abs().mean() < 0.01


def test_compilation_comes_before_the_first_step(search, monkeypatch):
    """With a backend that compiles nothing, as that is tested elsewhere and takes minutes."""
    compiled = []

    def compile_parts(cell):
        for fan in cell.fans:
            fan.compile(backend=lambda graph, inputs: compiled.append(graph) or graph.forward, dynamic=False)

    monkeypatch.setattr(FusedCell, "compile_parts", compile_parts)
    monkeypatch.setattr("halfnas.networks.build.check_compile", lambda *arguments: None)
    torch.compiler.reset()
    counts = []
    monkeypatch.setattr(
        BilevelSearch, "on_train_epoch_start", lambda module: counts.append(len(compiled)), raising=False
    )
    fused, trainer = search("32-true", engine="fused", compile=True)
    usual, other = search("32-true", engine="fused")

    assert counts[0] > 0
    assert len(compiled) == counts[0], "nothing was compiled once training had begun"
    assert trainer.callback_metrics["search/compile_seconds"] > 0
    assert "search/compile_seconds" not in other.callback_metrics
    for name, expected in usual.state_dict().items():
        torch.testing.assert_close(fused.state_dict()[name], expected, rtol=1e-3, atol=1e-4, msg=name)


def test_a_compiler_that_fails_is_named(search, monkeypatch):
    def broken(graph, inputs):
        raise OSError("no space left on device")

    monkeypatch.setattr(FusedCell, "compile_parts", lambda cell: [fan.compile(backend=broken) for fan in cell.fans])
    monkeypatch.setattr("halfnas.networks.build.check_compile", lambda *arguments: None)
    torch.compiler.reset()
    with pytest.raises(RuntimeError, match=r"could not be compiled here .*set supernet\.compile=false"):
        search(engine="fused", compile=True)
