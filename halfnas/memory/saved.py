"""How many bytes a forward pass keeps for its backward pass: the same figure on any device."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MIB = 2**20


class SavedTensors:
    """Context manager that counts what autograd saves inside it, each storage once, those of `ignore` left out.

    Attributes:
        num_bytes: bytes of the storages saved, once the context is left.
    """

    def __init__(self, ignore: Iterable[Tensor] = ()) -> None:
        self.num_bytes = 0
        self._ignored = {tensor.untyped_storage().data_ptr() for tensor in ignore}
        # Held while counting, so that no address is used again and taken for one that was counted.
        self._storages: dict[int, torch.UntypedStorage] = {}

    def _pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._ignored:
            self._storages[storage.data_ptr()] = storage
        return tensor.detach()  # itself would hold the graph that holds it, until the next garbage collection

    def __enter__(self) -> "SavedTensors":
        self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, lambda tensor: tensor)
        self._hooks.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hooks.__exit__(*error)
        self.num_bytes = sum(storage.nbytes() for storage in self._storages.values())
        self._storages.clear()  # the activations themselves go when the caller drops the output


def saved_for_backward(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Bytes kept for the backward pass of `forward()`; parameters and buffers of `module` are left out."""
    with SavedTensors([*module.parameters(), *module.buffers()]) as saved:
        output = forward()
    assert output.requires_grad, "nothing is kept for a backward pass that cannot happen"
    return saved.num_bytes
