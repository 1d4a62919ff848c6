"""Dataset -> mask -> genotype -> weights, as artifacts that say what they were made from."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import Logger

from halfnas.callbacks.loggers import RunLogger
from halfnas.data import ImageDataset
from halfnas.spaces import Genotype, Mask

log = logging.getLogger(__name__)

#: images of each set that go into the fingerprint of a dataset
SAMPLED = 256


class Lineage:
    """The artifacts of one job in its W&B run; without a W&B run nothing is done.

    Each is named after its content, `mask-3f0c61d2a97b`, so that runs cannot overwrite each other's, and a mask that
    one run made and another was given is one artifact: an edge of W&B's graph, found without asking a server. The
    metadata hold the same edges for those who read files: `sha256`, and `made_from` with that of what it was made from.
    """

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = [logger for logger in loggers if isinstance(logger, RunLogger)]
        self._made_from: dict[str, str] = {}

    def dataset(self, dataset: ImageDataset) -> None:
        """Note the images that everything is made from: a description, never the images themselves."""
        if not self._loggers:
            return
        content = describe(dataset)
        text = json.dumps(content, indent=2) + "\n"
        digest = hashlib.sha256(text.encode()).hexdigest()
        for logger in self._loggers:
            artifact = wandb.Artifact(f"dataset-{dataset.name}", type="dataset", metadata={**content, "sha256": digest})
            with artifact.new_file("dataset.json", encoding="utf-8") as file:
                file.write(text)
            _use(logger.experiment, artifact)
        self._made_from["dataset"] = f"{dataset.name}@{digest}"

    def mask(self, mask: Mask, file: Path, *, given: bool = False) -> None:
        """Note a mask that was made, or given."""
        made_with = {"ratio": mask.ratio, "pruner": mask.pruner, "seed": mask.seed}
        self._note("mask", file, {"space": mask.space, **made_with}, given)

    def genotype(self, genotype: Genotype, file: Path, *, given: bool = False) -> None:
        """Note a genotype that was found, or given."""
        self._note("genotype", file, {"space": genotype.space}, given)

    def weights(self, file: Path, metrics: Mapping[str, float]) -> None:
        """Note the trained network with its figures, where it was saved and `logger.wandb.log_weights` is on."""
        if file.exists() and any(logger.log_weights for logger in self._loggers):
            figures = {key.removeprefix("evaluate/"): value for key, value in metrics.items()}
            wanted = ("test_acc", "val_acc", "params", "macs")
            self._note("weights", file, {name: figures[name] for name in wanted if name in figures}, given=False)

    def _note(self, kind: str, file: Path, metadata: Mapping[str, Any], given: bool) -> None:
        if not self._loggers:
            return
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
        # What a given file was made from is written where it was made.
        links = {"sha256": digest} if given else {"sha256": digest, "made_from": dict(self._made_from)}
        for logger in self._loggers:
            artifact = wandb.Artifact(f"{kind}-{digest[:12]}", type=kind, metadata={**metadata, **links})
            artifact.add_file(str(file))
            if given:
                _use(logger.experiment, artifact)
            else:
                logger.experiment.log_artifact(artifact)
        self._made_from[kind] = digest


def describe(dataset: ImageDataset) -> dict[str, Any]:
    """What tells a dataset from another: sizes, and a fingerprint of images spread over both sets."""
    train, test = dataset.train(), dataset.test()
    fingerprint = hashlib.sha256()
    for images in (train, test):
        size = len(images)  # type: ignore[arg-type]
        for index in range(0, size, max(1, size // SAMPLED)):
            image, label = images[index]
            fingerprint.update(image.contiguous().numpy().tobytes() + f"|{int(label)}|".encode())
    return {
        "name": dataset.name,
        "num_train_images": len(train),  # type: ignore[arg-type]
        "num_test_images": len(test),  # type: ignore[arg-type]
        "num_classes": dataset.num_classes,
        "in_channels": dataset.in_channels,
        "image_size": dataset.image_size,
        "fingerprint": fingerprint.hexdigest(),
    }


def _use(run: wandb.Run, artifact: wandb.Artifact) -> None:
    """Declare an input of the run; a server that refuses it costs an edge of the graph, not the run."""
    if run.offline:
        # `use_artifact` refuses to work offline, since it waits for the server. This is what it calls first: the record
        # is written to the run's file, and `wandb sync` makes the edge of it.
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
        return
    try:
        run.use_artifact(artifact)
    except (wandb.errors.Error, ValueError) as error:
        log.warning("Weights & Biases did not take the artifact %s: %s", artifact.name, error)
