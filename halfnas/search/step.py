"""One step of the bi-level search, in plain torch.

It takes tensors and changes tensors: it logs nothing, reads nothing back from the device, and what changes over time
(learning rates, the weight of the regulariser) are tensors too. So it can be captured into a CUDA graph, and compared
with the published loop as it stands.

Sources: Liu et al., DARTS, ICLR 2019 (first order); Xu et al., PC-DARTS, ICLR 2020; their public code.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from halfnas.networks import Supernet
from halfnas.search.regularizers import Regularizer
from halfnas.search.relaxations import Relaxation
from halfnas.training import EpochMeans, correct


class BilevelStep:
    """An architecture step on images of the second half, and a weight step on images of the first.

    As in the published code both kinds of parameter require a gradient in both steps, so a weight step keeps what the
    gradient of alpha needs.

    Args:
        supernet: what is searched, in training mode.
        weights: optimiser of its weights.
        architecture: optimiser of its architecture parameters.
        gradient_clip: largest L2 norm of the weights' gradient.
        relaxation: how architecture parameters become weights of a mixture.
        regularizer: a term added to the loss of the architecture step.
        backward: computes gradients of a loss; that of Lightning where several processes share them.

    Attributes:
        regularizer_weight: the factor of the regulariser, a scalar tensor to be set every epoch.
        means: `train_loss`, `train_acc`, `architecture_loss` and `regularizer` of the steps so far.
    """

    def __init__(
        self,
        supernet: Supernet,
        weights: Optimizer,
        architecture: Optimizer,
        *,
        gradient_clip: float,
        relaxation: Relaxation,
        regularizer: Regularizer | None = None,
        backward: Callable[[Tensor], None] = torch.Tensor.backward,
    ) -> None:
        self.supernet = supernet
        self.weights = weights
        self.architecture = architecture
        self.gradient_clip = gradient_clip
        self.relaxation = relaxation
        self.regularizer = regularizer
        self.backward = backward
        self._weight_parameters = supernet.weight_parameters()
        parameter = supernet.architecture_parameters()[0]
        self.regularizer_weight = torch.zeros((), dtype=parameter.dtype, device=parameter.device)
        names = ("train_loss", "train_acc", "architecture_loss", "regularizer")
        self.means = EpochMeans(names, parameter.device)

    def __call__(
        self,
        images: Tensor,
        labels: Tensor,
        architecture_images: Tensor | None = None,
        architecture_labels: Tensor | None = None,
    ) -> None:
        """Take the step; without images of the second half the architecture stays as it is.

        Args:
            images: of the first half, [B, C, H, W].
            labels: theirs, [B].
            architecture_images: of the second half, [B', C, H, W].
            architecture_labels: theirs, [B'].
        """
        if architecture_images is not None and architecture_labels is not None:
            self._architecture_step(architecture_images, architecture_labels)
        self._weight_step(images, labels)

    def _architecture_step(self, images: Tensor, labels: Tensor) -> None:
        loss = nn.functional.cross_entropy(self._logits(images), labels)
        self.means.add(len(images), architecture_loss=loss)
        if self.regularizer is not None:
            term = self.regularizer_weight * self.regularizer(self.supernet)
            self.means.add(len(images), regularizer=term)
            loss = loss + term
        self.backward(loss)
        self.architecture.step()

    def _weight_step(self, images: Tensor, labels: Tensor) -> None:
        logits = self._logits(images)
        loss = nn.functional.cross_entropy(logits, labels)
        self.backward(loss)
        nn.utils.clip_grad_norm_(self._weight_parameters, self.gradient_clip)
        self.weights.step()
        self.means.add(len(images), train_loss=loss, train_acc=correct(logits, labels))

    def _logits(self, images: Tensor) -> Tensor:
        # Gradients of either kind are of no use to the other step: summing them up would only take time.
        self.supernet.zero_grad(set_to_none=True)
        return self.supernet(images, self.relaxation(self.supernet))
