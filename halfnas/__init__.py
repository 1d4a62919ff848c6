"""halfnas halves a neural-architecture search space before searching it (arXiv 2505.13586)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from halfnas.networks import build_network, build_supernet
    from halfnas.spaces import Genotype, Mask, load_space

__version__ = "0.1.0"
__all__ = ["Genotype", "Mask", "__version__", "build_network", "build_supernet", "load_space"]

# Looked up on first use: the parent process of a sweep needs none of torch.
_HOMES = {
    "Genotype": "halfnas.spaces",
    "Mask": "halfnas.spaces",
    "load_space": "halfnas.spaces",
    "build_network": "halfnas.networks",
    "build_supernet": "halfnas.networks",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'halfnas' has no attribute {name!r}")
