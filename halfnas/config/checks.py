"""The checks that need nothing but the settings themselves: of the plain values, and of values that belong together."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat

from halfnas.config.signatures import problem_of
from halfnas.stages import STAGES, Stage
from halfnas.training import check_cuda_graphs

#: What may be given in place of running the stages that make it, the last one first.
PRODUCTS = tuple(stage.leaves for stage in reversed(STAGES) if stage.leaves is not None)

#: What `ckpt` may be, besides null.
LAST = "last"

#: Plain values; the others are checked where they are used.
VALUES: Mapping[str, Any] = {
    "seed": Annotated[int, Field(ge=0, description="seeds of random generators are not negative")],
    "optimized_budget": PositiveFloat | None,
    "ckpt": Annotated[Literal["last"] | None, Field(description="goes on where the run in the folder was left")],
}


def check(
    settings: Mapping[str, Any], chosen: Sequence[type[Stage]], typed: Mapping[str, str] | None = None
) -> tuple[list[str], list[str]]:
    """Errors and warnings that the settings alone give away.

    Args:
        settings: plain containers.
        chosen: the stages that run.
        typed: settings that the user has typed: name -> all of it, `ratio` -> `ratio=0.5`.
    """
    found = {name: problem_of(settings[name], hint) for name, hint in VALUES.items() if name in settings}
    errors = [f"`{name}` {problem}" for name, problem in found.items() if problem]
    errors += _errors_of_stages(settings, chosen)
    trainer = settings["trainer"]
    precision = trainer.get("precision")
    if str(precision) in ("16", "16-mixed", "16-true"):
        errors.append(
            f"`trainer.precision={precision}` is not supported: float16 overflows unless losses are scaled, which "
            "steps of halfnas do not do; use bf16-mixed, which needs no scaling"
        )
    if settings["supernet"].get("compile") and trainer.get("sync_batchnorm") and trainer.get("devices") != 1:
        errors.append(
            "`supernet.compile=true` does not go with batch norms of several processes; use supernet.compile=false or "
            "trainer.sync_batchnorm=false"
        )
    return errors, [] if errors else _warnings(settings, chosen, typed or {})


def check_cuda_graphs_here(settings: Mapping[str, Any]) -> None:
    """Raise ValueError where `cuda_graphs` has no such value, or asks for what this machine or trainer cannot do."""
    check_cuda_graphs(settings["cuda_graphs"])
    if settings["cuda_graphs"] is not True:
        return
    trainer = settings["trainer"]
    if not torch.cuda.is_available():
        raise ValueError("`cuda_graphs=true` needs a CUDA device, and there is none here; use auto")
    if trainer.get("accelerator") == "cpu":
        raise ValueError("`cuda_graphs=true` does not go with `trainer.accelerator=cpu`; use auto")
    if trainer.get("detect_anomaly"):
        raise ValueError("`cuda_graphs=true` does not go with `trainer.detect_anomaly=true`; use auto")


def _errors_of_stages(settings: Mapping[str, Any], chosen: Sequence[type[Stage]]) -> list[str]:
    asked = settings["stage"]
    if not chosen:
        names = ", ".join([*(stage.name for stage in STAGES), "pipeline"])
        return [f"`stage` must be one of {names}, or some that follow each other (prune+search), got {asked!r}"]
    first = chosen[0]
    if first.needs is not None and settings[first.needs] is None:
        [maker] = [stage for stage in STAGES if stage.leaves == first.needs]
        return [f"`stage={asked}` needs a {first.needs}: {maker.given_by}"]
    asked_for = [stage for stage in chosen if stage.name in asked.split("+")]  # none of them in a pipeline
    making = [stage.leaves for stage in asked_for if stage is not asked_for[-1] or stage.needs is None]
    return [
        f"`stage={asked}` makes a {product} and does not read one: leave out {product}=... or choose another stage"
        for product in making
        if product is not None and settings[product] is not None
    ]


def _warnings(settings: Mapping[str, Any], chosen: Sequence[type[Stage]], typed: Mapping[str, str]) -> list[str]:
    """Say what has no effect, because the stage that would read it does not run."""
    warnings = []
    for stage in STAGES:
        if stage in chosen:
            continue
        unread = [f"`{override}`" for name, override in typed.items() if _top(name) in stage.reads]
        if stage.needs is not None and settings[stage.needs] is not None:
            unread.insert(0, f"`{stage.needs}={settings[stage.needs]}`")
        if unread:
            given = [name for name in PRODUCTS if settings[name] is not None and _spares(name, stage)]
            why = f", as the {given[0]} is given" if given else ""
            effect = "has" if len(unread) == 1 else "have"
            warnings.append(f"{', '.join(unread)} {effect} no effect: nothing is {stage.done_to}{why}")
    return warnings


def _top(name: str) -> str:
    """The group or plain value that a setting belongs to: `pruner` of `pruner.repeats` and of `pruner@x`."""
    return name.split(".")[0].split("@")[0]


def _spares(product: str, stage: type[Stage]) -> bool:
    """Whether a stage does not run where its product, or that of a later stage, is given."""
    names = list(STAGES)
    return any(each.leaves == product for each in names[names.index(stage) :])
