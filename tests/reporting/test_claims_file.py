"""Claims of a user, in a yaml file of their own, and the mistakes in such a file."""

import pytest
import yaml

from halfnas.reporting import __main__ as command
from halfnas.reporting.claims import holds, read_claims
from halfnas.reporting.groups import group_runs
from halfnas.reporting.judging import check_claims
from halfnas.reporting.study import read_study

MINE = {
    "arms": {"a quarter": {"where": {"ratio": 0.25, "pruner": ["nngp", "random"]}}},
    "alike": {"mine": ["dataset", "space"]},
    "claims": [
        {
            "claim": "a quarter costs 4 points at most",
            "source": "me",
            "arm": "a quarter",
            "baseline": "whole",
            "alike": ["mine", "searcher", "pruner"],
            "metric": ["evaluate/absent", "evaluate/test_acc"],
            "unit": "points",
            "least": -0.04,
            "seeds": 3,
        }
    ],
}


def write(path, **changed):
    """A file with MINE, and in its claim what is changed; None takes a key away."""
    claim = {key: value for key, value in (MINE["claims"][0] | changed).items() if value is not None}
    path.write_text(yaml.safe_dump(MINE | {"claims": [claim]}), encoding="utf-8")
    return path


def test_the_claims_that_are_shipped():
    assert [claim.seeds for claim in read_claims().claims] == [3] * 8
    assert [claim.rule for claim in read_claims().claims] == [
        "at least 80.5% less",
        "at least 33.3% less",
        "at least 0.9900 R2",
        "-0.50 to +0.50 points",
        "at least 22.5% faster",
        "at least -2.00 points",
        "at least -0.50 points",
        "at least -0.50 points",
    ]


def test_a_claim_of_a_user(sweep, tmp_path, capsys):
    mine = write(tmp_path / "mine.yaml")
    answers = check_claims(read_study([sweep]).groups, read_claims(mine))
    assert answers[: len(answers) - 2] == check_claims(read_study([sweep]).groups)  # all others are as they were
    nngp, random = answers[-2:]
    for answer in (nngp, random):  # 0.9 + 0.05 * ratio, with equal seeds
        assert (answer.verdict, answer.n) == ("confirmed", 3)
        assert answer.number == pytest.approx(0.05 * (0.25 - 1))
        assert (answer.metric, answer.claim.source) == ("evaluate/test_acc", "me")
        assert answer.claim.rule == "at least -4.00 points"
    assert nngp.arm.startswith("pcdarts, nngp (K = None, ratio 0.25")
    assert command.main(["--claims", str(mine), str(sweep), "--out", str(tmp_path)]) == 0
    assert "a quarter costs 4 points at most (me; digits, darts" in (tmp_path / "claims.md").read_text(encoding="utf-8")
    capsys.readouterr()


@pytest.mark.parametrize(
    ("changed", "number", "rule"),
    [
        ({"unit": "% more", "metric": "search/seconds", "least": 0.1}, 3.5 / 11 - 1, "at least 10.0% more"),
        ({"unit": "difference", "metric": "search/seconds", "least": 5}, -7.5, "at least +5 difference"),
        ({"least": None, "most": 0.01}, -0.0375, "at most +1.00 points"),
        ({"unit": "of baseline", "metric": "evaluate/params", "least": 0.5}, 1.0, "at least 0.500 of baseline"),
    ],
)
def test_units_and_ranges(sweep, tmp_path, changed, number, rule):
    claims = read_claims(write(tmp_path / "mine.yaml", **changed))
    answer = check_claims(read_study([sweep]).groups, claims)[-1]
    assert answer.number == pytest.approx(number)
    assert answer.claim.rule == rule


def test_nothing_is_a_share_of_zero(tmp_path, write_run):
    for seed in range(2):
        write_run(tmp_path / f"a{seed}", seed=seed, ratio=0.25, pruner="nngp", metrics={"prune/seconds": 1.0})
        write_run(tmp_path / f"b{seed}", seed=seed, ratio=1.0, pruner="nngp", metrics={"prune/seconds": 0.0})
    claims = read_claims(write(tmp_path / "mine.yaml", unit="% less", metric="prune/seconds", seeds=3))
    answer = check_claims(read_study([tmp_path]).groups, claims)[-1]
    assert (answer.verdict, answer.number) == ("not enough seeds", None)


def test_what_no_run_has_cannot_be_alike(sweep, tmp_path):
    claims = read_claims(write(tmp_path / "mine.yaml", alike=["mine", "searchers"]))
    message = "`alike` of 'a quarter costs 4 points at most': 'searchers' is no setting of any run, and none of: step, "
    with pytest.raises(ValueError, match=message):
        check_claims(read_study([sweep]).groups, claims)


def test_an_arm_without_words_is_called_by_its_name(tmp_path):
    answer = check_claims(group_runs([]), read_claims(write(tmp_path / "mine.yaml")))[-1]
    assert answer.why == "no group with a quarter"


@pytest.mark.parametrize(
    ("condition", "fitting", "others"),
    [
        (0.5, [0.5], [1.0, None]),
        (None, [None], [0.5]),
        (["a", "b"], ["a", "b"], ["c", None]),
        ({"above": 1}, [2, 1.5], [1, None, "a"]),
        ({"below": 1}, [0.5], [1, None, "a"]),
        ({"not": "a"}, ["b", None], ["a"]),
        ({"not": {"above": 1}}, [1, None], [2]),
        ({"not": ["a", "b"]}, ["c"], ["a", "b"]),
    ],
)
def test_conditions(condition, fitting, others):
    assert all(holds(condition, value) for value in fitting)
    assert not any(holds(condition, value) for value in others)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": None}, "`claims.0.metric` is missing"),
        ({"source": None, "arm": None}, "`claims.0.source` is missing; `claims.0.arm` is missing"),
        ({"bound": 3}, "`claims.0.bound` is no key of such a file"),
        (
            {"arm": "an eighth"},
            "`arm` of 'a quarter costs 4 points at most': no arm 'an eighth'; known: half, ",
        ),
        ({"baseline": "dart"}, "`baseline` of 'a quarter costs 4 points at most': no arm 'dart'; known: half"),
        ({"unit": "percent"}, "`claims.0.unit`: input should be '% less', '% faster'"),
        ({"least": "much"}, "`claims.0.least`: input should be a valid number"),
        ({"least": None}, "`claims.0`: needs `least`, `most` or both, the range that confirms it"),
        ({"most": -1}, "`claims.0`: `least` must be at most `most`, got -0.04 and -1"),
        ({"seeds": 1}, "`claims.0.seeds`: input should be greater than or equal to 3, got 1"),
        ({"each": "side"}, "`claims.0.each`: input should be 'arm' or 'baseline', got 'side'"),
        ({"alike": "dataset"}, "`claims.0.alike`: input should be a valid list, got 'dataset'"),
        ({"metric": []}, "`claims.0.metric`: list should have at least 1 item"),
    ],
)
def test_mistakes_in_a_claim(tmp_path, changed, message):
    path = write(tmp_path / "mine.yaml", **changed)
    with pytest.raises(ValueError, match=r"mine\.yaml: ") as caught:
        read_claims(path)
    assert message in str(caught.value)


CONDITION = "a condition is a value, a list of values, {above: NUMBER}, {below: NUMBER} or {not: CONDITION}, got "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`claims` is missing"),
        ("- 1", "`claims` is missing"),
        ("claims: [", "mine.yaml: cannot be read ("),
        ("claims: 1", "`claims`: input should be a valid list, got 1"),
        ("claims: []\ngroups: {}", "`groups` is no key of such a file"),
        ("claims: []\narms: {x: {}}", "`arms.x.where` is missing"),
        ("claims: []\narms: {x: {where: {}}}", "`arms.x.where`: "),
        ("claims: []\narms: {x: {where: {ratio: {over: 1}}}}", f"`arms.x.where.ratio`: {CONDITION}{{'over': 1}}"),
        ("claims: []\narms: {x: {where: {ratio: {above: a}}}}", f"`arms.x.where.ratio`: {CONDITION}{{'above': 'a'}}"),
        ("claims: []\narms: {x: {where: {ratio: {not: {}}}}}", f"`arms.x.where.ratio`: {CONDITION}{{}}"),
        ("claims: []\narms: {x: {where: {ratio: [1, []]}}}", f"`arms.x.where.ratio`: {CONDITION}[1, []]"),
        ("claims: []\narms: {x: {where: {ratio: []}}}", f"`arms.x.where.ratio`: {CONDITION}[]"),
        ("claims: []\narms: {half: {where: {ratio: 1}}}", "`arms.half` is a name of claims.yaml, choose another one"),
        ("claims: []\nalike: {run: [dataset]}", "`alike.run` is a name of claims.yaml, choose another one"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.yaml: ") as caught:
        read_claims(tmp_path / "mine.yaml")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--claims", "gone.yaml", "in"], "gone.yaml: no such file"),
        (["--claims", "mine.yaml"], "--claims takes one FILE.yaml at most, and a PATH with runs"),
        (["--claims", "mine.yaml", "other.yml", "in"], "--claims takes one FILE.yaml at most, and a PATH with runs"),
        (["--claims", "mine.yaml", "in"], "mine.yaml: `claims.0.unit`: input should be"),
        (["mine.yaml", "in"], "mine.yaml: no such folder"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, write_run, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "in" / "run", metrics={"evaluate/test_acc": 0.9})
    write(tmp_path / "mine.yaml", unit="percent")
    assert command.main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line
