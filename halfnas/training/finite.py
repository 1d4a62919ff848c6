"""Whether the numbers of a training are still numbers: what is not ends the run, before anything is made of it.

Looked at once an epoch, so that no step waits for the device. Nothing is missed: the sums behind a mean over the epoch
keep a NaN or an infinity of any step, and so do parameters, running statistics and what is made of them.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from halfnas.errors import Diverged

REMEDY = "lower the learning rates, or train in a precision of a wider range (trainer.precision=32-true)"


def check_epoch(module: LightningModule, means: Mapping[str, float]) -> None:
    """Look at an epoch of training that has ended; to be called first in `on_train_epoch_end`.

    Args:
        module: its parameters and buffers are looked at, and what it has logged; it has `stage` and `epochs`.
        means: what the steps have measured, by name.

    Raises:
        Diverged: something is not finite; nothing of this epoch is written.
    """
    stage: str = module.stage  # type: ignore[assignment]
    logged = {key: value for key, value in module.trainer.callback_metrics.items() if key.startswith(f"{stage}/")}
    when = f"epoch {module.current_epoch + 1} of {module.epochs}"
    state = [*module.named_parameters(), *module.named_buffers()]
    check_finite(stage, when, [*means.items(), *logged.items(), *state])


def check_finite(stage: str, when: str, named: Iterable[tuple[str, Tensor | float]]) -> None:
    """Raise Diverged where one of some named tensors or numbers is not finite."""
    if found := not_finite(named):
        raise Diverged(stage, when, {name.removeprefix(f"{stage}/"): value for name, value in found.items()}, REMEDY)


def not_finite(named: Iterable[tuple[str, Tensor | float]]) -> dict[str, float]:
    """Find what is, or holds, a NaN or an infinity.

    Args:
        named: names and numbers, or tensors of any shape; those of integers and empty ones are finite.

    Returns:
        Name -> nan, or inf where there is no NaN, in the order given.
    """
    largest: dict[str, float] = {}
    alike: dict[tuple[torch.device, torch.dtype], list[tuple[str, Tensor]]] = {}
    for name, value in named:
        largest[name] = 0.0 if isinstance(value, Tensor) else float(value)
        if isinstance(value, Tensor) and value.is_floating_point() and value.numel():
            alike.setdefault((value.device, value.dtype), []).append((name, value.detach()))
    for tensors in alike.values():
        # The largest magnitude, which a NaN makes NaN; unlike a sum or a square it does not overflow by itself.
        norms = torch._foreach_norm([tensor for _, tensor in tensors], ord=math.inf)
        largest |= dict(zip((name for name, _ in tensors), torch.stack(norms).tolist(), strict=True))  # one read
    return {name: value for name, value in largest.items() if not math.isfinite(value)}
