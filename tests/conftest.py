"""Settings of all tests."""

import pytest
import torch

torch.set_num_threads(1)  # tests run in parallel processes; threads on top of them only wait for each other


def pytest_collection_modifyitems(items):
    """Tests that need a GPU are skipped without one."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
