"""Bi-level search of a masked supernet as a LightningModule: it drives `BilevelStep`, and logs once an epoch."""

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, cast

import torch
from lightning.pytorch import LightningModule
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException
from torchmetrics.classification import MulticlassAccuracy

from halfnas.networks import Supernet, build_supernet
from halfnas.search.regularizers import Regularizer
from halfnas.search.relaxations import Relaxation, Softmax, draw
from halfnas.search.step import BilevelStep
from halfnas.spaces import Genotype, Mask, SearchSpace
from halfnas.training import Replay, adam, cosine, generator, set_learning_rate, sgd
from halfnas.training.rehearsal import random_batch, rehearsal

#: Batches of both halves; of the second only once the architecture is trained.
Pair = tuple[Sequence[Tensor], Sequence[Tensor] | None]


class BilevelSearch(LightningModule):
    """Alternates an architecture step on one half of the training images with a weight step on the other.

    Every training step takes a batch of each half: first Adam moves alpha (and beta) down the loss of the second half,
    then SGD moves the weights down the loss of the first. During the first `warmup_epochs` the architecture is frozen
    and the second half is not even read.

    Args:
        space: what is searched.
        supernet: how the supernet is computed, see `build_supernet`.
        partial_channels, edge_normalization: see `build_supernet`.
        epochs, warmup_epochs: length of the search and of its warm-up; the architecture is trained in the others.
        batch_size: images of each half a step.
        learning_rate, learning_rate_min: the weights' learning rate goes from one to the other on a cosine, by epochs.
        momentum, weight_decay: settings of the SGD of the weights.
        gradient_clip: largest norm of the weights' gradient.
        architecture_learning_rate, architecture_betas, architecture_weight_decay: settings of Adam.
        regularizer: a term added to the loss of the architecture step.
        relaxation: how architecture parameters become weights of a mixture; None for the softmax.
        step: makes what a training step does, given what `BilevelStep` is.
        seed: the seed of what the relaxation draws.
        cuda_graphs: whether steps are captured, see `halfnas.training.Replay`.

    Attributes:
        stage: prefix of the metrics.
        supernet: the network that is searched, once `begin` has made it.
        step: what a training step does, once the optimisers are made.
    """

    stage = "search"

    def __init__(
        self,
        space: SearchSpace,
        supernet: Mapping[str, Any],
        *,
        partial_channels: int,
        edge_normalization: bool | None,
        epochs: Annotated[int, Field(ge=1, description="epochs of the search")],
        warmup_epochs: Annotated[int, Field(ge=0, description="epochs with a frozen architecture")],
        batch_size: Annotated[int, Field(ge=2, description="batch norm cannot train on one image")],
        learning_rate: PositiveFloat,
        learning_rate_min: NonNegativeFloat,
        momentum: Annotated[float, Field(ge=0, lt=1)],
        weight_decay: NonNegativeFloat,
        gradient_clip: PositiveFloat,
        architecture_learning_rate: PositiveFloat,
        architecture_betas: tuple[float, float],
        architecture_weight_decay: NonNegativeFloat,
        regularizer: Regularizer | None = None,
        relaxation: Relaxation | None = None,
        step: Callable[..., BilevelStep] = BilevelStep,
        seed: int = 0,
        cuda_graphs: str | bool = "auto",
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.supernet: Supernet
        self._space = space
        self._options = {
            "partial_channels": partial_channels, "edge_normalization": edge_normalization, **supernet,
        }  # fmt: skip
        self.epochs = epochs
        self.warmup_epochs = warmup_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_min = learning_rate_min
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.gradient_clip = gradient_clip
        self.architecture_learning_rate = architecture_learning_rate
        self.architecture_betas = (architecture_betas[0], architecture_betas[1])
        self.architecture_weight_decay = architecture_weight_decay
        self.regularizer = regularizer
        self.relaxation = Softmax() if relaxation is None else relaxation
        self._make_step = step
        self.seed = seed
        self.cuda_graphs = cuda_graphs
        # Without a check of its arguments, which would wait for the device.
        self.val_acc = MulticlassAccuracy(space.num_classes, average="micro", validate_args=False)
        self._compile_seconds: float | None = None

    def begin(self, mask: Mask) -> None:
        """Build the supernet of what a mask leaves.

        Not in Lightning's `configure_model`, which draws weights on the device of the training and in its precision:
        here a seed means the same initial weights everywhere.
        """
        self.supernet = build_supernet(self._space, mask, **self._options)

    @property
    def genotype(self) -> Genotype:
        """The architecture found so far."""
        return self.supernet.genotype()

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] -> logits [B, num_classes]."""
        return self.supernet(images)

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """The loss that a weight step minimises, a scalar; the memory of a step is measured on it too."""
        noise = draw(self.relaxation, self.supernet, generator(self.seed, "relaxation of a rehearsal", 0))
        return nn.functional.cross_entropy(self.supernet(images, self.relaxation(self.supernet, noise)), labels)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """SGD on the weights, Adam on the architecture; they share no parameter."""
        weights = sgd(
            self.supernet.weight_parameters(),
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )
        architecture = adam(
            self.supernet.architecture_parameters(),
            learning_rate=self.architecture_learning_rate,
            betas=self.architecture_betas,
            weight_decay=self.architecture_weight_decay,
        )
        self.step = self._make_step(
            self.supernet,
            weights,
            architecture,
            gradient_clip=self.gradient_clip,
            relaxation=self.relaxation,
            regularizer=self.regularizer,
            seed=self.seed,
            backward=self.manual_backward,
        )
        self._replay = Replay(
            self.step,
            cuda_graphs=self.cuda_graphs,
            name="step of the search",
            obstacle=None if self.relaxation.captures else "its relaxation looks at values on the host",
        )
        return [weights, architecture]

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
        set_learning_rate(self.step.architecture, self.architecture_learning_rate)
        self._log(1, learning_rate=rate, architecture_learning_rate=self.architecture_learning_rate)
        self.step.begin_epoch(self.current_epoch, self.epochs)

    def training_step(self, batch: Pair, batch_idx: int) -> None:
        """Take one architecture step, once warm, and one weight step."""
        first_half, second_half = batch
        self.step.draw(self.current_epoch, batch_idx)
        self._replay(*first_half, *(second_half or ()))

    def on_train_epoch_end(self) -> None:
        """Log what the steps of the epoch measured, and where the architecture stands."""
        self._log(1, **self.step.means.take(lambda sums: self.trainer.strategy.reduce(sums, reduce_op="sum")))
        if self._compile_seconds is not None:
            self._log(1, compile_seconds=self._compile_seconds)
        genotype = self.genotype
        for kind, mixing in self.supernet.mixing().items():
            entropy = torch.stack([torch.special.entr(w.detach()).sum() for w in mixing.operations]).mean()
            self._log(
                1, **{f"entropy_{kind}_nats": entropy, f"skip_connects_{kind}": genotype.count("skip_connect", kind)}
            )

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Accuracy of the supernet on the second half, without augmentation."""
        images, labels = batch
        logits = self.supernet(images)
        self.val_acc(logits, labels)
        self._log(len(images), val_loss=nn.functional.cross_entropy(logits, labels), val_acc=self.val_acc)

    def _log(self, batch_size: int, **values: Any) -> None:
        for name, value in values.items():
            value = float(value) if isinstance(value, int) else value
            self.log(f"search/{name}", value, on_step=False, on_epoch=True, batch_size=batch_size)
