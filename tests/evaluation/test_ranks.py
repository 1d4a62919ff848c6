"""A training by two processes is that of one with their joined batch, up to rounding."""

import pytest
import torch

from halfnas.data import EvaluationData, Fake
from halfnas.evaluation import Evaluation
from halfnas.networks import JoinedNorms
from halfnas.spaces import DartsSpace, find_genotype
from halfnas.training import Ranks, num_processes
from quiet import quiet_trainer
from ranks import on_ranks, ranks_trainer

BATCH = 8  # in all processes together
SETTINGS = {
    "epochs": 2, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 3e-4, "gradient_clip": 5.0, "auxiliary": True,
    "auxiliary_weight": 0.4, "drop_path": 0.2, "label_smoothing": 0.1, "holdout_fraction": 0.25,
}  # fmt: skip


def fit():
    """The state of the module after the training, and what it logged there and on the test set."""
    torch.manual_seed(0)
    space = DartsSpace(init_channels=2, num_cells=3, in_channels=1)
    module = Evaluation(space, 32, batch_size=BATCH // num_processes(), **SETTINGS)
    module.begin(find_genotype("darts_v2"))
    dataset = Fake(
        num_classes=10, in_channels=1, image_size=32, num_train=44, num_test=13, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    data = EvaluationData(dataset, batch_size=module.batch_size, seed=0, cutout_length=4, holdout_fraction=0.25)
    settings = {"max_epochs": module.epochs, "precision": "64-true"}
    if num_processes() > 1:
        trainer = ranks_trainer(strategy=Ranks(norms=JoinedNorms()), sync_batchnorm=True, **settings)
    else:
        trainer = quiet_trainer(**settings)
    trainer.fit(module, datamodule=data)
    logged = dict(trainer.callback_metrics)
    trainer.test(module, datamodule=data, verbose=False)
    logged |= trainer.callback_metrics
    return module.network.state_dict(), {key: value.item() for key, value in logged.items()}


def test_same_in_one_process_and_in_two():
    state, logged = fit()
    assert {"evaluate/val_acc", "evaluate/val_loss", "evaluate/test_acc", "evaluate/train_loss"} <= set(logged)
    assert (logged["evaluate/val_images"], logged["evaluate/test_images"]) == (11, 13)
    for own_state, own_logged in on_ranks(fit):
        assert set(own_state) == set(state)
        error = max((own_state[key].double() - state[key].double()).abs().max().item() for key in state)
        assert error < 1e-12
        assert own_logged == pytest.approx(logged, rel=1e-6)
