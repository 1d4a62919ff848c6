"""A search by two processes is that of one with their joined batch, up to rounding."""

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.data import Fake, SearchData
from halfnas.networks import JoinedNorms
from halfnas.spaces import Mask, load_space
from halfnas.spaces.load import CONF
from halfnas.training import Ranks, num_processes
from quiet import quiet_trainer
from ranks import on_ranks, ranks_trainer

BATCH = 8  # in all processes together
EPOCHS = 2
SIZES = {"init_channels": 4, "num_cells": 3, "num_classes": 4, "in_channels": 1}
SEARCHES = {
    "pcdarts, plain": ("darts", "beta_pcdarts", {"engine": "plain"}),
    "pcdarts, fused": ("darts", "beta_pcdarts", {"engine": "fused", "recompute": "cells"}),
    "gdas": ("darts", "gdas", {"engine": "plain"}),
    "drnas": ("nasbench201", "drnas", {"engine": "fused"}),
    "second order": ("nasbench201", "darts2", {"engine": "fused"}),
    "random_ws": ("darts", "random_ws", {"engine": "plain", "samples": 9, "sample_batches": 4, "finalists": 3}),
    "noise": ("s4", "darts", {"engine": "fused"}),
}


def merged(name):
    """What conf/searcher/NAME.yaml says on top of what it builds on."""
    content = OmegaConf.load(CONF / "searcher" / f"{name}.yaml")
    bases = [merged(base) for base in content.pop("defaults", []) if base != "_self_"]
    return OmegaConf.merge(*bases, content)


def fit(name):
    """The state of the module after the search, what it chose, and what it logged."""
    space, searcher, options = SEARCHES[name]
    space = load_space(space, **SIZES)
    samples = {key: options[key] for key in options if key not in ("engine", "recompute")}
    supernet = {key: value for key, value in options.items() if key not in samples}
    sizes = {"epochs": EPOCHS, "warmup_epochs": 0, "batch_size": BATCH // num_processes(), "seed": 3}
    settings = {key: value for key, value in merged(searcher).items() if key != "train_fraction"}
    torch.manual_seed(0)
    module = instantiate(OmegaConf.create(settings | sizes | samples), space, supernet, _convert_="all")
    module.begin(Mask.random(space, 0.75, 0))
    dataset = Fake(
        num_classes=4, in_channels=1, image_size=8, num_train=82, num_test=2, seed=0, crop_padding=1, flip=True,
        num_workers=0,
    )  # fmt: skip
    torch.manual_seed(torch.randint(1000, ()) + num_processes())  # whoever drew before
    data = SearchData(dataset, batch_size=sizes["batch_size"], seed=3, warmup_epochs=module.frozen_epochs)
    settings = {"max_epochs": EPOCHS, "precision": "64-true"}
    if num_processes() > 1:
        trainer = ranks_trainer(strategy=Ranks(norms=JoinedNorms()), sync_batchnorm=True, **settings)
    else:
        trainer = quiet_trainer(**settings)
    trainer.fit(module, datamodule=data)
    logged = {key: value.item() for key, value in trainer.callback_metrics.items()} | module.metrics()
    return module.supernet.state_dict(), module.genotype.to_json(), logged


def fit_all():
    return {name: fit(name) for name in SEARCHES}


@pytest.fixture(scope="module")
def found():
    return on_ranks(fit_all)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_same_in_one_process_and_in_two(name, found):
    state, genotype, logged = fit(name)
    for each in found:
        own_state, own_genotype, own_logged = each[name]
        assert own_genotype == genotype
        assert set(own_state) == set(state)
        error = max((own_state[key].double() - state[key].double()).abs().max().item() for key in state)
        print(name, "largest error of the state", error)
        assert error < 1e-9
        if name == "noise":  # processes share a validation unevenly, and each has noise of its own
            own_logged, expected = ({k: v for k, v in d.items() if "val_" not in k} for d in (own_logged, logged))
        else:
            expected = logged
        assert own_logged == pytest.approx(expected, rel=1e-6, abs=1e-9)
