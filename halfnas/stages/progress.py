"""What a folder has of a run: stages that are done, and the checkpoint of the one that was running."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from halfnas.errors import Refused, listed
from halfnas.runs.checkpoints import Damaged, Header, check_made_with, newest, previous, read_checkpoint
from halfnas.runs.folder import RunFolder, read_metrics
from halfnas.runs.made_with import MadeWith, differences, digest, read_made_with
from halfnas.stages import STAGES
from halfnas.stages.stage import READERS, Product, Stage

log = logging.getLogger(__name__)

#: What stands for a mask or genotype that is not there yet.
TO_BE_MADE = "made by this run"
REMEDY = "choose another folder, or overwrite=true"


@dataclass(frozen=True)
class Found:
    """A checkpoint that a stage goes on from."""

    path: Path
    header: Header
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        finished: the stages that are not run again.
        found: where the stage after these goes on.
    """

    finished: Sequence[str] = ()
    found: Found | None = None

    @property
    def epochs(self) -> dict[str, int]:
        """Stage -> its epochs that are behind it."""
        return {} if self.found is None else {self.found.header.stage: self.found.header.epochs}


def look(
    stages: Sequence[Stage], made_with: Mapping[str, MadeWith], folder: RunFolder, *, go_on: bool, overwrite: bool
) -> Progress:
    """Look at what a folder has of these stages.

    Args:
        stages: those that are to run.
        made_with: stage -> the settings that decide what it finds.
        folder: the folder of the run.
        go_on: whether what is there is gone on from; otherwise it is only checked.
        overwrite: whether what is of other settings may be lost.

    Raises:
        Refused: what is there is of other settings, and would be lost.
    """
    try:
        done = read_made_with(folder.path)
        progress = _look(stages, made_with, folder, done, overwrite) if go_on else Progress()
        if not overwrite:
            _check_results(stages, made_with, folder, done, progress.finished)
    except Refused:
        raise
    except ValueError as error:
        raise Refused([f"{error}; take that file away, or choose another folder"]) from None
    return progress


def complete(made_with: MadeWith, stage: Stage, needed: Product | None) -> dict[str, Any]:
    """The settings of a stage, and which mask or genotype it starts from."""
    if stage.needs is None:
        return dict(made_with)
    return {**made_with, stage.needs: TO_BE_MADE if needed is None else digest(needed)}


def _look(
    stages: Sequence[Stage],
    made_with: Mapping[str, MadeWith],
    folder: RunFolder,
    done: Mapping[str, MadeWith],
    overwrite: bool,
) -> Progress:
    finished: list[str] = []
    made: Product | None = None
    metrics = read_metrics(folder.path) if done else {}
    for stage in stages:
        now = complete(made_with[stage.name], stage, made if stage.given is None else stage.given)
        if stage.name in done and differences(now, _without_product(stage, done)):  # `_check_results` says so
            return Progress(finished)
        if not _is_there(stage, folder, done) or f"{stage.name}/seconds" not in metrics:
            return Progress(finished, _checkpoint(stage, now, folder, overwrite))
        finished.append(stage.name)
        made = _product(stage.leaves, folder)
    return Progress(finished)


def _without_product(stage: Stage, done: Mapping[str, MadeWith]) -> dict[str, Any]:
    """The settings of a stage that is done."""
    return {name: value for name, value in done[stage.name].items() if name != stage.leaves}


def _is_there(stage: Stage, folder: RunFolder, done: Mapping[str, MadeWith]) -> bool:
    """Whether a stage is done and what it has left is still there: whole, and not another one in its place."""
    if stage.name not in done or stage.leaves is None:
        return stage.name in done
    product = _product(stage.leaves, folder)
    return product is not None and digest(product) == done[stage.name].get(stage.leaves)


def _product(name: str | None, folder: RunFolder) -> Product | None:
    """The mask or genotype of a folder; None where it has none, or a damaged one."""
    if name is None or not folder.file(name).exists():
        return None
    try:
        return READERS[name](folder.file(name))
    except ValueError as error:
        log.warning("%s", error)
        return None


def _checkpoint(stage: Stage, now: MadeWith, folder: RunFolder, overwrite: bool) -> Found | None:
    """The newest checkpoint of a stage that can be gone on from."""
    damaged, others = [], []
    for path in (newest(folder.checkpoints, stage.name), previous(folder.checkpoints, stage.name)):
        if not path.exists():
            continue
        try:
            header, content = read_checkpoint(path)
            check_made_with(path, header, now)
        except Damaged as error:
            damaged.append(str(error))
        except ValueError as error:
            others.append(str(error))
        else:
            if not header.last:
                for problem in (*damaged, *others):
                    log.warning("%s; the one before is used, %s", problem, path)
                return Found(path, header, content)
    if others and not overwrite:
        raise Refused([f"{problem}; overwrite=true begins the {stage.name} anew" for problem in others])
    for problem in (*damaged, *others):
        log.warning("%s; the %s begins anew", problem, stage.name)
    return None


def _check_results(
    stages: Sequence[Stage],
    made_with: Mapping[str, MadeWith],
    folder: RunFolder,
    done: Mapping[str, MadeWith],
    finished: Sequence[str],
) -> None:
    """Raise Refused where results would be lost that these settings would not make again."""
    problems = []
    anew: list[str | None] = []  # masks and genotypes that are made anew, and not those that are there
    run = [stage for stage in stages if stage.name not in finished]
    for stage in run:
        given = stage.given
        if stage.needs is not None and given is not None:
            problems += _other_product(stage.needs, given, folder, done)
        needed = given if given is not None else None if stage.needs in anew else _product(stage.needs, folder)
        now = complete(made_with[stage.name], stage, needed)
        different = differences(now, _without_product(stage, done)) if stage.name in done else []
        if different or not _is_there(stage, folder, done):
            anew.append(stage.leaves)
        if different and not (problems and now.get(str(stage.needs)) == TO_BE_MADE):  # it follows from another one
            what = f"{folder.path} has a result of stage={stage.name} with other settings"
            problems.append(f"{what}, {listed(different)}: {REMEDY}")
    every, chosen = [stage.name for stage in STAGES], [stage.name for stage in stages]
    for name in every[every.index(run[0].name) :] if run else []:
        if name in done and name not in chosen:
            problems.append(f"{folder.path} has a result of stage={name}, of what would be made anew: {REMEDY}")
    if problems:
        raise Refused(problems)


def _other_product(name: str, given: Product, folder: RunFolder, done: Mapping[str, MadeWith]) -> list[str]:
    """Say where a mask or genotype that is given would take the place of one that was made here."""
    there = _product(name, folder) if done else None
    if there is None or digest(there) == digest(given):
        return []
    return [f"{folder.file(name)} is another {name} than the one that is given, which would take its place: {REMEDY}"]
