"""Building the parts of a run from its settings, and noting every mistake on the way."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate

from halfnas.config.signatures import arguments_of
from halfnas.data import ImageDataset
from halfnas.spaces import SearchSpace

#: Sizes that recipes, `pruner.network` and `evaluation` give to every space; one that has no such size goes without.
SIZES = ("init_channels", "num_cells")
#: What recipes and experiments say to every searcher besides epochs and batch size; a searcher that has
#: no such setting does without.
PACE = ("learning_rate", "architecture_learning_rate", "samples")


class Noted(Exception):  # no error of its own: it says that one has been noted
    """Something cannot be built; why has been noted."""


class SettingParts:
    """What stages are built from, see `halfnas.stages.Parts`.

    Args:
        settings: all settings, as plain containers.
        problems: what is known to be wrong with them; more is added.

    Attributes:
        dataset: set before anything else is built.
    """

    dataset: ImageDataset

    def __init__(self, settings: Mapping[str, Any], problems: list[str]) -> None:
        self.settings = settings
        self.problems = problems
        self._spaces: dict[str, SearchSpace] = {}

    def space(self, setting: str = "space", sizes: Mapping[str, Any] | None = None) -> SearchSpace:
        """The space for the images of the dataset, see `halfnas.stages.Parts`.

        Raises:
            Noted: it cannot be built.
        """
        if setting not in self._spaces:
            if setting != "space":
                self.space()  # what is wrong with it is said once, not for each of its sizes
            self._stop_if_wrong("space", setting)
            node = self.settings["space"]
            known = arguments_of(get_object(node["_target_"]))
            shape = {"num_classes": self.dataset.num_classes, "in_channels": self.dataset.in_channels}
            own = {name: value for name, value in node.items() if name not in SIZES or known is None or name in known}
            # They may stand among other settings: a space that takes anything is given no more than known sizes.
            takes = (*SIZES, *shape) if known is None else known
            wanted = {name: value for name, value in (sizes or {}).items() if name in takes}
            with self.checking(setting, then_stop=True):
                self._spaces[setting] = instantiate({**own, **shape, **wanted}, _convert_="all")
        return self._spaces[setting]

    def make(self, group: str, target: Callable[..., Any] | None = None, **given: Any) -> Any:
        """Build what a group of settings names, or `target`, of those of its settings that it takes.

        Raises:
            Noted: it cannot be built, or a mistake has been found in its settings before.
        """
        self._stop_if_wrong(group)
        node = self.settings[group]
        known = arguments_of(get_object(node["_target_"]) if target is None else target)
        taken = {
            name: value
            for name, value in node.items()
            if known is None or name in known or (name.startswith("_") and name.endswith("_"))
        }
        if target is not None:
            taken["_target_"] = f"{target.__module__}.{target.__qualname__}"
        with self.checking(group, then_stop=True):
            return instantiate(taken, **given, _convert_="all")
        raise AssertionError("unreachable")

    @contextmanager
    def checking(self, setting: str, *, then_stop: bool = False) -> Iterator[None]:
        """Inside, an error is noted as one of that setting, unless one of it, or the same one, has been noted before.

        Raises:
            Noted: there was one, and `then_stop` says that nothing more can be built.
        """
        try:
            yield
        except (TypeError, ValueError, InstantiationException) as error:
            cause = (error.__cause__ if isinstance(error, InstantiationException) else None) or error
            # A message that opens with the setting needs no other opening.
            problem = str(cause) if str(cause).startswith(f"`{setting}`") else f"`{setting}`: {cause}"
            if not self._is_wrong(setting) and not any(known.endswith(f": {cause}") for known in self.problems):
                self.problems.append(problem)
            if then_stop:
                raise Noted from None

    def _is_wrong(self, setting: str) -> bool:
        """Whether a problem of a setting, or of one inside it, has been noted."""
        return any(problem.startswith((f"`{setting}.", f"`{setting}`")) for problem in self.problems)

    def _stop_if_wrong(self, *settings: str) -> None:
        if any(map(self._is_wrong, settings)):
            raise Noted
