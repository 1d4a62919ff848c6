"""Datasets as conf/dataset/ describes them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.data import ImageDataset

CONF = Path(__file__).parents[2] / "conf" / "dataset"


@pytest.fixture
def make_dataset() -> Callable[..., ImageDataset]:
    """make_dataset(name, data_dir=..., **overrides): instantiate conf/dataset/<name>.yaml as a run does."""

    def make(name: str, data_dir: Path | str = "data", **overrides: Any) -> ImageDataset:
        dataset = OmegaConf.load(CONF / f"{name}.yaml")
        conf = OmegaConf.create({"paths": {"data_dir": str(data_dir)}, "dataset": dataset})
        return instantiate(conf.dataset, **overrides, _convert_="all")

    return make


@pytest.fixture
def real_cifar_dir() -> Path:
    """Where the published files are; tests that need them are skipped elsewhere."""
    folder = Path(os.environ.get("HALFNAS_DATA", "data"))
    if not (folder / "cifar-10-batches-py").is_dir() or not (folder / "cifar-100-python").is_dir():
        pytest.skip(f"no CIFAR in {folder.resolve()}; set HALFNAS_DATA to the folder of cifar-10-batches-py")
    return folder
