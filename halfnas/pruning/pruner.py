"""Pruners: from the whole space to a mask. Here are those that need no data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from halfnas.pruning.sample import Batch
from halfnas.spaces import Mask, SearchSpace


class Pruner(ABC):
    """Makes a mask, a step at a time; each step is given fresh batches.

    A step is rated, which changes nothing, and then its rating is taken. So several processes can rate a step each, and
    each of them take the ratings of all, in their order: their masks are that of one process, to the last bit.

    Attributes:
        name: the name that mask.json has under `pruner`.
        max_steps: the most steps that are taken; 0 where the mask needs no data.
        steps_taken: how many have been; the next one has that number.
        steps_ready: steps with smaller numbers can be rated now, whatever is found in those before them.
        done: no further step is needed.
        batch_size, num_batches: the size and the number of the batches that a step is given.
        image_size: the side in pixels that larger images are scaled down to; None for none.
        network: sizes of the scoring network, as overrides of the space's.
        cuda_graphs: whether scores are captured, see `halfnas.training.Replay`; set before `begin`.
        mask: the mask so far; final after the last step.
    """

    name: str
    max_steps: int = 0
    steps_taken: int = 0
    steps_ready: int = 0
    done: bool = False
    batch_size: int = 0
    num_batches: int = 0
    image_size: int | None = None
    network: Mapping[str, Any] = MappingProxyType({})
    cuda_graphs: str | bool = "auto"
    mask: Mask

    @abstractmethod
    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Start over, with everything kept or, where no data is needed, with the final mask.

        Args:
            space: the space that is pruned.
            scoring_space: the same space at the sizes of the scoring network.
            ratio: the fraction of candidates to keep.
            seed: the seed of all that is drawn.
        """

    def check_space(self, space: SearchSpace) -> None:  # noqa: B027 - most prune any space
        """Raise ValueError where the pruner has no way of rating what is in the space."""

    def rate(self, number: int, batches: Sequence[Batch]) -> Any:
        """Rate a step.

        Args:
            number: of a step that is ready, and has not been taken.
            batches: its batches.

        Returns:
            What `take` is given: picklable, and the same in every process that has taken the same steps.
        """
        raise NotImplementedError(f"{type(self).__name__} needs no data")

    def take(self, rating: Any) -> dict[str, float]:
        """Take the next step; returns metrics for the log.

        Args:
            rating: what `rate` found of it.
        """
        raise NotImplementedError(f"{type(self).__name__} needs no data")

    def step(self, batches: Sequence[Batch]) -> dict[str, float]:
        """Rate and take the next step; returns metrics for the log."""
        return self.take(self.rate(self.steps_taken, batches))

    def metrics(self) -> dict[str, float]:
        """How far the mask can be relied on, in the end; empty where a pruner cannot say."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The tensors and numbers that a pruning goes on from, beside its settings; empty where `begin` does all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - see state_dict
        """Go on from where `state` was taken, after `begin` with the settings of before."""


class RandomPruner(Pruner):
    """Keeps a uniformly drawn subset of every edge.

    Settings of the other pruners are accepted, so that a sweep over pruners can share them, and have no effect.
    """

    name = "random"

    def __init__(self, **unused: Any) -> None:
        pass

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Draw the mask."""
        self.mask = Mask.random(space, ratio, seed)


class NoPruner(Pruner):
    """Keeps everything, whatever the ratio. Settings of the other pruners are accepted and have no effect."""

    name = "none"

    def __init__(self, **unused: Any) -> None:
        pass

    def begin(self, space: SearchSpace, scoring_space: SearchSpace, *, ratio: float, seed: int) -> None:
        """Keep everything."""
        self.mask = replace(Mask.full(space), seed=seed)
