"""Training the chosen network from scratch, as a LightningModule.

Source: quark0/darts, cnn/train.py.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy

from halfnas.evaluation.cost import count_macs
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import Genotype, SearchSpace


class Evaluation(LightningModule):
    """SGD on a cosine to 0, drop path growing linearly, an auxiliary head that helps in training only.

    The accuracy that counts is that of the last epoch on the test set.

    Args:
        space: the space at the sizes of the final network.
        genotype: the architecture.
        init_channels, num_cells: sizes of the final network, as overrides of the space's; used where `space` is built.
        epochs, batch_size, learning_rate, momentum, weight_decay, gradient_clip: of the training.
        auxiliary, auxiliary_weight: whether there is an auxiliary head, and the weight of its loss.
        drop_path: probability that would be reached after the last epoch; epoch e of E uses drop_path * e / E.
        label_smoothing: of the training loss.
        cutout_length: side of the square erased from training images in pixels, 0 for none; used where data is loaded.
        holdout_fraction: share of the training images held out for `evaluate/val_acc`; 0 trains on all of them.

    Attributes:
        stage: prefix of the metrics.
        network: what is trained.
        figures: parameters and multiply-accumulates of the deployed network, for metrics.json.
    """

    stage = "evaluate"

    def __init__(
        self,
        space: SearchSpace,
        genotype: Genotype,
        image_size: int,
        *,
        init_channels: int,
        num_cells: int,
        epochs: int,
        batch_size: int,
        learning_rate: float,
        momentum: float,
        weight_decay: float,
        gradient_clip: float,
        auxiliary: bool,
        auxiliary_weight: float,
        drop_path: float,
        label_smoothing: float,
        cutout_length: int,
        holdout_fraction: float,
    ) -> None:
        super().__init__()
        self.network = DiscreteNetwork(space, genotype, auxiliary=auxiliary)
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.auxiliary_weight = auxiliary_weight
        self.drop_path = drop_path
        self.label_smoothing = label_smoothing
        self.cutout_length = cutout_length
        self.holdout_fraction = holdout_fraction
        self.figures = {
            "evaluate/params": self.network.num_parameters(),
            "evaluate/macs": count_macs(self.network, (space.in_channels, image_size, image_size)),
        }
        # Without a holdout the curve over epochs is that of the test set: shown, never used to choose anything.
        self._validated_on = "val" if holdout_fraction > 0 else "test"
        self.train_acc = MulticlassAccuracy(space.num_classes, average="micro")
        self.val_acc = MulticlassAccuracy(space.num_classes, average="micro")
        self.test_acc = MulticlassAccuracy(space.num_classes, average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self.network(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The training loss; also what the memory of a step is measured on."""
        return self._loss_and_logits(images, labels)[0]

    def _loss_and_logits(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        logits, auxiliary_logits = self.network.forward_with_auxiliary(images)
        loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        if auxiliary_logits is not None:
            auxiliary_loss = nn.functional.cross_entropy(auxiliary_logits, labels, label_smoothing=self.label_smoothing)
            loss = loss + self.auxiliary_weight * auxiliary_loss
        return loss, logits

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """SGD with a cosine to 0 over the epochs."""
        optimizer = torch.optim.SGD(
            self.network.parameters(), lr=self.learning_rate, momentum=self.momentum, weight_decay=self.weight_decay
        )
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.epochs)]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the norm of the gradient, whatever the trainer's settings: one trainer serves all stages."""
        self.clip_gradients(optimizer, gradient_clip_val=self.gradient_clip, gradient_clip_algorithm="norm")

    def on_train_epoch_start(self) -> None:
        """Set this epoch's drop path."""
        probability = self.drop_path * self.current_epoch / self.epochs
        self.network.set_drop_path(probability)
        self._log(1, drop_path=probability, learning_rate=cast(Any, self.optimizers()).param_groups[0]["lr"])

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """One step on augmented images."""
        images, labels = batch
        loss, logits = self._loss_and_logits(images, labels)
        self.train_acc(logits.detach(), labels)
        self._log(len(images), train_loss=loss.detach(), train_acc=self.train_acc)
        return loss

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy and loss on the holdout, or where there is none on the test set."""
        images, labels = batch
        logits = self.network(images)
        self.val_acc(logits, labels)
        loss = nn.functional.cross_entropy(logits, labels)
        self._log(len(images), **{f"{self._validated_on}_acc": self.val_acc, f"{self._validated_on}_loss": loss})

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy on the test set after the last epoch."""
        images, labels = batch
        self.test_acc(self.network(images), labels)
        self._log(len(images), test_acc=self.test_acc)

    def _log(self, batch_size: int, **values: Any) -> None:
        for name, value in values.items():
            self.log(f"evaluate/{name}", value, on_step=False, on_epoch=True, batch_size=batch_size)
