"""What a sweep says of a claim: the number that it has for it, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

from halfnas.reporting.claims import Claim
from halfnas.reporting.statistics import MANY, MIN_VALUES, POWER, Bounds, Summary, power, seeds_for, summarize

CONFIRMED, NOT_CONFIRMED = "confirmed", "not confirmed"
NOT_ENOUGH_SEEDS, NOT_MEASURED, NOT_COMPARABLE = "not enough seeds", "not measured", "not comparable"


@dataclass(frozen=True)
class Answer:
    """What became of a claim.

    Attributes:
        claim: the claim.
        data: the dataset and the space.
        verdict: CONFIRMED, NOT_CONFIRMED, NOT_ENOUGH_SEEDS, NOT_MEASURED or, where the arms differ in what the number
            depends on besides what is claimed, NOT_COMPARABLE.
        why: what the verdict leaves open, with the power of so many seeds.
        metric: the key that was compared, the memory's for instance; None where nothing was.
        arm, baseline: both sides by their settings; None where there is none.
        number: the mean over seeds, in the claim's unit; None where nothing was measured.
        low, high: the ends of its 95% interval; None of fewer than three seeds.
        n: the number of seeds that both sides have.
    """

    claim: Claim
    data: str
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
        """What was found, such as "74.1% less [73.8, 74.4]"."""
        if self.number is None:
            return "-"
        text = self.claim.show(self.number)
        if self.low is None or self.high is None:
            return text
        return f"{text} [{self.claim.number(self.low)}, {self.claim.number(self.high)}]"

    @property
    def compared(self) -> str:
        """Both sides and the metric, as far as there are any."""
        parts = [self.arm, self.baseline and f"against {self.baseline}", self.metric and f"by {self.metric}"]
        return ", ".join(part for part in parts if part)

    def judged(self, values: Sequence[float], note: str, noise: float | None, bounds: Bounds) -> "Answer":
        """Give the answer with the verdict that these values lead to.

        Args:
            values: one a seed.
            note: what is added to the reason of the verdict.
            noise, bounds: those of the values, see `summarize`.
        """
        if not values:
            return replace(self, verdict=NOT_ENOUGH_SEEDS, why=_joined("no seed has both sides", note))
        found = summarize(values, noise, bounds)
        verdict, why = _verdict(found, self.claim, noise)
        return replace(
            self, verdict=verdict, why=_joined(why, note), number=found.mean, low=found.low, high=found.high, n=found.n
        )


def _verdict(found: Summary, claim: Claim, noise: float | None) -> tuple[str, str]:
    """Give the verdict, and what more it takes where there is none."""
    if found.n < claim.seeds:
        return NOT_ENOUGH_SEEDS, _joined(f"it takes {claim.seeds} at least", planned(claim, found.n))
    if found.low is None or found.high is None or found.std is None:
        return NOT_ENOUGH_SEEDS, "the values are equal, and of how many images is not known"
    if claim.least <= found.low and found.high <= claim.most:
        return CONFIRMED, ""
    if found.high < claim.least or claim.most < found.low:
        return NOT_CONFIRMED, ""
    if found.mean < claim.least:
        side = (-inf, claim.least)
    else:
        side = (claim.least, claim.most) if found.mean <= claim.most else (claim.most, inf)
    std = max(found.std, noise or 0.0)
    enough = seeds_for(found.mean, std, side, found.n + 1)
    many = f"more than {MANY} would be needed" if enough is None else f"{enough} do so in {POWER:.0%}"
    chance = (
        f"if mean and spread stay, {found.n} seeds decide it in {power(found.mean, std, found.n, side):.0%} of sweeps"
    )
    return NOT_ENOUGH_SEEDS, _joined(f"{chance}, {many}", planned(claim, found.n))


def planned(claim: Claim, n: int) -> str:
    """Say how often n seeds confirm a claim that is true, and how many it takes; empty where they are enough."""
    enough = claim.planned_seeds
    if claim.spread is None or enough is None or n >= enough:
        return ""
    where = f"where the truth is {claim.show(claim.truth)} and seeds spread by {claim.number(claim.spread).lstrip('+')}"
    chance = f", {n} in {power(claim.truth, claim.spread, n, claim.range):.0%}" if n >= MIN_VALUES else ""
    return f"{where}, {enough} seeds confirm it in {POWER:.0%} of sweeps{chance}"


def _joined(*parts: str) -> str:
    return "; ".join(filter(None, parts))
