"""Where a worker of Ray's begins. A cluster whose node is killed: benchmarks/ray_cluster.py."""

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_method

from halfnas.config.schema import register
from halfnas.spaces.load import CONF


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """Of the launcher, in a launch from tmp_path."""
    monkeypatch.chdir(tmp_path)
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["hydra/launcher=ray", "hydra.job.num=0"], return_hydra_config=True)
    return cfg.hydra.launcher.ray


def test_a_worker_begins_in_the_folder_of_the_launch(settings, monkeypatch, tmp_path):
    monkeypatch.chdir("/")
    for name, value in settings.init.runtime_env.env_vars.items():
        monkeypatch.setenv(name, value)
    get_method(settings.init.runtime_env.worker_process_setup_hook)()
    assert tmp_path.samefile(".")


def test_a_node_without_that_folder_runs_nothing(settings, monkeypatch, tmp_path):
    monkeypatch.setenv("HALFNAS_LAUNCHED_IN", str(tmp_path / "elsewhere"))
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        get_method(settings.init.runtime_env.worker_process_setup_hook)()


def test_jobs_of_lost_nodes_are_begun_elsewhere(settings):
    assert settings.remote.max_retries > 0


def test_the_store_that_the_plugin_asks_for_is_left_out(settings):
    """It adds one where the key is missing, which a cluster that runs already refuses."""
    assert "object_store_memory" in settings.init
    assert settings.init.object_store_memory is None
