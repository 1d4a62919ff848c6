"""Matrix products of statistics, which no switch of the process makes less precise than their dtype.

`torch.set_float32_matmul_precision`, `torch.backends.cuda.matmul.allow_tf32` and `torch.backends.fp32_precision` let
products of float32 matrices round what they read to TF32 or bfloat16, of 11 and 8 bits instead of 24. Convolutions can
do with that, the variances of batch norms cannot: channels that cancel multiply the error (fold.py).
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, cast

import torch

_SWITCHING = threading.RLock()  # nobody looks while another thread has the switches as it needs them


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices as they are; what the process has chosen is back afterwards.

    The choice is made where a product is launched or captured into a CUDA graph, on the host and without waiting for
    the device. A compiler cannot trace it: compiled parts are called inside of it instead (cell.py).
    """
    if torch.compiler.is_compiling():
        yield
        return
    with _SWITCHING:
        switches = [torch.backends.cuda.matmul, cast(Any, torch.backends.mkldnn).matmul]
        chosen = [(switch, switch.fp32_precision) for switch in switches]
        loose = [(switch, precision) for switch, precision in chosen if precision not in ("ieee", "none")]
        if loose:
            for switch, _ in loose:
                switch.fp32_precision = "ieee"
            try:
                yield
            finally:
                for switch, precision in loose:
                    switch.fp32_precision = "none"  # if that is as before it comes from a switch above this one
                    if switch.fp32_precision != precision:
                        switch.fp32_precision = precision
            return
    yield
