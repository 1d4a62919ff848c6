"""Bi-level search of a masked supernet as a LightningModule: it drives `BilevelStep`, and logs once an epoch."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Unpack

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat

from halfnas.networks import ARCHITECTURE_INIT_STD
from halfnas.search.decisions import Decisions
from halfnas.search.regularizers import Regularizer
from halfnas.search.relaxations import Relaxation, Softmax
from halfnas.search.step import BilevelStep
from halfnas.search.supernet_search import SupernetSearch, WeightTraining
from halfnas.spaces import Genotype, Mask, SearchSpace, Strengths
from halfnas.spaces.space import is_chain
from halfnas.training import adam, set_learning_rate

log = logging.getLogger(__name__)


class BilevelSearch(SupernetSearch):
    """Alternates an architecture step on one half of the training images with a weight step on the other.

    Every training step takes a batch of each half: first Adam moves alpha (and beta) down the loss of the second half,
    then SGD moves the weights down the loss of the first. During the first `warmup_epochs` the architecture is frozen
    and the second half is not even read.

    Args:
        space: what is searched.
        supernet: how the supernet is computed, see `build_supernet`.
        warmup_epochs: the architecture is trained in the epochs after these.
        architecture_learning_rate, architecture_betas, architecture_weight_decay: settings of Adam.
        architecture_init_std: of what alpha and beta are drawn from, around 0.
        regularizer: a term added to the loss of the architecture step.
        relaxation: how architecture parameters become weights of a mixture; None for the softmax.
        step: makes what a training step does, of the arguments of `BilevelStep`.
        training: how the weights are trained.
    """

    step: BilevelStep

    def __init__(
        self,
        space: SearchSpace,
        supernet: Mapping[str, Any],
        *,
        warmup_epochs: Annotated[int, Field(ge=0, description="epochs with a frozen architecture")],
        architecture_learning_rate: PositiveFloat,
        architecture_betas: tuple[float, float],
        architecture_weight_decay: NonNegativeFloat,
        architecture_init_std: NonNegativeFloat = ARCHITECTURE_INIT_STD,
        regularizer: Regularizer | None = None,
        relaxation: Relaxation | None = None,
        step: Callable[..., BilevelStep] = BilevelStep,
        **training: Unpack[WeightTraining],
    ) -> None:
        super().__init__(
            space,
            {**supernet, "architecture_init_std": architecture_init_std},
            relaxation=Softmax() if relaxation is None else relaxation,
            **training,
        )
        self.frozen_epochs = warmup_epochs
        self.architecture_learning_rate = architecture_learning_rate
        self.architecture_betas = (architecture_betas[0], architecture_betas[1])
        self.architecture_weight_decay = architecture_weight_decay
        self.regularizer = regularizer
        self._make_step = step

    def warnings(self) -> list[str]:
        if self.frozen_epochs < self.epochs:
            return []
        return [
            f"`searcher.warmup_epochs={self.frozen_epochs}` is not less than `searcher.epochs={self.epochs}`: the "
            "architecture is never trained, and the cell found is that of its random start"
        ]

    def begin(self, mask: Mask) -> None:
        super().begin(mask)
        self._start = self._decisions()
        alone = all(len(edge) == 1 for edges in mask.kept.values() for edge in edges)
        if alone and not self.supernet.beta and mask.leaves_a_choice(self._space):
            log.warning(
                "the mask leaves one candidate on every edge, and edges have no weights of their own "
                "(searcher.edge_normalization=true gives them): the seed alone chooses the edges of every node"
            )

    @property
    def genotype(self) -> Genotype:
        return self.supernet.genotype(self.seed)

    def strengths(self) -> Mapping[str, Strengths]:
        return self.supernet.strengths()

    def _decisions(self) -> Decisions:
        return Decisions.of(self._space, self.supernet.strengths(), self.seed)

    def metrics(self) -> dict[str, float]:
        """K, and whether the architecture is more than a tie-break."""
        decisions = self._decisions()
        if not decisions.chosen:
            return super().metrics()
        return super().metrics() | {
            "search/moved_edges_chance": decisions.moved_by_chance,
            "search/relative_margin": decisions.relative_margin,
            "search/relative_margin_start": self._start.relative_margin,
            "search/tie_break": float(decisions.is_tie_break(self._start)),
            "search/architecture_epochs": float(max(self.epochs - self.frozen_epochs, 0)),
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the start preferred."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["start"] = {"chosen": self._start.chosen, "strengths": self._start.strengths}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from that start."""
        super().on_load_checkpoint(checkpoint)
        self._start = replace(self._start, **checkpoint["start"])

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        """SGD on the weights, Adam on the architecture; they share no parameter."""
        super().configure_optimizers()
        return [self.step.weights, self.step.architecture]

    def make_step(self, weights: torch.optim.SGD) -> BilevelStep:
        architecture = adam(
            self.supernet.architecture_parameters(),
            learning_rate=self.architecture_learning_rate,
            betas=self.architecture_betas,
            weight_decay=self.architecture_weight_decay,
        )
        return self._make_step(
            self.supernet,
            weights,
            architecture,
            gradient_clip=self.gradient_clip,
            relaxation=self.relaxation,
            regularizer=self.regularizer,
            seed=self.seed,
            backward=self.backward_pass,
        )

    def on_train_epoch_start(self) -> None:
        """Set what changes from epoch to epoch."""
        set_learning_rate(self.step.architecture, self.architecture_learning_rate)
        super().on_train_epoch_start()
        self._log(
            architecture_learning_rate=self.architecture_learning_rate,
            regularizer_weight=self.step.regularizer_weight,
        )

    def on_train_epoch_end(self) -> None:
        """Log what the steps of the epoch measured, and where the architecture stands."""
        super().on_train_epoch_end()
        self._log_decisions()
        entropies = {
            kind: torch.stack([torch.special.entr(w.detach()).sum() for w in mixing.operations]).mean()
            for kind, mixing in self.supernet.mixing().items()
        }
        genotype = self.genotype
        if self.table is not None:
            worth = self.table.look_up(genotype)
            self._log(true_acc=worth["true_acc"], true_rank=worth["true_rank"])
        skips = {kind: genotype.count("skip_connect", kind) for kind in entropies}
        if is_chain(genotype.cells):  # one of each for all of its layers
            self._log(entropy_nats=torch.stack(list(entropies.values())).mean(), skip_connects=sum(skips.values()))
            return
        for kind, entropy in entropies.items():
            self._log(**{f"entropy_{kind}_nats": entropy, f"skip_connects_{kind}": skips[kind]})

    def _log_decisions(self) -> None:
        """Log how far the search has decided, where there is anything to decide."""
        decisions = self._decisions()
        if not decisions.chosen:
            return
        alphas = [alpha_O for kind in self.supernet.alpha for alpha_O in self.supernet.edge_alphas(kind)]
        spread = torch.stack(
            [alpha_O.detach().max() - alpha_O.detach().min() for alpha_O in alphas if len(alpha_O) > 1]
        )
        self._log(
            moved_edges=decisions.moved_from(self._start),
            decision_margin=decisions.margin,
            alpha_spread=spread.mean(),
        )
