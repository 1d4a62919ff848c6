"""One step of training a discrete network, in plain torch: tensors in, tensors changed, nothing read back.

Source: quark0/darts, cnn/train.py.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from halfnas.networks import DiscreteNetwork
from halfnas.training import EpochMeans, correct


class TrainingLoss:
    """The cross entropy of a network, and of its auxiliary head where there is one.

    Args:
        network: what is trained.
        label_smoothing: smoothing of the labels in both losses.
        auxiliary_weight: what the auxiliary head's counts.
    """

    def __init__(self, network: DiscreteNetwork, *, label_smoothing: float, auxiliary_weight: float) -> None:
        self.network = network
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight

    def __call__(self, images: Tensor, labels: Tensor, drop_path: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the logits [B, num_classes]; the arguments are those of `TrainingStep`."""
        logits, auxiliary_logits = self.network.forward_with_auxiliary(images, drop_path)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if auxiliary_logits is not None:
            auxiliary_loss = nn.functional.cross_entropy(auxiliary_logits, labels, label_smoothing=self.label_smoothing)
            loss = loss + self.auxiliary_weight * auxiliary_loss
        return loss, logits


class TrainingStep:
    """A step down the loss.

    Args:
        loss: what is minimised, of a network in training mode.
        optimizer: the optimiser of all its parameters.
        gradient_clip: largest L2 norm of the gradient.
        backward: computes gradients of a loss, see `halfnas.training.averaged`.

    Attributes:
        means: `train_loss` and `train_acc` of the steps so far.
    """

    def __init__(
        self,
        loss: TrainingLoss,
        optimizer: Optimizer,
        *,
        gradient_clip: float,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
    ) -> None:
        self.loss = loss
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.backward = backward
        self._parameters = list(loss.network.parameters())
        self.means = EpochMeans(("train_loss", "train_acc"), self._parameters[0].device)

    def __call__(self, images: Tensor, labels: Tensor, drop_path: Tensor | None = None) -> None:
        """Take the step.

        Args:
            images: [B, C, H, W].
            labels: [B].
            drop_path: factors of all paths, [num_paths, B], see `drop_path_factors`; None drops none.
        """
        self.loss.network.zero_grad(set_to_none=True)
        loss, logits = self.loss(images, labels, drop_path)
        self.backward(loss)
        nn.utils.clip_grad_norm_(self._parameters, self.gradient_clip)
        self.optimizer.step()
        self.means.add(len(images), train_loss=loss, train_acc=correct(logits, labels))
