"""A search that goes on from a checkpoint ends where one that was not interrupted does, to the last bit."""

from functools import partial

import pytest
import torch

from halfnas.data import Fake, SearchData
from halfnas.search import BetaDecay, BilevelSearch, BilevelStep, Dirichlet, HardGumbel, Softmax, UnrolledStep
from halfnas.spaces import DartsSpace, Mask
from quiet import quiet_trainer
from toys import ToyPath

SPACE = DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)


#: A relaxation and a step each.
METHODS = {
    "softmax": (Softmax, BilevelStep),
    "path": (ToyPath, BilevelStep),
    "gdas": (partial(HardGumbel, 10.0, 0.1, False), BilevelStep),
    "drnas": (Dirichlet, BilevelStep),
    "darts2": (Softmax, UnrolledStep),
}


def make(engine, method):
    relaxation, step = METHODS[method]
    torch.manual_seed(0)
    module = BilevelSearch(
        SPACE, {"engine": engine}, partial_channels=2, edge_normalization=None, epochs=4,
        warmup_epochs=1, batch_size=8, learning_rate=0.1, learning_rate_min=0.0, momentum=0.9,
        weight_decay=3e-4, gradient_clip=5.0, architecture_learning_rate=0.01, architecture_betas=(0.5, 0.999),
        architecture_weight_decay=1e-3, relaxation=relaxation(), regularizer=BetaDecay(2.0), step=step,
    )  # fmt: skip
    module.begin(Mask.random(SPACE, 0.25, 0))
    dataset = Fake(
        num_classes=4, in_channels=1, image_size=8, num_train=32, num_test=8, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    return module, SearchData(dataset, batch_size=8, seed=0, warmup_epochs=1)


def fit(module, data, folder, epochs, checkpoint=None):
    trainer = quiet_trainer(max_epochs=epochs, default_root_dir=folder)
    trainer.fit(module, datamodule=data, ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("engine", ["plain", "fused"])
def test_two_of_four_epochs_and_the_others(engine, method, tmp_path):
    whole, data = make(engine, method)
    expected = fit(whole, data, tmp_path, 4)

    first, data = make(engine, method)
    fit(first, data, tmp_path, 2).save_checkpoint(tmp_path / "search.ckpt")
    torch.rand(7)  # whoever drew before
    second, data = make(engine, method)
    with torch.no_grad():  # nothing of a fresh module is left
        for parameter in second.parameters():
            parameter.add_(1.0)
    trainer = fit(second, data, tmp_path, 4, tmp_path / "search.ckpt")

    assert trainer.current_epoch == 4
    assert not first.supernet.alpha["normal"].equal(whole.supernet.alpha["normal"])
    for name, value in whole.state_dict().items():
        assert value.equal(second.state_dict()[name]), name
    for ours, theirs in zip(trainer.optimizers, expected.optimizers, strict=True):
        for state, other in zip(ours.state.values(), theirs.state.values(), strict=True):
            assert all(value.equal(other[key]) for key, value in state.items())
    for key in ("search/train_loss", "search/architecture_loss", "search/regularizer", "search/val_loss"):
        assert trainer.callback_metrics[key].equal(expected.callback_metrics[key]), key
    assert second.genotype == whole.genotype
