"""Claims as data: arms, metric and range, read from yaml and validated. claims.yaml explains the form."""

from collections.abc import Callable, Mapping
from math import inf
from operator import sub, truediv
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from halfnas.reporting.settings import Setting, read_yaml
from halfnas.reporting.statistics import MIN_VALUES, seeds_for

SHIPPED = Path(__file__).with_name("claims.yaml")
#: The unit of the one number that compares no arms.
LINE = "R2"
#: unit -> how a number is made of the metrics of an arm and a baseline, what it is shown times, and as what
UNITS: dict[str, tuple[Callable[[float, float], float], int, str]] = {
    "% less": (lambda arm, baseline: 1 - arm / baseline, 100, ".1f"),
    "% faster": (lambda arm, baseline: 1 - arm / baseline, 100, ".1f"),
    "% more": (lambda arm, baseline: arm / baseline - 1, 100, ".1f"),
    "points": (sub, 100, "+.2f"),
    "of baseline": (truediv, 1, ".3f"),
    "difference": (sub, 1, "+.4g"),
    LINE: (sub, 1, ".4f"),
}
CONDITIONS = "a value, a list of values, {above: NUMBER}, {below: NUMBER} or {not: CONDITION}"


def _checked(condition: Any) -> Any:
    """Give back a condition, or raise ValueError where it has none of the forms that `holds` knows."""
    match condition:
        case {"not": inner, **rest} if not rest:
            return {"not": _checked(inner)}
        case {"above": int() | float(), **rest} | {"below": int() | float(), **rest} if not rest:
            return condition
        case list() if condition and not any(isinstance(each, (list, dict)) for each in condition):
            return condition
        case str() | int() | float() | None:
            return condition
    raise ValueError(f"a condition is {CONDITIONS}, got {condition!r}")


def holds(condition: Any, value: Setting) -> bool:
    """Say whether a setting is as a condition of the file wants it."""
    match condition:
        case {"not": inner}:
            return not holds(inner, value)
        case {"above": bound}:
            return isinstance(value, (int, float)) and value > bound
        case {"below": bound}:
            return isinstance(value, (int, float)) and value < bound
        case list():
            return value in condition
    return bool(value == condition)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Strict):
    """One side of a comparison: how it is asked for, and the conditions that its settings fulfil."""

    text: str = ""
    where: Mapping[str, Annotated[Any, AfterValidator(_checked)]] = Field(min_length=1)

    def fits(self, settings: Mapping[str, Setting]) -> bool:
        """Say whether settings are those of this side."""
        return all(holds(condition, settings.get(key)) for key, condition in self.where.items())


class Claim(_Strict):
    """One claim about two arms; claims.yaml says what its keys mean."""

    text: str = Field(alias="claim")
    source: str
    arm: str
    baseline: str
    alike: list[str] = []
    metrics: Annotated[list[str], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)] = Field(
        alias="metric", min_length=1
    )
    unit: Literal[*UNITS]  # type: ignore[valid-type]
    least: float = -inf
    most: float = inf
    seeds: int = Field(ge=MIN_VALUES)
    truth: float = 0.0
    spread: float | None = Field(default=None, gt=0)
    each: Literal["arm", "baseline"] = "arm"

    @model_validator(mode="after")
    def _check_range(self) -> "Claim":
        if {"least", "most"}.isdisjoint(self.model_fields_set):
            raise ValueError("needs `least`, `most` or both, the range that confirms it")
        if self.least > self.most:
            raise ValueError(f"`least` must be at most `most`, got {self.least:g} and {self.most:g}")
        if self.spread is not None and not self.least < self.truth < self.most:
            raise ValueError(f"`truth` must be within the range that confirms it, got {self.truth:g}")
        return self

    @property
    def rule(self) -> str:
        """What confirms it, such as "at least 80.5% less"."""
        if inf in (self.most, -self.least):
            return f"at least {self.show(self.least)}" if self.most == inf else f"at most {self.show(self.most)}"
        return f"{self.number(self.least)} to {self.show(self.most)}"

    @property
    def range(self) -> tuple[float, float]:
        """What confirms it."""
        return self.least, self.most

    @property
    def planned_seeds(self) -> int | None:
        """How many seeds a sweep should have for it; None where it does not say how far they spread."""
        return None if self.spread is None else seeds_for(self.truth, self.spread, self.range, self.seeds)

    def number(self, value: float) -> str:
        """Write a value as it is shown, such as "80.5" for 0.805."""
        _, factor, form = UNITS[self.unit]
        return format(factor * value, form)

    def show(self, value: float) -> str:
        """Write a value with its unit, such as "80.5% less"."""
        return self.number(value) + (self.unit if self.unit.startswith("%") else f" {self.unit}")


class Claims(_Strict):
    """The content of a file of claims."""

    arms: dict[str, Arm] = {}
    alike: dict[str, list[str]] = {}
    claims: list[Claim]


def read_claims(path: str | Path | None = None) -> Claims:
    """Read the claims that are shipped, and add those of a user's file to them.

    Raises:
        ValueError: the file is absent or not as claims.yaml explains; the message names it, the keys and the mistakes.
    """
    shipped = Claims.model_validate(read_yaml(SHIPPED))
    if path is None:
        return shipped
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    try:
        mine = Claims.model_validate(read_yaml(Path(path)))
    except ValidationError as error:
        raise ValueError(f"{path}: {'; '.join(map(_explain, error.errors()))}") from None
    for part in ("arms", "alike"):
        if taken := getattr(shipped, part).keys() & getattr(mine, part):
            raise ValueError(f"{path}: `{part}.{min(taken)}` is a name of {SHIPPED.name}, choose another one")
    both = Claims(
        arms=shipped.arms | mine.arms, alike=shipped.alike | mine.alike, claims=[*shipped.claims, *mine.claims]
    )
    for claim in mine.claims:
        for key in ("arm", "baseline"):
            if (name := getattr(claim, key)) not in both.arms:
                raise ValueError(f"{path}: `{key}` of {claim.text!r}: no arm {name!r}; known: {', '.join(both.arms)}")
    return both


def _explain(error: Any) -> str:
    """Say what is wrong in words, behind the key."""
    key = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "missing":
            return f"`{key}` is missing"
        case "extra_forbidden":
            return f"`{key}` is no key of such a file"
        case "value_error":
            return f"`{key}`: {error['ctx']['error']}"
    return f"`{key}`: {error['msg'][:1].lower()}{error['msg'][1:]}, got {error['input']!r}"
