"""Settings and fixtures of all tests."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from halfnas.config.schema import register
from halfnas.spaces.load import CONF

torch.set_num_threads(1)  # tests run in parallel processes; threads on top of them only wait for each other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a GPU are skipped without one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(autouse=True)
def cudnn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """On a GPU the same algorithms every time, and none that are tried out first, which takes seconds a shape."""
    if request.node.get_closest_marker("gpu") and torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
        monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
        yield
        torch.cuda.empty_cache()
    else:
        yield


@pytest.fixture(autouse=True)
def signals() -> None:
    """What ends a program does so here and in what a test starts.

    Shells ignore Ctrl-C in the background, as Lightning does once interrupted, and nohup ignores SIGHUP.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def compose_settings() -> Callable[..., DictConfig]:
    """compose_settings(folder, *overrides): what train.py would be given, with its data and files in `folder`."""

    def make(folder: Path, *overrides: str) -> DictConfig:
        register()
        paths = [f"paths.data_dir={folder / 'data'}", f"paths.output_dir={folder}"]
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("config", [*paths, *overrides])

    return make


@pytest.fixture
def settings(compose_settings: Callable[..., DictConfig], tmp_path: Path) -> Callable[..., DictConfig]:
    """settings(*overrides): the same in a folder of the test's own."""
    return lambda *overrides: compose_settings(tmp_path, *overrides)


@pytest.fixture
def config_file(tmp_path: Path) -> Callable[[str], Path]:
    """config_file(text): a config.yaml with it."""

    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
