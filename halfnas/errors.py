"""Errors a user can act on, shown without a traceback."""

from collections.abc import Sequence

from hydra.errors import CompactHydraException


class ConfigError(CompactHydraException, ValueError):
    """Settings that cannot run. Raised once, with all that is wrong.

    Hydra prints a CompactHydraException as its message alone, exits with 1, and lets the other jobs of a sweep go on.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = "a setting that cannot" if len(problems) == 1 else f"{len(problems)} settings that cannot"
        super().__init__(f"halfnas: {count} run\n" + "\n".join(f"  * {problem}" for problem in problems))

    def __reduce__(self) -> tuple[type["ConfigError"], tuple[list[str]]]:
        return ConfigError, (self.problems,)


class JobError(CompactHydraException):
    """A job of a sweep failed in its own process, which has printed the traceback."""
