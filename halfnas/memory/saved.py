"""How many bytes a forward pass keeps for its backward pass: the same figure on any device."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MIB = 2**20


class SavedTensors:
    """Context manager that counts what autograd saves inside it, each storage once.

    Attributes:
        num_bytes: bytes of the storages saved so far, those of `ignore` left out.
    """

    def __init__(self, ignore: Iterable[Tensor] = ()) -> None:
        self._ignored = {tensor.untyped_storage().data_ptr() for tensor in ignore}
        # Storages are held until the count is dropped, so that no address is used again and taken for an old one.
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)

    @property
    def num_bytes(self) -> int:
        return sum(storage.nbytes() for storage in self._storages.values())

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._ignored:
            self._storages[storage.data_ptr()] = storage
        return tensor

    def __enter__(self) -> "SavedTensors":
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)


def saved_for_backward(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes kept for the backward pass of `forward()`; parameters and buffers of `module` are left out."""
    with SavedTensors([*module.parameters(), *module.buffers()]) as saved:
        output = forward()
    assert output.requires_grad, "nothing is kept for a backward pass that cannot happen"
    return saved.num_bytes
