"""What all methods that train a supernet have in common: its weights, and its accuracy on the second half."""

import time
import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypedDict, Unpack, cast

import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from halfnas.networks import Supernet, build_supernet
from halfnas.search.method import SearchMethod
from halfnas.search.relaxations import Relaxation, draw
from halfnas.search.step import WeightStep
from halfnas.spaces import Mask, SearchSpace
from halfnas.training import (
    Replay,
    averaged,
    check_epoch,
    cosine,
    generator,
    seed_default_generators,
    set_learning_rate,
    sgd,
)
from halfnas.training.rehearsal import random_batch, rehearsal


class WeightTraining(TypedDict):
    """How the weights of a supernet are trained.

    Attributes:
        partial_channels, edge_normalization: see `build_supernet`; auto is what is published for the space.
        epochs: length of the search.
        batch_size: images of each half a step.
        learning_rate, learning_rate_min: the learning rate goes from one to the other on a cosine, by epochs.
        momentum, weight_decay: settings of SGD.
        gradient_clip: largest norm of the gradient.
        seed: the seed of what the relaxation draws.
        cuda_graphs: whether steps are captured, see `halfnas.training.Replay`.
    """

    partial_channels: int | Literal["auto"]
    edge_normalization: bool | None
    epochs: Annotated[int, Field(ge=1, description="epochs of the search")]
    batch_size: Annotated[int, Field(ge=2, description="batch norm cannot train on one image")]
    learning_rate: PositiveFloat
    learning_rate_min: NonNegativeFloat
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NonNegativeFloat
    gradient_clip: PositiveFloat
    seed: NotRequired[int]
    cuda_graphs: NotRequired[str | bool]


class SupernetSearch(SearchMethod):
    """Trains the weights of the supernet of what a mask leaves, on the first half of the images.

    Args:
        space: what is searched.
        supernet: how the supernet is computed, see `build_supernet`.
        relaxation: how architecture parameters become weights of a mixture.
        training: how its weights are trained.

    Raises:
        ValueError: the relaxation does not go with how the supernet or its steps are computed.

    Attributes:
        supernet: the network that is searched, once `begin` has made it.
        step: what a training step does, once the optimisers are made.
    """

    step: WeightStep

    def __init__(
        self,
        space: SearchSpace,
        supernet: Mapping[str, Any],
        *,
        relaxation: Relaxation,
        **training: Unpack[WeightTraining],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.supernet: Supernet
        self._space = space
        self._options = {
            "partial_channels": space.resolve_partial_channels(training["partial_channels"]),
            "edge_normalization": training["edge_normalization"],
            **supernet,
        }
        self.epochs = training["epochs"]
        self.batch_size = training["batch_size"]
        self.learning_rate = training["learning_rate"]
        self.learning_rate_min = training["learning_rate_min"]
        self.momentum = training["momentum"]
        self.weight_decay = training["weight_decay"]
        self.gradient_clip = training["gradient_clip"]
        self.relaxation = relaxation
        self.seed = training.get("seed", 0)
        self.cuda_graphs = training.get("cuda_graphs", "auto")
        _check(relaxation, supernet, self.cuda_graphs)
        # Without a check of its arguments, which would wait for the device.
        self.val_acc = MulticlassAccuracy(space.num_classes, average="micro", validate_args=False)
        self.val_loss = MeanMetric(nan_strategy="disable")  # of single images: so it ignores weights (torchmetrics 1.9)
        self._compile_seconds: float | None = None

    def begin(self, mask: Mask) -> None:
        """Build the supernet of what a mask leaves.

        Not in Lightning's `configure_model`, which draws weights on the device of the training and in its precision:
        here a seed means the same initial weights everywhere.
        """
        self.supernet = build_supernet(self._space, mask, **self._options)

    def metrics(self) -> dict[str, float]:
        """K, which the settings may leave open."""
        return {"search/partial_channels": float(self.supernet.partial_channels)}

    @abstractmethod
    def make_step(self, weights: torch.optim.SGD) -> WeightStep:
        """What a training step does.

        Args:
            weights: the optimiser of the weights.
        """

    @property
    def backward_pass(self) -> Callable[[Tensor], None]:
        """What computes the gradients of a loss, which several processes average."""
        return averaged(self.manual_backward, self.supernet.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self.supernet(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss that a weight step minimises, a scalar; the memory of a step is measured on it too."""
        noise = draw(self.relaxation, self.supernet, generator(self.seed, "relaxation of a rehearsal", 0))
        return nn.functional.cross_entropy(self.supernet(images, self.relaxation(self.supernet, noise)), labels)

    def full_step(self) -> Callable[[Tensor, Tensor], None]:
        """A step of images and labels as training takes it, with optimisers of its own, to be rehearsed.

        Where the architecture is trained, that is so in this step too, whatever the epochs before. What the relaxation
        draws is that of the first step.
        """
        step = self._new_step()
        step.draw(0, 0)
        return lambda images, labels: step(*(images, labels) * len(step.passes))

    def _new_step(self) -> WeightStep:
        return self.make_step(
            sgd(
                self.supernet.weight_parameters(),
                learning_rate=self.learning_rate,
                momentum=self.momentum,
                weight_decay=self.weight_decay,
            )
        )

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """SGD on the weights."""
        self.step = self._new_step()
        self._replay = Replay(
            self.step,
            cuda_graphs=self.cuda_graphs,
            name="step of the search",
            obstacle=self.supernet.obstacle
            if self.relaxation.captures
            else "its relaxation looks at values on the host",
        )
        return self.step.weights

    def on_fit_start(self) -> None:
        """Compile what is to be compiled, on a step that leaves no trace, so that no step of training waits for it."""
        if not self.supernet.compiled:
            return
        trainer = cast(Any, self.trainer)
        batch = random_batch(trainer.datamodule.dataset, self.batch_size, self.device)
        images, labels = trainer.precision_plugin.convert_input(batch)
        start = time.perf_counter()
        with (
            rehearsal(self, self.device),
            trainer.precision_plugin.forward_context(),
            warnings.catch_warnings(),
        ):
            # The compiler looks at the gradients of all tensors that it is given.
            warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
            try:
                self.loss(images, labels).backward()
            except TorchDynamoException as error:
                first_line = str(error).strip().split("\n")[0]
                raise RuntimeError(
                    f"the supernet could not be compiled here ({first_line}); set supernet.compile=false"
                ) from None  # the compiler's own traceback says nothing to a user
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        self._compile_seconds = time.perf_counter() - start

    def on_train_epoch_start(self) -> None:
        """Set what changes from epoch to epoch."""
        rate = cosine(self.current_epoch, self.epochs, self.learning_rate, self.learning_rate_min)
        set_learning_rate(self.step.weights, rate)
        self._log(learning_rate=rate)
        self.step.begin_epoch(self.current_epoch, self.epochs)
        seed_default_generators(self.seed, "search", self.current_epoch)

    def training_step(self, batch: Sequence[Any], batch_idx: int) -> None:
        """Take a step on a batch of the first half, and one of the second where there is one."""
        first_half, second_half = batch
        self.step.draw(self.current_epoch, batch_idx)
        self._replay(*first_half, *(second_half or ()))

    def on_train_epoch_end(self) -> None:
        """Log what the steps of the epoch measured; raises Diverged where that or the supernet is not finite."""
        means = self.step.means.take(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum"))
        check_epoch(self, means)
        self._log(**means)
        if self._compile_seconds is not None:
            self._log(compile_seconds=self._compile_seconds)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy of the supernet on the second half, without augmentation."""
        images, labels = batch
        numbers = generator(self.seed, "relaxation of the validation", self.current_epoch, batch_idx)
        noise = draw(self.relaxation, self.supernet, numbers)
        logits = self.supernet(images, self.relaxation.validated(self.supernet, noise))
        self.val_acc(logits, labels)
        self.val_loss.update(nn.functional.cross_entropy(logits, labels, reduction="none"))
        self.log_dict({"search/val_loss": self.val_loss, "search/val_acc": self.val_acc}, on_step=False, on_epoch=True)
        self.log("search/val_images", float(len(images)), on_epoch=True, reduce_fx="sum", sync_dist=True)

    def _log(self, **values: Any) -> None:
        """Log what is the same in all processes."""
        for name, value in values.items():
            value = float(value) if isinstance(value, int) else value
            self.log(f"search/{name}", value, on_step=False, on_epoch=True)


def _check(relaxation: Relaxation, supernet: Mapping[str, Any], cuda_graphs: str | bool) -> None:
    if relaxation.captures:
        return
    picks = f"{type(relaxation).__name__} picks the candidates of every step on the host"
    if supernet.get("compile"):
        raise ValueError(f"`supernet.compile=true` has nothing to compile: {picks}; use supernet.compile=false")
    if cuda_graphs is True:
        raise ValueError(f"`cuda_graphs=true` cannot be: {picks}, so no two steps are alike; use auto")
