"""A tiny search and a tiny evaluation, and a way to train them."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from omegaconf import OmegaConf

from halfnas import Genotype, Mask
from halfnas.config.parts import SettingParts
from halfnas.data import EvaluationData, Fake, SearchData
from halfnas.spaces import DartsSpace


@pytest.fixture(scope="session")
def parts(compose_settings):
    cfg = compose_settings(Path("none"), "evaluation.drop_path=0.3")
    return SettingParts(OmegaConf.to_container(cfg, resolve=True), [])


@pytest.fixture(scope="session")
def space():
    return DartsSpace(init_channels=4, num_cells=3, num_classes=4, in_channels=1)


@pytest.fixture
def dataset():
    return Fake(
        num_classes=4,
        in_channels=1,
        image_size=8,
        num_train=32,
        num_test=8,
        seed=0,
        crop_padding=1,
        flip=False,
        num_workers=0,
    )


@pytest.fixture
def search(parts, space, dataset):
    """search(mask=..., batch_size=...): a search of two steps an epoch, with its data."""

    def make(mask=None, batch_size=8, epochs=2):
        seed_everything(0, verbose=False)
        mask = Mask.random(space, ratio=0.5, seed=0) if mask is None else mask
        sizes = {"batch_size": batch_size, "epochs": epochs, "warmup_epochs": 0}
        module = parts.make("searcher", space=space, supernet={"engine": "plain"}, **sizes)
        module.begin(mask)
        return SimpleNamespace(module=module, data=SearchData(dataset, batch_size=batch_size, seed=0))

    return make


@pytest.fixture
def evaluation(parts, space, dataset):
    def make(batch_size=8, epochs=2):
        seed_everything(0, verbose=False)
        genes = (("sep_conv_3x3", 0), ("skip_connect", 1)) * 4
        genotype = Genotype("darts", {"normal": genes, "reduce": genes})
        module = parts.make("evaluation", space=space, image_size=8, batch_size=batch_size, epochs=epochs)
        module.begin(genotype)
        return SimpleNamespace(
            module=module, data=EvaluationData(dataset, batch_size=batch_size, seed=0, cutout_length=0)
        )

    return make


@pytest.fixture
def fit(tmp_path):
    """fit(module, data, callbacks, ...): train on the CPU, from a fixed random state; returns the trainer."""

    def run(module, data=None, callbacks=(), **settings):
        defaults = {
            "max_epochs": getattr(module, "epochs", 2),
            "limit_train_batches": 2,
            "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in callbacks),
        }
        trainer = Trainer(
            accelerator="cpu",
            logger=False,
            callbacks=list(callbacks),
            enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **(defaults | settings),
        )
        torch.manual_seed(1)
        trainer.fit(module, datamodule=data)
        return trainer

    return run
