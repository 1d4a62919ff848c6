"""A pruning by several processes is that of one, to the last bit."""

import pickle

import pytest

from halfnas.data import Fake, PruningData
from halfnas.pruning import PruningModule
from halfnas.pruning.etenas import ETENASPruner
from halfnas.pruning.rankers import NNGPFrobenius, NNGPMean
from halfnas.pruning.scoring import NotFinite, Unusable
from invented import NARROW_SPACE, make_pruner
from lines import Lines
from quiet import quiet_trainer
from ranks import on_ranks, ranks_trainer


def etenas():
    return ETENASPruner(
        "etenas", {"nngp": NNGPFrobenius(), "mean": NNGPMean(1.0, 1)}, repeats=1, prune_number=3, channels=1,
        network={}, image_size=None, num_batches=1, batch_size=4,
    )  # fmt: skip


PRUNERS = {
    "a number": lambda: make_pruner(begin=False, repeats=5),
    "auto": lambda: make_pruner(begin=False, repeats="auto", max_repeats=30, rounds=1, stability=0.75),
    "etenas": etenas,
}


def fit(name, folder, make_trainer=quiet_trainer):
    """Everything that a pruning leaves and logs."""
    dataset = Fake(
        num_classes=10, in_channels=1, image_size=8, num_train=20, num_test=2, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    lines = Lines()
    pruner = PRUNERS[name]()
    module = PruningModule(pruner, NARROW_SPACE, NARROW_SPACE, ratio=0.25, seed=5)
    size = pruner.batch_size * pruner.num_batches
    data = PruningData(dataset, batch_size=size, num_batches=pruner.max_steps, seed=5)
    trainer = make_trainer(max_epochs=1, logger=lines, log_every_n_steps=1)
    trainer.fit(module, datamodule=data)
    numbers = {key: value.item() for key, value in trainer.callback_metrics.items()}
    pruner.mask.save(folder / str(trainer.global_rank))
    text = (folder / str(trainer.global_rank)).read_text()
    return text, pruner.steps_taken, pruner.metrics(), numbers, lines.lines


def fit_one_of(name, folder):
    return fit(name, folder, ranks_trainer)


@pytest.mark.parametrize("error", [Unusable("all the same"), NotFinite("nngp of the scoring network", float("inf"))])
def test_why_a_repeat_cannot_be_used_is_told_to_other_processes(error):
    told = pickle.loads(pickle.dumps(error))
    assert str(told) == str(error)
    assert vars(told) == vars(error)


@pytest.mark.parametrize("name", PRUNERS)
@pytest.mark.parametrize("num_ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_same_in_one_process_and_in_several(name, num_ranks, tmp_path):
    alone = fit(name, tmp_path)
    for found in on_ranks(fit_one_of, name, tmp_path, num_ranks=num_ranks):
        assert found == alone
