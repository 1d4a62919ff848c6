"""Training the chosen network from scratch as a LightningModule: it drives `TrainingStep`, and logs once an epoch."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Literal

import torch
from lightning.pytorch import LightningModule
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torchmetrics import MeanMetric, Metric
from torchmetrics.classification import MulticlassAccuracy

from halfnas.evaluation.cost import count_macs
from halfnas.evaluation.drop_path import drop_path_factors
from halfnas.evaluation.step import TrainingLoss, TrainingStep
from halfnas.networks import DiscreteNetwork
from halfnas.spaces import Genotype, SearchSpace
from halfnas.training import (
    Replay,
    averaged,
    check_epoch,
    cosine,
    generator,
    seed_default_generators,
    set_learning_rate,
    sgd,
    to_device,
)


class Evaluation(LightningModule):
    """SGD on a cosine to 0, drop path growing linearly, an auxiliary head that helps in training only.

    The accuracy that counts is that of the last epoch on the test set.

    Args:
        space: the space at the sizes of the final network.
        image_size: the side of the images in pixels.
        epochs, batch_size, learning_rate, momentum, weight_decay, gradient_clip: settings of the training by SGD.
        auxiliary, auxiliary_weight: whether there is an auxiliary head (auto: where the space has one for such images),
            and the weight of its loss.
        drop_path: probability that would be reached after the last epoch; epoch e of E uses drop_path * e / E.
        label_smoothing: smoothing of the labels in the training loss.
        holdout_fraction: share of the training images held out; with any, what is validated is `evaluate/val_acc`.
        channels_last: how the network's maps lie in memory; the same numbers up to rounding, faster on many devices.
        seed: the seed of drop path.
        cuda_graphs: whether steps are captured, see `halfnas.training.Replay`.

    Attributes:
        stage: prefix of the metrics.
        auxiliary: whether there is an auxiliary head.
        network: what is trained, once `begin` has made it.
        step: what a training step does, once the optimiser is made.
    """

    stage = "evaluate"

    def __init__(
        self,
        space: SearchSpace,
        image_size: int,
        *,
        epochs: Annotated[int, Field(ge=1, description="epochs of the final training")],
        batch_size: Annotated[int, Field(ge=2, description="batch norm cannot train on one image")],
        learning_rate: PositiveFloat,
        momentum: Annotated[float, Field(ge=0, lt=1)],
        weight_decay: NonNegativeFloat,
        gradient_clip: PositiveFloat,
        auxiliary: bool | Literal["auto"],
        auxiliary_weight: float,
        drop_path: Annotated[float, Field(ge=0, lt=1, description="a probability; 0 switches it off")],
        label_smoothing: Annotated[float, Field(ge=0, lt=1, description="0 switches it off")],
        holdout_fraction: float,
        channels_last: bool = False,
        seed: int = 0,
        cuda_graphs: str | bool = "auto",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network: DiscreteNetwork
        self._space = space
        self._image_size = image_size
        self.auxiliary = space.has_auxiliary_head(image_size) if auxiliary == "auto" else auxiliary
        self._make_loss = partial(TrainingLoss, label_smoothing=label_smoothing, auxiliary_weight=auxiliary_weight)
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.drop_path = drop_path
        self.seed = seed
        self.cuda_graphs = cuda_graphs
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        # Without a holdout the curve over epochs is that of the test set: shown, never used to choose anything.
        self.holdout_fraction = holdout_fraction
        self._validated_on = "val" if holdout_fraction > 0 else "test"
        # Without a check of their arguments, which would wait for the device.
        self.val_acc = MulticlassAccuracy(space.num_classes, average="micro", validate_args=False)
        self.test_acc = MulticlassAccuracy(space.num_classes, average="micro", validate_args=False)
        self.val_loss = MeanMetric(nan_strategy="disable")  # of single images: so it ignores weights (torchmetrics 1.9)

    def begin(self, genotype: Genotype) -> None:
        """Build the network of a genotype; see `BilevelSearch.begin`."""
        self.network = DiscreteNetwork(self._space, genotype, auxiliary=self.auxiliary)
        self._loss = self._make_loss(self.network)

    def cost(self) -> dict[str, float]:
        """Parameters and multiply-accumulates of the deployed network."""
        shape = (self._space.in_channels, self._image_size, self._image_size)
        return {
            "evaluate/params": self.network.num_parameters(),
            "evaluate/macs": count_macs(self.network, shape),
        }

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self.network(images.contiguous(memory_format=self._memory_format))

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The training loss, with no path dropped yet; also what the memory of a step is measured on."""
        return self._loss(images.contiguous(memory_format=self._memory_format), labels, self._undropped(images))[0]

    def _undropped(self, images: Tensor) -> Tensor | None:
        return images.new_ones(self.network.num_paths, len(images)) if self.drop_path > 0 else None

    def full_step(self) -> Callable[[Tensor, Tensor], None]:
        """A step of images and labels as training takes it, with an optimiser of its own, to be rehearsed."""
        step = self._new_step()

        def take(images: Tensor, labels: Tensor) -> None:
            step(images.contiguous(memory_format=self._memory_format), labels, self._undropped(images))

        return take

    def _new_step(self) -> TrainingStep:
        optimizer = sgd(
            self.network.parameters(),
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        backward = averaged(self.manual_backward, self.network.parameters())
        return TrainingStep(self._loss, optimizer, gradient_clip=self.gradient_clip, backward=backward)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with a cosine to 0 over the epochs."""
        self.network.to(memory_format=self._memory_format)
        self.step = self._new_step()
        self._replay = Replay(self.step, cuda_graphs=self.cuda_graphs, name="step of the training")
        return self.step.optimizer

    def on_train_epoch_start(self) -> None:
        """Set this epoch's learning rate and drop path."""
        rate = cosine(self.current_epoch, self.epochs, self.learning_rate)
        set_learning_rate(self.step.optimizer, rate)
        self._log(drop_path=self._drop_path_now(), learning_rate=rate)
        seed_default_generators(self.seed, "evaluation", self.current_epoch)

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """One step on augmented images."""
        images, labels = batch
        images = images.contiguous(memory_format=self._memory_format)
        self._replay(images, labels, *self._drop_path_factors(len(images), batch_idx))

    def _drop_path_now(self) -> float:
        return self.drop_path * self.current_epoch / self.epochs

    def _drop_path_factors(self, num_images: int, number: int) -> list[Tensor]:
        """Draw the factors of one batch, [num_paths, B], or nothing where no path is ever dropped."""
        if self.drop_path == 0:
            return []
        draws = generator(self.seed, "drop path", self.current_epoch, number)
        # Drawn for the images of all processes, so that together they drop what one process would.
        first, total = self.global_rank * num_images, self.trainer.world_size * num_images
        factors = drop_path_factors(self.network.num_paths, total, self._drop_path_now(), draws)
        return [to_device(factors[:, first : first + num_images].contiguous(), self.device)]

    def on_train_epoch_end(self) -> None:
        """Log what the steps of the epoch measured; raises Diverged where that or the network is not finite."""
        means = self.step.means.take(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        check_epoch(self, means)
        self._log(**means)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy and loss on the holdout, or where there is none on the test set."""
        images, labels = batch
        logits = self(images)
        self.val_acc(logits, labels)
        self.val_loss.update(nn.functional.cross_entropy(logits, labels, reduction="none"))
        self._log_metrics(self._validated_on, acc=self.val_acc, loss=self.val_loss)
        self._count(images, self._validated_on)

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy on the test set after the last epoch."""
        images, labels = batch
        self.test_acc(self(images), labels)
        self._log_metrics("test", acc=self.test_acc)
        self._count(images, "test")

    def _count(self, images: Tensor, of: str) -> None:
        """Log how many images an accuracy is of."""
        self.log(f"evaluate/{of}_images", float(len(images)), on_epoch=True, reduce_fx="sum", sync_dist=True)

    def _log_metrics(self, of: str, **metrics: Metric) -> None:
        """Log what adds up the batches of all processes by itself."""
        self.log_dict(
            {f"evaluate/{of}_{name}": metric for name, metric in metrics.items()}, on_step=False, on_epoch=True
        )

    def _log(self, **values: float) -> None:
        """Log what is the same in all processes."""
        for name, value in values.items():
            self.log(f"evaluate/{name}", value, on_step=False, on_epoch=True)
