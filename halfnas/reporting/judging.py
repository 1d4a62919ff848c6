"""Claims held against the runs of a sweep.

Every claim is a range: of a saving, a ratio, a difference (claims.yaml). A sweep measures a mean over seeds with its
95% interval by Student's t, of values paired by seed; an accuracy has the noise of its images at least. An interval all
within the range confirms the claim, one all outside refutes it; one that reaches over the edge, or fewer seeds than the
claim needs, decides nothing. Two one-sided tests at 5% (Schuirmann, 1987) would take the narrower 90% interval: ours
are stricter. Nothing is corrected for the number of claims. Only arms that share all that matters are compared, memory
and time only at one batch size, precision and image size; otherwise what they differ in is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from operator import sub

import numpy as np
from rich.markup import escape
from rich.table import Table as RichTable

from halfnas.reporting.answers import CONFIRMED, NOT_COMPARABLE, NOT_CONFIRMED, Answer
from halfnas.reporting.bounds import is_accuracy
from halfnas.reporting.claims import LINE, UNITS, Arm, Claim, Claims, read_claims
from halfnas.reporting.conditions import conditions, in_words, why_not
from halfnas.reporting.groups import Group
from halfnas.reporting.runs import GIVEN
from halfnas.reporting.settings import Setting
from halfnas.reporting.statistics import paired
from halfnas.reporting.table import Table

MIN_RATIOS = 3  # of a line


def check_claims(groups: Sequence[Group], claims: Claims | None = None) -> list[Answer]:
    """Answer all claims, for every dataset and space.

    Groups whose cell was given are left out: it is not their searcher that made it. So are those whose masks only their
    files tell apart, which settings that nobody knows have made.

    Args:
        claims: what is claimed; the claims that are shipped if not given.

    Raises:
        ValueError: `alike` of a claim names neither a list nor a setting of any run, and so would hold of all.
    """
    claims = claims or read_claims()
    known = {f"{key}." for group in groups for key in group.all_settings}
    for claim in claims.claims if groups else ():
        for name in claim.alike:
            if name not in claims.alike and not any(key.startswith(f"{name}.") for key in known):
                lists = ", ".join(claims.alike)
                raise ValueError(f"`alike` of {claim.text!r}: {name!r} is no setting of any run, and none of: {lists}")
    searched: dict[str, list[Group]] = {}
    for group in groups:
        if _get(group, "mask") in (None, GIVEN) and _get(group, "genotype") is None:
            searched.setdefault(f"{_get(group, 'dataset')}, {_get(group, 'space')} space", []).append(group)
    return [
        answer
        for data, here in (searched or {"-": []}).items()
        for claim in claims.claims
        for answer in _Judge(claim, claims, data).answers(here)
    ]


class _Judge:
    """Answers one claim from the groups of one dataset and space."""

    def __init__(self, claim: Claim, claims: Claims, data: str) -> None:
        self.claim = claim
        self.open = Answer(claim, data)
        self.arm, self.baseline = claims.arms[claim.arm], claims.arms[claim.baseline]
        self.alike = [key for name in claim.alike for key in claims.alike.get(name, [name])]

    def answers(self, groups: Sequence[Group]) -> list[Answer]:
        """Give an answer for every group of the side that is asked about, or for every line."""
        arms, baselines = self._fitting(self.arm, groups), self._fitting(self.baseline, groups)
        if self.claim.unit == LINE:
            lines = self._lines(arms, baselines)
            return lines or [replace(self.open, why=f"no series of {MIN_RATIOS} ratios that differs in nothing else")]
        for found, side, name in ((arms, self.arm, self.claim.arm), (baselines, self.baseline, self.claim.baseline)):
            if not found:
                return [replace(self.open, why=f"no group with {side.text or name}")]
        if self.claim.each == "arm":
            pairs = [[(arm, baseline) for baseline in baselines] for arm in arms]
        else:
            pairs = [[(arm, baseline) for arm in arms] for baseline in baselines]
        return [self._compare(*min(some, key=lambda pair: self._distance(*pair))) for some in pairs]

    def _fitting(self, arm: Arm, groups: Sequence[Group]) -> list[Group]:
        return [group for group in groups if arm.fits(group.all_settings)]

    def _distance(self, arm: Group, baseline: Group) -> tuple[int, int, bool]:
        """Count what is in the way of a comparison, then what else is not the same."""
        others = [key for key in _differing(arm, baseline, [""]) if key.split(".")[0] not in ("pruner", "ratio")]
        return len(_differing(arm, baseline, self.alike)), len(others), _get(baseline, "pruner") != "none"

    def _compare(self, arm: Group, baseline: Group) -> Answer:
        answer = replace(self.open, arm=describe(arm), baseline=describe(baseline))
        if keys := _differing(arm, baseline, self.alike):
            listed = [f"{key} ({_get(arm, key)}, {_get(baseline, key)})" for key in keys]
            return replace(answer, verdict=NOT_COMPARABLE, why=f"the arms differ in {', '.join(listed)}")
        metric = self._metric([arm, baseline])
        if metric is None:
            return self._not_all_have_it(answer)
        if (reason := why_not(arm, baseline, metric)) is not None:
            return replace(answer, verdict=NOT_COMPARABLE, metric=metric, why=reason)
        note, searchers = "", [_get(group, "searcher") for group in (arm, baseline)]
        if "searcher" not in self.baseline.where and searchers[0] != searchers[1]:
            note = f"{searchers[1]} stands in for {searchers[0]}, no {self.claim.baseline} one is like it"
        of = UNITS[self.claim.unit][0]
        usable = {seed: value for seed, value in baseline.values(metric).items() if value != 0 or of is sub}
        values = paired(of, arm.values(metric), usable)
        noise = arm.noise_against(baseline, metric, of) if values else None
        limit = 1.0 if is_accuracy(metric) and of is sub else inf
        return replace(answer, metric=metric).judged(values, note, noise, (-limit, limit))

    def _metric(self, groups: Sequence[Group]) -> str | None:
        """Find the first metric of the claim that all runs have."""
        runs = [run for group in groups for run in group.runs]
        return next((name for name in self.claim.metrics if all(name in run.metrics for run in runs)), None)

    def _not_all_have_it(self, answer: Answer) -> Answer:
        return replace(answer, why=f"not all runs have {' or '.join(self.claim.metrics)}")

    def _lines(self, arms: Sequence[Group], wholes: Sequence[Group]) -> list[Answer]:
        """Fit the metric against the fraction kept, by least squares over groups that differ in ratio alone.

        There is a line a seed. The number is R2: it is near 1 where, moreover, masks that keep as much have as much.
        """
        series: dict[frozenset[tuple[str, Setting]], list[Group]] = {}
        for group in arms:
            rest = frozenset((key, value) for key, value in group.all_settings.items() if key != "ratio")
            series.setdefault(rest, []).append(group)
        answers = []
        for members in series.values():
            if not any(group in wholes for group in members):  # where all is kept, all pruners are one
                members += [whole for whole in wholes if self._belongs(whole, members[0])][:1]
            ratios = sorted({float(_get(group, "ratio") or 0) for group in members})
            if len(ratios) >= MIN_RATIOS:
                named = describe(members[0], "ratio " + ", ".join(f"{ratio:g}" for ratio in ratios))
                answers.append(self._line(members, replace(self.open, arm=named)))
        return answers

    def _belongs(self, whole: Group, member: Group) -> bool:
        """Say whether a group of all candidates can end a line."""
        metric = self._metric([whole, member])
        comparable = metric is None or why_not(whole, member, metric) is None
        return comparable and not _differing(member, whole, self.alike)

    def _line(self, members: Sequence[Group], answer: Answer) -> Answer:
        metric = self._metric(members)
        if metric is None:
            return self._not_all_have_it(answer)
        if (reason := why_not(members[0], members[-1], metric)) is not None:
            return replace(answer, verdict=NOT_COMPARABLE, metric=metric, why=reason)
        points: dict[int, dict[float, float]] = {}
        for group in members:
            fractions = group.values("prune/kept_fraction")
            for seed, value in group.values(metric).items():
                points.setdefault(seed, {})[fractions.get(seed, float(_get(group, "ratio") or 0))] = value
        fits = [_fit(of_seed) for of_seed in points.values() if len(of_seed) >= MIN_RATIOS]
        note = f"at nothing kept the lines have {np.mean([start for _, start in fits]):.1%} of all kept" if fits else ""
        return replace(answer, metric=metric).judged([explained for explained, _ in fits], note, 0.0, (-inf, 1.0))


def _fit(points: Mapping[float, float]) -> tuple[float, float]:
    """Compute R2 of the line through points, and its value at 0 as a share of that at 1."""
    x, y = np.array(list(points)), np.array(list(points.values()))
    slope, intercept = np.polyfit(x, y, 1)
    spread = float(((y - y.mean()) ** 2).sum())
    explained = 1 - float(((y - slope * x - intercept) ** 2).sum()) / spread if spread else 0.0
    return explained, float(intercept / (intercept + slope))


def describe(group: Group, ratio: str | None = None) -> str:
    """Name an arm by what memory and time depend on, such as "darts, none (K = 1, ratio 1, batch size 64, ...)"."""
    parts = [f"K = {_get(group, 'searcher.partial_channels')}", ratio or f"ratio {_get(group, 'ratio')}"]
    kept = group.summary("prune/kept_fraction")
    if ratio is None and kept is not None and f"{kept.mean:.2f}" != f"{float(_get(group, 'ratio') or 0):.2f}":
        parts[-1] += f" keeps {kept.mean:.0%}"
    parts += [in_words(conditions(group, "search/peak_live_mib")), f"engine {_get(group, 'supernet.engine')}"]
    if _get(group, "supernet.recompute") not in ("none", None):
        parts.append(f"recompute {_get(group, 'supernet.recompute')}")
    return f"{_get(group, 'searcher')}, {_get(group, 'pruner')} ({', '.join(filter(None, parts))})"


def _get(group: Group, key: str) -> Setting:
    return group.all_settings.get(key)


def _differing(first: Group, second: Group, among: Sequence[str]) -> list[str]:
    """List the settings that differ, of those in the groups of settings named; "" names all."""
    keys = first.all_settings.keys() | second.all_settings.keys()
    named = (key for key in sorted(keys) if any(not name or f"{key}.".startswith(f"{name}.") for name in among))
    return [key for key in named if _get(first, key) != _get(second, key)]


def claims_table(answers: Sequence[Answer]) -> Table:
    """Make a row a claim and pair of arms, in few columns: names of arms and metrics are long."""
    rows = [
        {
            "claim": f"{answer.claim.text} ({answer.claim.source}; {answer.data})",
            "verdict": answer.verdict,
            "measured": answer.measured,
            "seeds": answer.n,
            "confirmed by": answer.claim.rule,
            "compared": answer.compared or None,
            "why": answer.why or None,
        }
        for answer in answers
    ]
    return Table("Claims", rows, {})


def claims_listing(answers: Sequence[Answer]) -> RichTable:
    """List the claims for the terminal: the verdict beside what it is about, so that long names stay readable."""
    listing = RichTable(show_header=False, show_lines=True)
    listing.add_column(no_wrap=True)
    listing.add_column(overflow="fold")
    for answer in answers:
        seeds = f"{answer.n} seed{'' if answer.n == 1 else 's'}"
        number = f"{answer.measured}, {seeds}; confirmed by {answer.claim.rule}" if answer.number is not None else ""
        head = f"[bold]{escape(answer.claim.text)}[/] ({escape(answer.claim.source)}; {escape(answer.data)})"
        lines = [head, *map(escape, (number, answer.compared, answer.why))]
        colour = {CONFIRMED: "green", NOT_CONFIRMED: "red"}.get(answer.verdict, "yellow")
        listing.add_row(f"[{colour}]{answer.verdict}[/]", "\n".join(line for line in lines if line))
    return listing
