"""Steps of a search, in plain torch: of the weights of a supernet, and of its architecture too.

A step takes tensors and changes tensors: it logs nothing, reads nothing back from the device, and what changes over
time (learning rates, the weight of the regulariser, what a relaxation draws) are tensors too. So it can be captured
into a CUDA graph, and compared with the published loop as it stands.

Sources: Liu et al., DARTS, ICLR 2019 (first order); Xu et al., PC-DARTS, ICLR 2020; their public code.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from halfnas.networks import Supernet
from halfnas.search.regularizers import Regularizer
from halfnas.search.relaxations import Relaxation, draw
from halfnas.training import EpochMeans, begin_momentum, correct, generator


class WeightStep:
    """A step of the weights on a batch of images; the architecture stays as it is.

    As in the published code architecture parameters that require a gradient do so here too, so the step keeps what
    their gradient needs.

    Args:
        supernet: the network that is searched, in training mode.
        weights: optimiser of its weights.
        gradient_clip: largest L2 norm of the weights' gradient.
        relaxation: how architecture parameters become weights of a mixture.
        seed: the seed of what the relaxation draws.
        backward: computes gradients of a loss, see `halfnas.training.averaged`.

    Attributes:
        passes: the forward passes of a step that have draws of their own, each on a batch of its own.
        measures: the names of `means`.
        means: what the steps so far have measured.
    """

    passes: ClassVar[tuple[str, ...]] = ("weights",)
    measures: ClassVar[tuple[str, ...]] = ("train_loss", "train_acc")

    def __init__(
        self,
        supernet: Supernet,
        weights: SGD,
        *,
        gradient_clip: float,
        relaxation: Relaxation,
        seed: int = 0,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
    ) -> None:
        self.supernet = supernet
        self.weights = weights
        self.gradient_clip = gradient_clip
        self.relaxation = relaxation
        self.seed = seed
        self.backward = backward
        self._noise: dict[str, Tensor | None] = {}
        self._weight_parameters = supernet.weight_parameters()
        self.means = EpochMeans(self.measures, self._weight_parameters[0].device)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Set what changes from epoch to epoch but the learning rates, before the first step of `epoch` (0-based)."""
        self.relaxation.begin_epoch(epoch, epochs)

    def draw(self, epoch: int, number: int) -> None:
        """Draw what the relaxation needs in step `number` of an epoch, both from 0; to be called before the step.

        It depends on nothing but these and the seed. On the device it is written where it was the last time, so that a
        captured step finds it there.
        """
        for which in self.passes:
            source = generator(self.seed, f"relaxation of {which}", epoch, number)
            drawn, before = draw(self.relaxation, self.supernet, source), self._noise.get(which)
            if drawn is not None and before is not None and self.relaxation.captures:
                before.copy_(drawn)
            else:
                self._noise[which] = drawn

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Take the step.

        Args:
            images: a batch of the first half, [B, C, H, W].
            labels: the labels of `images`, [B].
        """
        self._weight_step(images, labels)

    def _weight_step(self, images: Tensor, labels: Tensor) -> None:
        logits = self._logits(images, "weights")
        loss = nn.functional.cross_entropy(logits, labels)
        self.backward(loss)
        nn.utils.clip_grad_norm_(self._weight_parameters, self.gradient_clip)
        if not self.relaxation.captures:  # candidates that were not picked have no gradient
            begin_momentum(self.weights)
        self.weights.step()
        self.means.add(len(images), train_loss=loss, train_acc=correct(logits, labels))

    def _logits(self, images: Tensor, which: str) -> Tensor:
        # Gradients of either kind are of no use to the other step: summing them up would only take time.
        self.supernet.zero_grad(set_to_none=True)
        return self.supernet(images, self.relaxation(self.supernet, self._noise.get(which)))


class BilevelStep(WeightStep):
    """An architecture step on images of the second half, and a weight step on images of the first.

    Args:
        supernet, weights, gradient_clip, relaxation, seed, backward: see `WeightStep`.
        architecture: optimiser of the architecture parameters.
        regularizer: a term added to the loss of the architecture step.

    Attributes:
        regularizer_weight: the factor of the regulariser, a scalar tensor that `begin_epoch` sets.
    """

    passes = ("architecture", "weights")
    measures = ("train_loss", "train_acc", "architecture_loss", "regularizer")

    def __init__(
        self,
        supernet: Supernet,
        weights: SGD,
        architecture: Optimizer,
        *,
        gradient_clip: float,
        relaxation: Relaxation,
        regularizer: Regularizer | None = None,
        seed: int = 0,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
    ) -> None:
        super().__init__(
            supernet, weights, gradient_clip=gradient_clip, relaxation=relaxation, seed=seed, backward=backward
        )
        self.architecture = architecture
        self.regularizer = regularizer
        parameter = supernet.architecture_parameters()[0]
        self.regularizer_weight = torch.zeros((), dtype=parameter.dtype, device=parameter.device)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        super().begin_epoch(epoch, epochs)
        if self.regularizer is not None:
            self.regularizer_weight.fill_(self.regularizer.weight_at(epoch, epochs))

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        architecture_images: Tensor | None = None,
        architecture_labels: Tensor | None = None,
    ) -> None:
        """Take the step; without images of the second half the architecture stays as it is.

        Args:
            images: a batch of the first half, [B, C, H, W].
            labels: the labels of `images`, [B].
            architecture_images: a batch of the second half, [B', C, H, W].
            architecture_labels: the labels of `architecture_images`, [B'].
        """
        if architecture_images is not None and architecture_labels is not None:
            self._architecture_step(architecture_images, architecture_labels, images, labels)
        self._weight_step(images, labels)

    def _architecture_step(self, images: Tensor, labels: Tensor, train_images: Tensor, train_labels: Tensor) -> None:
        """Move the architecture down the loss of images of the second half.

        Args:
            images, labels: of the second half.
            train_images, train_labels: of the first, for methods that look at the step that the weights will take.
        """
        self.backward(self._architecture_loss(images, labels))
        self.architecture.step()

    def _architecture_loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """That of images of the second half, with the term of the regulariser; both are measured."""
        loss = nn.functional.cross_entropy(self._logits(images, "architecture"), labels)
        self.means.add(len(images), architecture_loss=loss)
        if self.regularizer is None:
            return loss
        term = self.regularizer_weight * self.regularizer(self.supernet)
        self.means.add(len(images), regularizer=term)
        return loss + term
