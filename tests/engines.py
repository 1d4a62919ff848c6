"""What tests of search steps share: the other ways of computing a supernet, and a host that must not look."""

import pytest
import torch

#: `options` of `build_supernet`, held against the plain engine without recomputation.
other_engines = pytest.mark.parametrize(
    "options",
    [
        {"engine": "fused"},
        {"engine": "fused", "recompute": "nodes"},
        {"engine": "fused", "recompute": "cells"},
        {"recompute": "nodes"},
        {"recompute": "cells"},
    ],
    ids=lambda options: "-".join(options.values()),
)


def forbid_reading(monkeypatch):
    """From now on no value of a tensor may be looked at: on a GPU Python would wait for it, and break a capture."""

    def read(*_):
        raise AssertionError("a value was read")

    for name in ("item", "tolist", "__bool__", "__float__", "__int__", "numpy", "cpu"):
        monkeypatch.setattr(torch.Tensor, name, read)
