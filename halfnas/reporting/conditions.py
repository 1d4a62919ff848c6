"""What memory and time depend on besides the method: they are compared only where it is the same."""

from collections.abc import Callable, Mapping, Sequence

from halfnas.reporting.bounds import MEASURES
from halfnas.reporting.groups import Group
from halfnas.reporting.settings import Setting

#: Stage -> the settings that have its batch size. That of the pruning is a part of how a pruner scores.
BATCHES = {"search": "searcher", "evaluate": "evaluation"}
TOTAL = "total/seconds"
NO_CUDA = "no CUDA"
#: Condition -> how it is written, in this order.
WORDS: Mapping[str, Callable[[Setting], str]] = {
    "batch size": "batch size {}".format,
    "batch size of the training": "training {}".format,
    "precision": str,
    "image size": "{0}x{0} pixels".format,
    "device": str,
    "stages": str,
}
#: Metrics that are shown and never compared, by the end of their key, and why.
NEVER = {"step_activations_mib": "what is recomputed is missing in it; peak_live_mib has all that a step needs"}


def conditions(group: Group, metric: str) -> dict[str, Setting]:
    """List what a memory or time of a group was measured at, by name; nothing of other metrics.

    What runs do not say, as the image size before it was written down, is left out.
    """
    if not metric.endswith(MEASURES):
        return {}
    settings, metrics = group.all_settings, group.runs[0].metrics
    of = metric.split("/")[0]
    stages = BATCHES if metric == TOTAL else ("search",) if of == "total" else (of,)
    found: dict[str, Setting] = {}
    for stage in stages:
        owner = BATCHES.get(stage, "")
        ran = any(key.startswith(f"{stage}/") for key in metrics) and settings.get(f"{owner}.epochs") != 0
        if ran:
            name = "batch size of the training" if stage == "evaluate" else "batch size"
            found[name] = settings.get(f"{owner}.batch_size")
    found["precision"] = settings.get("trainer.precision")
    size = next((int(value) for key, value in metrics.items() if key.endswith("/image_size_px")), None)
    found["image size"] = settings.get("dataset.image_size") if size is None else size
    found["device"] = "CUDA" if any(key.endswith("/peak_allocated_mib") for key in metrics) else NO_CUDA
    if metric == TOTAL:
        timed = (key.split("/")[0] for key in metrics if key.endswith("/seconds") and key != TOTAL)
        found["stages"] = " and ".join(timed)
    return {key: value for key, value in found.items() if value is not None}


def in_words(found: Mapping[str, Setting]) -> str:
    """Write conditions, such as "batch size 64, 32-true, 32x32 pixels"."""
    return ", ".join(write(found[key]) for key, write in WORDS.items() if found.get(key) not in (None, NO_CUDA))


def measured_at(group: Group) -> str:
    """Write what memory and time of a group were measured at; empty where it has neither."""
    found: dict[str, Setting] = {}
    for metric in dict.fromkeys(key for run in group.runs for key in run.metrics if key != TOTAL):
        found |= conditions(group, metric)
    return in_words(found)


def why_not(first: Group, second: Group, metric: str) -> str | None:
    """Say why a metric of two groups cannot be compared; None where it can.

    Accuracies always can: which settings differ is written beside them.
    """
    if (reason := NEVER.get(metric.split("/")[-1])) is not None:
        return reason
    ours, theirs = conditions(first, metric), conditions(second, metric)
    differing = [key for key in WORDS if key in ours and key in theirs and ours[key] != theirs[key]]
    return ", ".join(f"{key} {ours[key]}, not {theirs[key]}" for key in differing) or None


def apart(groups: Sequence[Group], metric: str) -> list[list[Group]]:
    """Sort the groups that have a metric into such as can be compared with each other."""
    parts: list[list[Group]] = []
    for group in groups:
        if group.values(metric):
            fitting = [part for part in parts if why_not(part[0], group, metric) is None]
            fitting[0].append(group) if fitting else parts.append([group])
    return parts
