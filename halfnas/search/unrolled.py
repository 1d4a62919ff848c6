"""The architecture step of second-order DARTS, in plain torch: it can be captured as that of the first order can.

Source: Liu, Simonyan & Yang, DARTS, ICLR 2019, equations 6 to 8; quark0/darts f276dd3, cnn/architect.py.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from halfnas.networks import Supernet
from halfnas.networks.recompute import second_pass
from halfnas.search.step import BilevelStep

#: How far the weights are moved for a finite difference, as an L2 norm (section 2.3 of the paper; `r` of its code).
RADIUS = 0.01


class UnrolledStep(BilevelStep):
    """Moves the architecture down the loss that the second half has after a step of the weights on the first half.

        w' = w - eta * (momentum * buffer + dL_train(w)/dw + weight decay * w)
        dL_val(w')/d alpha - eta * (dL_train(w+)/d alpha - dL_train(w-)/d alpha) / (2 R)
        w+- = w +- R * dL_val(w')/dw', R = 0.01 / |dL_val(w')/dw'|

    eta is the present learning rate of the weights. A step takes five forward and backward passes, that of the weights
    among them, where one of the first order takes two. All four passes of the architecture have one draw of the
    relaxation. Weights of candidates that it did not pick have no gradient, and stay where they are.

    The published code copies the model; ours moves the weights themselves and puts them back. No pass of the
    architecture changes running statistics here, while the three on the first half do there, at w, w+ and w-. The
    regulariser is a part of L_val, while the public code of beta-DARTS leaves it out of the second order.

    The two passes of the finite difference run without autocast: bfloat16 does not see so small a change of weights.

    What `means` has as `architecture_loss` is L_val(w').

    Raises:
        ValueError: weights in half precision.
    """

    def __init__(self, supernet: Supernet, *args: Any, **settings: Any) -> None:
        super().__init__(supernet, *args, **settings)
        dtype = self._weight_parameters[0].dtype
        if dtype.itemsize < 4:
            raise ValueError(
                f"second order (searcher.step) needs weights in float32 or float64, got {dtype}, in which a finite "
                "difference is lost; use trainer.precision=bf16-mixed"
            )

    def _architecture_step(self, images: Tensor, labels: Tensor, train_images: Tensor, train_labels: Tensor) -> None:
        alphas = self.supernet.architecture_parameters()
        with second_pass(self.supernet), _put_back(self._weight_parameters) as put_back:
            self.backward(self._train_loss(train_images, train_labels))
            rate = self._descend()
            self.backward(self._architecture_loss(images, labels))
            moved = [p for p in self._weight_parameters if p.grad is not None]
            outer, direction = _gradients(alphas), _gradients(moved)
            radius = RADIUS / nn.utils.get_total_norm(direction)
            inner = []
            with torch.autocast(images.device.type, enabled=False):
                for sign in (1, -1):
                    put_back()
                    _add(moved, direction, sign * radius)
                    self.backward(self._train_loss(train_images, train_labels))
                    inner.append(_gradients(alphas))
        for alpha, first, plus, minus in zip(alphas, outer, *inner, strict=True):
            alpha.grad = first - rate.to(first.dtype) * (plus - minus) / (2 * radius)
        self.architecture.step()

    def _train_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(self._logits(images, "architecture"), labels)

    @torch.no_grad()
    def _descend(self) -> Tensor:
        """Take the step of the weights that their gradients and momentum tell; the learning rate."""
        [group] = self.weights.param_groups
        moved = [p for p in group["params"] if p.grad is not None]
        update = torch._foreach_add(_gradients(moved), moved, alpha=group["weight_decay"])
        buffers = [self.weights.state.get(p, {}).get("momentum_buffer") for p in moved]
        late = [(u, buffer) for u, buffer in zip(update, buffers, strict=True) if buffer is not None]
        if late:  # all but the first step, and parameters that had no gradient before
            torch._foreach_add_([u for u, _ in late], [buffer for _, buffer in late], alpha=group["momentum"])
        _add(moved, update, -group["lr"])
        return group["lr"]


@contextlib.contextmanager
def _put_back(parameters: Sequence[nn.Parameter]) -> Iterator[Callable[[], None]]:
    """Inside, a function that gives the parameters the values that they had; they have them again afterwards."""
    tensors: list[Tensor] = list(parameters)
    values = [torch.empty_like(p) for p in tensors]

    @torch.no_grad()
    def put_back() -> None:
        torch._foreach_copy_(tensors, values)

    with torch.no_grad():
        torch._foreach_copy_(values, tensors)
    try:
        yield put_back
    finally:
        put_back()


@torch.no_grad()
def _add(parameters: Sequence[Tensor], directions: Sequence[Tensor], factor: Tensor) -> None:
    """Add `factor * directions`; the factor is a scalar on the same device."""
    scaled = torch._foreach_mul(list(directions), factor.to(directions[0].dtype))
    torch._foreach_add_(list(parameters), scaled)


def _gradients(parameters: Sequence[Tensor]) -> list[Tensor]:
    return [p.grad for p in parameters if p.grad is not None]
