"""Groups of invented runs, and what tells them apart."""

from pathlib import Path

import pytest

from halfnas.reporting.groups import Group, find_baseline, group_runs, telling_apart
from halfnas.reporting.runs import NO_STATUS, NOT_STARTED, REPEATED, Run
from halfnas.reporting.statistics import summarize

BASE = {"dataset": "digits", "space": "darts", "pruner": "nngp", "searcher": "pcdarts", "ratio": 0.5, "stage": "search"}


def run(seed=0, state="done", metrics=None, **settings):
    settings = BASE | {key.replace("__", "."): value for key, value in settings.items()}
    return Run(Path(f"run-{seed}"), state, None, seed, settings, metrics or {})


def names(*runs):
    return [group.name for group in group_runs(runs)]


def test_runs_that_differ_in_the_seed_alone_are_a_group():
    [group] = group_runs([run(2), run(0), run(10)])
    assert [each.seed for each in group.runs] == [0, 2, 10]
    assert group.settings == {}
    assert group.name == "all runs"
    assert group.all_settings == BASE


@pytest.mark.parametrize("state", ["failed", "running", NO_STATUS, NOT_STARTED, REPEATED])
def test_only_done_runs_count(state):
    assert group_runs([run(0, state), run(1, state, ratio=1.0)]) == []
    [group] = group_runs([run(0), run(1, state), run(0, state, ratio=1.0)])
    assert (len(group.runs), group.name) == (1, "all runs")


def test_no_runs():
    assert group_runs([]) == []
    assert telling_apart([]) == []


def test_names():
    assert names(run(pruner="random"), run()) == ["nngp", "random"]
    assert names(run(ratio=0.25), run(pruner="random")) == ["nngp, ratio 0.25", "random, ratio 0.5"]
    assert names(run(searcher__epochs=5), run(searcher__epochs=25)) == ["searcher.epochs 5", "searcher.epochs 25"]


def test_a_choice_stands_for_what_comes_with_it():
    darts = run(searcher="darts", searcher__partial_channels=1, searcher__learning_rate=0.025)
    pcdarts = run(searcher__partial_channels=4, searcher__learning_rate=0.1)
    assert telling_apart([darts.settings, pcdarts.settings]) == ["searcher"]


def test_a_setting_that_was_changed_besides_is_named():
    arms = [
        run(searcher="darts", searcher__partial_channels=1, searcher__batch_size=64),
        run(searcher__partial_channels=4, searcher__batch_size=64),
        run(searcher__partial_channels=4, searcher__batch_size=256),
    ]
    assert telling_apart([arm.settings for arm in arms]) == ["searcher", "searcher.batch_size"]
    assert names(*arms) == [
        "darts, searcher.batch_size 64",
        "pcdarts, searcher.batch_size 64",
        "pcdarts, searcher.batch_size 256",
    ]


def test_no_more_settings_than_it_takes():
    """Two settings that always change together: one says it."""
    arms = [run(searcher__epochs=e, searcher__warmup_epochs=e // 3) for e in (15, 30, 45)]
    assert telling_apart([arm.settings for arm in arms]) == ["searcher.epochs"]
    crossed = [run(space__num_cells=cells, searcher__epochs=epochs) for cells in (3, 5) for epochs in (1, 2)]
    assert set(telling_apart([arm.settings for arm in crossed])) == {"space.num_cells", "searcher.epochs"}


def test_choices_come_first_and_in_their_order():
    arms = [run(a=1, ratio=0.5, pruner="nngp"), run(a=2, ratio=1.0, pruner="nngp"), run(a=2, ratio=1.0, pruner="none")]
    assert telling_apart([dict(reversed(arm.settings.items())) for arm in arms]) == ["pruner", "ratio"]
    assert telling_apart([run(stage="prune").settings, run(dataset="fake").settings]) == ["dataset", "stage"]


def test_a_setting_that_some_do_not_have():
    groups = group_runs([run(pruner__rankers__ntk__weight=1.0), run()])
    assert [group.settings for group in groups] == [
        {"pruner.rankers.ntk.weight": None},
        {"pruner.rankers.ntk.weight": 1.0},
    ]


def test_numbers_are_sorted_as_numbers_before_words():
    values = ["auto", 10, 9, None, 0.5, "8", True]
    found = [group.settings["pruner.repeats"] for group in group_runs([run(pruner__repeats=v) for v in values])]
    assert found == [None, 0.5, True, 9, 10, "8", "auto"]


def test_values_and_summaries():
    runs = [run(0, metrics={"a": 1.0}), run(3, metrics={"a": 2.0, "b": 5.0}), run(4)]
    [group] = group_runs(runs)
    assert group.values("a") == {0: 1.0, 3: 2.0}
    assert group.summary("a") == summarize([1.0, 2.0])
    assert group.summary("b").n == 1
    assert group.values("c") == {}
    assert group.summary("c") is None


def test_a_run_without_a_seed_is_not_that_of_seed_0():
    [group] = group_runs([run(0, metrics={"a": 1.0}), run(None, metrics={"a": 2.0})])
    assert sorted(group.values("a").values()) == [1.0, 2.0]


def test_difference_by_seed():
    ours, theirs = group_runs(
        [
            *(run(seed, metrics={"a": float(seed)}) for seed in (1, 2, 3)),
            *(run(seed, metrics={"a": 10.0 * seed}, pruner="random") for seed in (2, 3, 4)),
        ]
    )
    assert ours.difference(theirs, "a") == summarize([-18.0, -27.0])
    assert theirs.difference(ours, "b") is None


ARMS = {
    "darts": {"searcher": "darts", "pruner": "none", "ratio": 1.0, "searcher__partial_channels": 1},
    "pcdarts": {"pruner": "none", "ratio": 1.0, "searcher__partial_channels": 4},
    "whole random": {"pruner": "random", "ratio": 1.0, "searcher__partial_channels": 4},
    "whole nngp": {"pruner": "nngp", "ratio": 1.0, "searcher__partial_channels": 4},
    "random": {"pruner": "random", "ratio": 0.5, "searcher__partial_channels": 4},
    "nngp": {"pruner": "nngp", "ratio": 0.5, "searcher__partial_channels": 4},
}


def groups_of(*arms):
    return group_runs([run(**ARMS[arm]) for arm in arms])


@pytest.mark.parametrize("first", range(len(ARMS) - 1))
def test_default_baseline(first):
    """ARMS are in the order of preference."""
    arms = list(ARMS)[first:]
    found = find_baseline(groups_of(*reversed(arms)))
    assert found.all_settings == run(**ARMS[arms[0]]).settings


def test_methods_on_the_same_masks_are_compared_with_a_random_architecture():
    runs = [run(searcher=name) for name in ("pcdarts", "random", "gdas")]
    assert find_baseline(group_runs(runs)).all_settings["searcher"] == "random"
    whole = run(searcher="darts", pruner="none", ratio=1.0)
    assert find_baseline(group_runs([*runs, whole])).all_settings["searcher"] == "darts"


def test_baseline_of_groups_without_ratio_or_channels():
    group = Group({}, [Run(Path("a"), "done", None, 0, {"dataset": "digits"}, {})])
    assert find_baseline([group]) is group


@pytest.mark.parametrize(
    ("wanted", "arm"),
    [
        ({"pruner": "random", "ratio": "0.5"}, "random"),
        ({"pruner": "none", "searcher": "pcdarts"}, "pcdarts"),
        ({"searcher.partial_channels": "1"}, "darts"),
        ({"searcher.partial_channels": "1.0", "ratio": "1"}, "darts"),
        ({"pruner": "random", "ratio": "1"}, "whole random"),
    ],
)
def test_wanted_baseline(wanted, arm):
    assert find_baseline(groups_of(*ARMS), wanted).all_settings == run(**ARMS[arm]).settings


@pytest.mark.parametrize(
    ("value", "text", "other"), [(None, "null", "x"), (True, "true", "false"), (False, "False", "0"), ("8", "8", "8.0")]
)
def test_a_baseline_is_wanted_in_the_words_of_the_command_line(value, text, other):
    groups = group_runs([run(a=value), run(a=3)])
    assert find_baseline(groups, {"a": text}).all_settings["a"] == value
    with pytest.raises(ValueError, match="0 groups"):
        find_baseline(groups, {"a": other})


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"pruner": "ntk"}, "baseline pruner=ntk: 0 groups are like that, of: nngp, ratio 0.5; "),
        ({"pruner": "random"}, "baseline pruner=random: 2 groups are like that, of: "),
        ({"unknown": "1", "ratio": "0.5"}, "baseline unknown=1 ratio=0.5: 0 groups"),
    ],
)
def test_a_baseline_that_is_not_one_group(wanted, message):
    with pytest.raises(ValueError, match=message):
        find_baseline(groups_of("whole random", "random", "nngp"), wanted)


def test_no_group_to_compare_with():
    with pytest.raises(ValueError, match="no baseline: no run is done"):
        find_baseline([])


def test_names_for_figures_leave_out_a_group_of_settings_that_is_clear():
    (first, _) = group_runs(
        [
            run(searcher__partial_channels=k, searcher__epochs=epochs, evaluation__epochs=5)
            for k, epochs in ((1, 5), (4, 6))
        ]
    )
    both = Group({"searcher.partial_channels": 1, "searcher.epochs": 5}, first.runs)
    assert both.name == "searcher.partial_channels 1, searcher.epochs 5"
    assert both.short == "partial_channels 1, searcher.epochs 5"
