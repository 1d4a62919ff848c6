"""What the paper and this project claim, held against the runs of a sweep.

Every claim is a range: of a saving, a ratio, a difference. A sweep measures a mean over seeds with its 95% interval by
Student's t, of values paired by seed. An interval all within the range confirms the claim, one all outside refutes it;
one that reaches over the edge, or fewer seeds than the claim needs, decides nothing. Two one-sided tests at 5%
(Schuirmann, 1987) would take the narrower 90% interval: ours are stricter. Nothing is corrected for the number of
claims. Only arms that share all that matters are compared; otherwise the settings in which they differ are named.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf
from operator import sub, truediv

import numpy as np
from rich.markup import escape
from rich.table import Table as RichTable

from halfnas.reporting.groups import Group
from halfnas.reporting.runs import Setting
from halfnas.reporting.table import Table
from halfnas.reporting.verdicts import CONFIRMED, NOT_CONFIRMED, Claim, judged

PAPER, OURS = "arXiv 2505.13586", "halfnas"

#: The peak of the process where all runs have it (CUDA), or else what a step keeps for its backward pass.
MEMORY = ("search/peak_allocated_mib", "search/step_activations_mib")
ACCURACY = ("evaluate/test_acc",)
SECONDS = ("total/seconds",)

#: What both arms must share, settings or groups of them: what a step of the search takes its memory from; what accuracy
#: depends on besides the method; what tells methods apart but for the regulariser; everything but the pruner.
SAME_STEP = (
    *("dataset", "space", "supernet", "searcher.batch_size"),
    *("trainer.precision", "trainer.accelerator", "trainer.devices", "trainer.strategy"),
)
SAME_TRAINING = ("dataset", "space", "supernet", "trainer", "evaluation", "searcher.batch_size", "searcher.epochs")
SAME_CHANNELS = ("searcher.partial_channels", "searcher.edge_normalization")
SAME_RUN = (*SAME_TRAINING, "searcher", "stage")

#: Memory follows from the mask alone, so two seeds do. Accuracy and time are noisy, and accuracy moves in steps of one
#: image: two equal values by chance would make an interval without width.
SEEDS_OF_MEMORY, SEEDS = 2, 3
#: "81%" and "23%" are rounded.
SAVING, SPEEDUP = 0.805, 0.225
#: One half to one digit: the stem and the preprocessing of the cells are not halved.
HALF = (0.45, 0.55)
#: A loss of accuracy that counts as none. Searches differ by 0.2 to 0.6 points from seed to seed (PC-DARTS#47), DARTS
#: and PC-DARTS by 0.4 as published (97.0%, 97.4%): a margin of one point would call all methods alike.
MARGIN = 0.005
#: "Within 1-2 points": the wider of the two. To be better than the baseline is no failure.
LOSS = 0.02
#: The share of the variance of memory that the fraction kept explains.
LINEAR = 0.99
RATIOS = 3


@dataclass(frozen=True)
class _Arm:
    """One side of a comparison: how it is asked for, and whether settings are like that."""

    text: str
    fits: Callable[[Mapping[str, Setting]], bool]


@dataclass(frozen=True)
class _Measure:
    """What two arms are compared by: the first metric that all runs of both have, in so many seeds."""

    metrics: tuple[str, ...]
    of: Callable[[float, float], float]
    unit: str
    seeds: int = SEEDS


@dataclass(frozen=True)
class _Question:
    """A claim that compares two arms seed by seed.

    Attributes:
        alike: settings, or groups of them, that both must share.
        each: the side whose every group has an answer, with the group of the other side that is most like it.
    """

    text: str
    source: str
    arm: _Arm
    baseline: _Arm
    alike: tuple[str, ...]
    measure: _Measure
    least: float
    most: float = inf
    each: str = "arm"

    @property
    def claim(self) -> Claim:
        return Claim(self.text, self.source, "", self.measure.unit, self.least, self.most)


def _whole(settings: Mapping[str, Setting]) -> bool:
    return settings.get("pruner") == "none" or settings.get("ratio") == 1


def _half(settings: Mapping[str, Setting]) -> bool:
    return settings.get("pruner") != "none" and settings.get("ratio") == 0.5


def _random_half(settings: Mapping[str, Setting]) -> bool:
    return _half(settings) and settings.get("pruner") == "random"


def _scored_half(settings: Mapping[str, Setting]) -> bool:
    return _half(settings) and settings.get("pruner") != "random"


def _partial(settings: Mapping[str, Setting]) -> bool:
    channels = settings.get("searcher.partial_channels")
    return isinstance(channels, (int, float)) and channels > 1


def _less(value: float, baseline: float) -> float:
    return 1 - value / baseline


_HALF = _Arm("ratio=0.5", _half)
_RANDOM = _Arm("pruner=random, ratio=0.5", _random_half)
_SCORED = _Arm("a zero-shot pruner, ratio=0.5", _scored_half)
_PARTIAL = _Arm("partial channels, ratio=0.5", lambda settings: _half(settings) and _partial(settings))
_SCORED_PARTIAL = _Arm(
    "partial channels, a zero-shot pruner, ratio=0.5", lambda settings: _scored_half(settings) and _partial(settings)
)
_WHOLE = _Arm("pruner=none", _whole)
_DARTS = _Arm(
    "searcher=darts, pruner=none",
    lambda settings: _whole(settings) and settings.get("searcher") == "darts" and not _partial(settings),
)
_PCDARTS = _Arm(
    "searcher=pcdarts, pruner=none",
    lambda settings: _whole(settings) and settings.get("searcher") == "pcdarts" and _partial(settings),
)

_SAVED = _Measure(MEMORY, _less, "% less", SEEDS_OF_MEMORY)
_SHARE = _Measure(MEMORY, truediv, "of baseline", SEEDS_OF_MEMORY)
_GAINED = _Measure(ACCURACY, sub, "points")
_FASTER = _Measure(SECONDS, _less, "% faster")
_SEARCHED_ALIKE = (*SAME_TRAINING, *SAME_CHANNELS)

#: Of memory, and of what comes out; the claim about lines stands between them.
_OF_MEMORY = (
    _Question("81% less memory than DARTS", PAPER, _PARTIAL, _DARTS, SAME_STEP, _SAVED, SAVING),
    _Question("halving alone halves memory", OURS, _HALF, _WHOLE, (*SAME_STEP, *SAME_CHANNELS), _SHARE, *HALF),
)
_AS_GOOD = "a random half is as accurate as a zero-shot half"
_AS_FAST = "a random half is 23% faster end to end than a zero-shot half"
_NEAR = "a random half is within 1-2 points of its baseline"
_NO_LOSS = "no accuracy loss against"
_OF_RESULTS = (
    _Question(_AS_GOOD, PAPER, _RANDOM, _SCORED, SAME_RUN, _GAINED, -MARGIN, MARGIN, each="baseline"),
    _Question(_AS_FAST, PAPER, _RANDOM, _SCORED, SAME_RUN, _FASTER, SPEEDUP, each="baseline"),
    _Question(_NEAR, OURS, _RANDOM, _WHOLE, _SEARCHED_ALIKE, _GAINED, -LOSS),
    _Question(f"{_NO_LOSS} DARTS", PAPER, _SCORED_PARTIAL, _DARTS, SAME_TRAINING, _GAINED, -MARGIN),
    _Question(f"{_NO_LOSS} PC-DARTS", PAPER, _SCORED_PARTIAL, _PCDARTS, _SEARCHED_ALIKE, _GAINED, -MARGIN),
)


def check_claims(groups: Sequence[Group]) -> list[Claim]:
    """All claims, for every dataset and space.

    Groups whose mask or cell was given are left out: it is not their pruner or their searcher that made it.
    """
    searched: dict[str, list[Group]] = {}
    for group in groups:
        if _get(group, "mask") is None and _get(group, "genotype") is None:
            searched.setdefault(f"{_get(group, 'dataset')}, {_get(group, 'space')} space", []).append(group)
    claims = []
    for data, here in (searched or {"-": []}).items():
        found = [
            *(claim for question in _OF_MEMORY for claim in _answers(question, here)),
            *_lines(here),
            *(claim for question in _OF_RESULTS for claim in _answers(question, here)),
        ]
        claims += [replace(claim, data=data) for claim in found]
    return claims


def claims_table(claims: Sequence[Claim]) -> Table:
    """A row a claim and pair of arms, in few columns: names of arms and metrics are long."""
    rows = [
        {
            "claim": f"{claim.text} ({claim.source}; {claim.data})",
            "verdict": claim.verdict,
            "measured": claim.measured,
            "seeds": claim.n,
            "confirmed by": claim.rule,
            "compared": claim.compared or None,
            "why": claim.why or None,
        }
        for claim in claims
    ]
    return Table("Claims", rows, {})


def claims_listing(claims: Sequence[Claim]) -> RichTable:
    """For the terminal: the verdict beside what it is about, so that long names of arms stay readable."""
    listing = RichTable(show_header=False, show_lines=True)
    listing.add_column(no_wrap=True)
    listing.add_column(overflow="fold")
    for claim in claims:
        seeds = f"{claim.n} seed{'' if claim.n == 1 else 's'}"
        lines = [
            f"[bold]{escape(claim.text)}[/] ({escape(claim.source)}; {escape(claim.data)})",
            escape(f"{claim.measured}, {seeds}; confirmed by {claim.rule}") if claim.number is not None else "",
            escape(claim.compared),
            escape(claim.why),
        ]
        colour = {CONFIRMED: "green", NOT_CONFIRMED: "red"}.get(claim.verdict, "yellow")
        listing.add_row(f"[{colour}]{claim.verdict}[/]", "\n".join(line for line in lines if line))
    return listing


def _answers(question: _Question, groups: Sequence[Group]) -> list[Claim]:
    """One for every group of the side that is asked about."""
    arms, baselines = (
        [group for group in groups if side.fits(group.all_settings)] for side in (question.arm, question.baseline)
    )
    for side, found in ((question.arm, arms), (question.baseline, baselines)):
        if not found:
            return [replace(question.claim, why=f"no group with {side.text}")]
    if question.each == "arm":
        pairs = [[(arm, baseline) for baseline in baselines] for arm in arms]
    else:
        pairs = [[(arm, baseline) for arm in arms] for baseline in baselines]
    return [_compare(question, *min(some, key=lambda pair: _distance(question, *pair))) for some in pairs]


def _distance(question: _Question, arm: Group, baseline: Group) -> tuple[int, int, bool]:
    """How much is in the way of a comparison, then how much else is not the same."""
    others = [key for key in _differing(arm, baseline, ("",)) if key.split(".")[0] not in ("pruner", "ratio")]
    return len(_differing(arm, baseline, question.alike)), len(others), _get(baseline, "pruner") != "none"


def _compare(question: _Question, arm: Group, baseline: Group) -> Claim:
    claim = replace(question.claim, arm=describe(arm), baseline=describe(baseline))
    if keys := _differing(arm, baseline, question.alike):
        listed = [f"{key} ({_get(arm, key)}, {_get(baseline, key)})" for key in keys]
        return replace(claim, why=f"the arms differ in {', '.join(listed)}")
    measure = question.measure
    metric = _metric(measure.metrics, (arm, baseline))
    if metric is None:
        return replace(claim, why=f"not all runs have {' or '.join(measure.metrics)}")
    first, second = arm.values(metric), baseline.values(metric)
    values = [measure.of(first[seed], second[seed]) for seed in sorted(first.keys() & second.keys())]
    note = ""
    if question.baseline is _WHOLE and _get(arm, "searcher") != _get(baseline, "searcher"):
        note = f"{_get(baseline, 'searcher')} stands in for {_get(arm, 'searcher')}, no whole one is like it"
    return judged(replace(claim, metric=metric), values, measure.seeds, note)


def _lines(groups: Sequence[Group]) -> list[Claim]:
    """Memory against the fraction kept, by least squares over runs that differ in ratio alone, a line a seed.

    The number is R2: it is near 1 where, moreover, masks that keep as much take as much memory.
    """
    claim = Claim("memory is linear in the fraction kept", OURS, "", "R2", LINEAR, inf)
    series: dict[frozenset[tuple[str, Setting]], list[Group]] = {}
    for group in groups:
        if _get(group, "pruner") != "none":
            rest = frozenset((key, value) for key, value in group.all_settings.items() if key != "ratio")
            series.setdefault(rest, []).append(group)
    claims = []
    for some in series.values():
        members = some
        if not any(_whole(group.all_settings) for group in some):  # where all is kept, all pruners are one
            alike = (*SAME_STEP, *SAME_CHANNELS)
            wholes = (other for other in groups if _whole(other.all_settings) and not _differing(some[0], other, alike))
            members = [*some, *islice(wholes, 1)]
        ratios = sorted({float(_get(group, "ratio") or 0) for group in members})
        if len(ratios) < RATIOS:
            continue
        named = replace(claim, arm=describe(some[0], "ratio " + ", ".join(f"{ratio:g}" for ratio in ratios)))
        metric = _metric(MEMORY, members)
        if metric is None:
            claims.append(replace(named, why=f"not all runs have {' or '.join(MEMORY)}"))
            continue
        points: dict[int, dict[float, float]] = {}
        for group in members:
            fractions = group.values("prune/kept_fraction")
            for seed, value in group.values(metric).items():
                points.setdefault(seed, {})[fractions.get(seed, float(_get(group, "ratio") or 0))] = value
        fits = [_fit(of_seed) for of_seed in points.values() if len(of_seed) >= RATIOS]
        note = ""
        if fits:
            note = f"at nothing kept the lines have {np.mean([start for _, start in fits]):.1%} of all kept"
        values = [explained for explained, _ in fits]
        found = judged(replace(named, metric=metric), values, SEEDS_OF_MEMORY, note)
        claims.append(found if found.high is None else replace(found, high=min(found.high, 1.0)))  # no R2 is above
    return claims or [replace(claim, why=f"no series of {RATIOS} ratios that differs in nothing else")]


def _fit(points: Mapping[float, float]) -> tuple[float, float]:
    """R2 of the line through them, and its value at 0 as a share of that at 1."""
    x, y = np.array(list(points)), np.array(list(points.values()))
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    explained = 1 - float(((y - slope * x - intercept) ** 2).sum()) / spread if spread else 0.0
    return explained, float(intercept / (intercept + slope))


def _metric(names: Sequence[str], groups: Sequence[Group]) -> str | None:
    """The first that all runs have."""
    runs = [run for group in groups for run in group.runs]
    return next((name for name in names if all(name in run.metrics for run in runs)), None)


def describe(group: Group, ratio: str | None = None) -> str:
    """Such as "darts, none (K = 1, ratio 1, batch size 64, engine plain)"."""
    parts = [f"K = {_get(group, 'searcher.partial_channels')}", ratio or f"ratio {_get(group, 'ratio')}"]
    kept = group.summary("prune/kept_fraction")
    if ratio is None and kept is not None and f"{kept.mean:.2f}" != f"{float(_get(group, 'ratio') or 0):.2f}":
        parts[-1] += f" keeps {kept.mean:.0%}"
    parts += [f"batch size {_get(group, 'searcher.batch_size')}", f"engine {_get(group, 'supernet.engine')}"]
    if _get(group, "supernet.recompute") not in ("none", None):
        parts.append(f"recompute {_get(group, 'supernet.recompute')}")
    return f"{_get(group, 'searcher')}, {_get(group, 'pruner')} ({', '.join(parts)})"


def _get(group: Group, key: str) -> Setting:
    return group.all_settings.get(key)


def _differing(first: Group, second: Group, among: Sequence[str]) -> list[str]:
    """Settings that differ, of those in the groups of settings named; "" names all."""
    keys = first.all_settings.keys() | second.all_settings.keys()
    named = (key for key in sorted(keys) if any(not name or f"{key}.".startswith(f"{name}.") for name in among))
    return [key for key in named if _get(first, key) != _get(second, key)]
