"""What a sweep says of a claim: the number that it has for it, and the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from halfnas.reporting.claims import Claim
from halfnas.reporting.statistics import Summary, students_half_width, summarize

CONFIRMED, NOT_CONFIRMED = "confirmed", "not confirmed"
NOT_ENOUGH_SEEDS, NOT_MEASURED = "not enough seeds", "not measured"

#: More seeds than anybody will run.
MANY = 1000


@dataclass(frozen=True)
class Answer:
    """What became of a claim.

    Attributes:
        claim: the claim.
        data: the dataset and the space.
        verdict: CONFIRMED, NOT_CONFIRMED, NOT_ENOUGH_SEEDS or NOT_MEASURED.
        why: what the verdict leaves open.
        metric: the key that was compared, the memory's for instance; None where nothing was.
        arm, baseline: both sides by their settings; None where there is none.
        number: the mean over seeds, in the claim's unit; None where nothing was measured.
        low, high: the ends of its 95% interval; None of fewer than two seeds.
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

    def judged(self, values: Sequence[float], note: str) -> "Answer":
        """Give the answer with the verdict that these values lead to, one a seed; `note` is added to its reason."""
        if not values:
            why = "; ".join(filter(None, ("no seed has both sides", note)))
            return replace(self, verdict=NOT_ENOUGH_SEEDS, why=why)
        found = summarize(values)
        verdict, why = _verdict(found, self.claim)
        why = "; ".join(filter(None, (why, note)))
        return replace(self, verdict=verdict, why=why, number=found.mean, low=found.low, high=found.high, n=found.n)


def _verdict(found: Summary, claim: Claim) -> tuple[str, str]:
    """Give the verdict, and what more it takes where there is none."""
    if found.low is None or found.high is None or found.std is None or found.n < claim.seeds:
        return NOT_ENOUGH_SEEDS, f"it takes {claim.seeds} at least"
    if claim.least <= found.low and found.high <= claim.most:
        return CONFIRMED, ""
    if found.high < claim.least or claim.most < found.low:
        return NOT_CONFIRMED, ""
    room = min(abs(found.mean - claim.least), abs(found.mean - claim.most))
    for n in range(found.n + 1, MANY + 1):
        if students_half_width(found.std, n) < room:
            return NOT_ENOUGH_SEEDS, f"about {n} would do if mean and spread stay"
    return NOT_ENOUGH_SEEDS, f"more than {MANY} would be needed if mean and spread stay"
