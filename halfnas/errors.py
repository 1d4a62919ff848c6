"""Errors a user can act on, shown without a traceback."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.errors import CompactHydraException

#: Things that a message lists.
SHOWN = 4


def listed(things: Sequence[str]) -> str:
    """The first things of a list, and how many more there are."""
    more = len(things) - SHOWN
    return ", ".join(things[:SHOWN]) + (f", and {more} more" if more > 0 else "")


class ConfigError(CompactHydraException, ValueError):
    """Settings that cannot run. Raised once, with all that is wrong.

    Hydra prints a CompactHydraException as its message alone, exits with 1, and lets the other jobs of a sweep go on.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        super().__init__(f"halfnas: {self._headline()}\n" + "\n".join(f"  * {problem}" for problem in problems))

    def _headline(self) -> str:
        count = "a setting" if len(self.problems) == 1 else f"{len(self.problems)} settings"
        return f"{count} that cannot run"

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return ConfigError, (self.problems,)


class Diverged(CompactHydraException, ArithmeticError):
    """A training whose numbers are no longer finite: what comes out of it means nothing, so that the run ends.

    Args:
        stage: the stage.
        when: where in the stage, such as "epoch 3 of 50".
        quantities: what is not finite, and its value, such as nan.
        remedy: what a user can do.
    """

    def __init__(self, stage: str, when: str, quantities: Mapping[str, float], remedy: str) -> None:
        self.stage, self.when, self.quantities, self.remedy = stage, when, dict(quantities), remedy
        found = listed([f"{name} is {value}" for name, value in self.quantities.items()])
        super().__init__(f"halfnas: {stage} diverged in {when}: {found}; {remedy}")

    def __reduce__(self) -> tuple[type["Diverged"], tuple[str, str, dict[str, float], str]]:
        return Diverged, (self.stage, self.when, self.quantities, self.remedy)


class FileError(CompactHydraException, OSError):
    """A file or folder of a run that cannot be written, or is no longer there.

    Args:
        path: which.
        reason: why, such as the words of the operating system.
    """

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"halfnas: cannot write {path}: {reason}")

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type["FileError"], tuple[str, str]]:
        return FileError, (self.path, self.reason)


class Refused(ConfigError):
    """A folder that holds what these settings would destroy: nothing in it is touched."""

    def _headline(self) -> str:
        return "the folder has what these settings would destroy"

    def __reduce__(self) -> tuple[type["Refused"], tuple[list[str]]]:
        return Refused, (self.problems,)


class Busy(CompactHydraException):
    """A folder in which another process runs the same job: nothing in it is touched."""


class JobError(CompactHydraException):
    """A job of a sweep failed in its own process, which has said why."""
