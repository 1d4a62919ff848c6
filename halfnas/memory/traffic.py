"""What a function asks of a device: how many operations it dispatches and how many bytes these read and write.

On a GPU an operation costs a launch, and an elementwise one the time that its bytes take to move. Both can be counted
on any device.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

#: Operators that are counted themselves; others, those of extensions, by what their kernels call.
NAMESPACES = ("aten", "prims")


class Traffic(TorchDispatchMode):
    """Context manager that counts the operations inside it that are no views, backward passes included.

    An operation is a view if it writes nothing and all tensors that it gives lie in the memory of those that it is
    given. What deals with no tensor, or with their shapes alone, is none either.

    The bytes of an operation are those of all tensors that it reads and writes, as large as it sees them: what it
    changes in place counts twice, what an expanded dimension repeats each time.

    Attributes:
        calls: how often each operation was called, by name.
        bytes_of: bytes that each moved, by name.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes_of: Counter[str] = Counter()

    @property
    def num_operations(self) -> int:
        """The sum over all names."""
        return self.calls.total()

    @property
    def num_bytes(self) -> int:
        """Moved by all operations."""
        return self.bytes_of.total()

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function.namespace not in NAMESPACES:
            return self._inside(function, args, kwargs)
        with self:  # what others stand for, unless autograd has come before
            outputs = function.decompose(*args, **kwargs)
        if outputs is not NotImplemented:
            return outputs
        outputs = function(*args, **kwargs)
        arguments = {argument.name: argument for argument in function._schema.arguments}
        given = dict(zip(arguments, args, strict=False)) | kwargs
        read = _tensors([value for name, value in given.items() if not arguments[name].is_out])
        changed = _tensors([value for name, value in given.items() if _is_written(arguments[name])])
        written = changed or _tensors(outputs)
        is_view = torch.Tag.inplace_view in function.tags or not (changed or _is_new(written, read, outputs))
        if not is_view:
            name = function._schema.name.removeprefix("aten::")
            self.calls[name] += 1
            self.bytes_of[name] += sum(tensor.numel() * tensor.element_size() for tensor in (*read, *written))
        return outputs

    def _inside(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Run the kernel of an extension, counting what it calls."""
        device = next((tensor.device.type for tensor in _tensors((args, kwargs))), "cpu")
        key = getattr(torch._C.DispatchKey, device.upper())
        with self:
            return function.redispatch(torch._C.DispatchKeySet(key), *args, **kwargs)


def _tensors(tree: Any) -> list[Tensor]:
    """All in nested lists, tuples and dictionaries."""
    return [leaf for leaf in tree_iter(tree) if isinstance(leaf, Tensor)]


def _is_written(argument: Any) -> bool:
    return argument.alias_info is not None and argument.alias_info.is_write


def _is_new(written: Sequence[Tensor], read: Sequence[Tensor], outputs: Any) -> bool:
    """Whether some output is not in the memory of an input, or a number was read from a tensor."""
    if not written:
        return bool(read) and isinstance(outputs, int | float) and not isinstance(outputs, bool)
    memory = {tensor.untyped_storage()._cdata for tensor in read}
    return any(tensor.untyped_storage()._cdata not in memory for tensor in written)
