"""A claim, and the verdict of a sweep on it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from scipy import stats

from halfnas.reporting.statistics import CONFIDENCE, Summary, summarize

CONFIRMED, NOT_CONFIRMED = "confirmed", "not confirmed"
NOT_ENOUGH_SEEDS, NOT_MEASURED = "not enough seeds", "not measured"

#: More seeds than anybody will run.
MANY = 1000

#: unit -> its factor and format
UNITS = {"% less": (100, ".1f"), "% faster": (100, ".1f"), "points": (100, "+.2f")}
UNITS |= {"of baseline": (1, ".3f"), "R2": (1, ".4f")}


@dataclass(frozen=True)
class Claim:
    """A claim and what became of it.

    Attributes:
        text: what is claimed.
        source: who claims it.
        data: the dataset and the space.
        unit: of the numbers, a key of UNITS; percents and points are fractions until they are shown.
        least, most: the range that confirms it.
        verdict: CONFIRMED, NOT_CONFIRMED, NOT_ENOUGH_SEEDS or NOT_MEASURED.
        why: what the verdict leaves open.
        metric: the key that was compared, the memory's for instance; None where nothing was.
        arm, baseline: both sides by their settings; None where there is none.
        number: the mean over seeds; None where nothing was measured.
        low, high: its 95% interval; None of fewer than two seeds.
        n: seeds that both sides have.
    """

    text: str
    source: str
    data: str
    unit: str
    least: float
    most: float
    verdict: str = NOT_MEASURED
    why: str = ""
    metric: str | None = None
    arm: str | None = None
    baseline: str | None = None
    number: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0

    @property
    def measured(self) -> str:
        """Such as "74.1% less [73.8, 74.4]"."""
        if self.number is None:
            return "-"
        text = f"{self._show(self.number)}{self._unit}"
        if self.low is None or self.high is None:
            return text
        return f"{text} [{self._show(self.low)}, {self._show(self.high)}]"

    @property
    def rule(self) -> str:
        """What confirms it, such as "at least 80.5% less"."""
        if self.most == inf:
            return f"at least {self._show(self.least)}{self._unit}"
        return f"{self._show(self.least)} to {self._show(self.most)}{self._unit}"

    @property
    def compared(self) -> str:
        """Both sides and the metric, as far as there are any."""
        parts = [self.arm, self.baseline and f"against {self.baseline}", self.metric and f"by {self.metric}"]
        return ", ".join(part for part in parts if part)

    @property
    def _unit(self) -> str:
        return self.unit if self.unit.startswith("%") else f" {self.unit}"

    def _show(self, value: float) -> str:
        factor, form = UNITS[self.unit]
        return format(factor * value, form)


def judged(claim: Claim, values: Sequence[float], seeds: int, note: str) -> Claim:
    """With the number of these values, one a seed, and the verdict."""
    if not values:
        return replace(claim, verdict=NOT_ENOUGH_SEEDS, why="; ".join(filter(None, ("no seed has both sides", note))))
    found = summarize(values)
    verdict, why = _verdict(found, claim.least, claim.most, seeds)
    why = "; ".join(filter(None, (why, note)))
    return replace(claim, verdict=verdict, why=why, number=found.mean, low=found.low, high=found.high, n=found.n)


def _verdict(found: Summary, least: float, most: float, seeds: int) -> tuple[str, str]:
    """And what more it takes, where there is none."""
    if found.low is None or found.high is None or found.std is None or found.n < seeds:
        return NOT_ENOUGH_SEEDS, f"it takes {seeds} at least"
    if least <= found.low and found.high <= most:
        return CONFIRMED, ""
    if found.high < least or most < found.low:
        return NOT_CONFIRMED, ""
    room = min(abs(found.mean - least), abs(found.mean - most))
    for n in range(found.n + 1, MANY + 1):
        if float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * found.std / n**0.5 < room:
            return NOT_ENOUGH_SEEDS, f"about {n} would do if mean and spread stay"
    return NOT_ENOUGH_SEEDS, f"more than {MANY} would be needed if mean and spread stay"
