"""What a folder has of a run: stages that are done, and the checkpoint of the one that was running."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from halfnas.errors import Refused
from halfnas.runs.checkpoints import (
    Damaged,
    Header,
    check_made_with,
    drop_newer,
    newest,
    previous,
    read_checkpoint,
)
from halfnas.runs.folder import RunFolder, read_metrics
from halfnas.runs.made_with import MadeWith, differences, digest, read_made_with
from halfnas.stages.stage import READERS, Product, Stage

log = logging.getLogger(__name__)

#: Differing settings that a message lists.
SHOWN = 4
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

    def settled(self, folder: RunFolder) -> "Progress":
        """Drop checkpoints that are newer than the one that is gone on from."""
        if self.found is None or not folder.writes:
            return self
        path = drop_newer(folder.checkpoints, self.found.header.stage, self.found.path)
        return replace(self, found=replace(self.found, path=path))

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
    except ValueError as error:
        raise error if isinstance(error, Refused) else Refused([str(error)]) from None
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
        if stage.name in done and done[stage.name] != now:  # `_check_results` says so
            return Progress(finished)
        if stage.name not in done or f"{stage.name}/seconds" not in metrics or not _is_there(stage, folder):
            return Progress(finished, _checkpoint(stage, now, folder, overwrite))
        finished.append(stage.name)
        made = _product(stage.leaves, folder)
    return Progress(finished)


def _is_there(stage: Stage, folder: RunFolder) -> bool:
    """Whether what a stage leaves is there, and whole."""
    try:
        return stage.leaves is None or _product(stage.leaves, folder) is not None
    except ValueError:
        return False


def _product(name: str | None, folder: RunFolder) -> Product | None:
    """The mask or genotype of a folder; None where it has none. Raises ValueError where it is damaged."""
    return None if name is None or not folder.file(name).exists() else READERS[name](folder.file(name))


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
    """Raise Refused where results would be lost that the same settings would not make again."""
    problems = []
    anew: list[str | None] = []  # what is made anew, by other settings than what is there
    for stage in stages:
        if stage.name in finished:
            continue
        given = stage.given
        if stage.needs is not None and given is not None:
            problems += _other_product(stage.needs, given, folder, done)
        needed = given if given is not None else None if stage.needs in anew else _product(stage.needs, folder)
        now = complete(made_with[stage.name], stage, needed)
        before = done.get(stage.name)
        if before != now:
            anew.append(stage.leaves)
        if before is not None and (different := differences(now, before)):
            more = f" and {len(different) - SHOWN} more" if len(different) > SHOWN else ""
            listed = ", ".join(different[:SHOWN]) + more
            problems.append(f"{folder.path} has a result of stage={stage.name} with other settings, {listed}: {REMEDY}")
    if problems:
        raise Refused(problems)


def _other_product(name: str, given: Product, folder: RunFolder, done: Mapping[str, MadeWith]) -> list[str]:
    """Say where a mask or genotype that is given would take the place of one that was made here."""
    there = _product(name, folder) if done else None
    if there is None or digest(there) == digest(given):
        return []
    return [f"{folder.file(name)} is another {name} than the one that is given, which would take its place: {REMEDY}"]
