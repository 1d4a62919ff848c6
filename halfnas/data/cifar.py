"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009), from files already there or downloaded by torchvision."""

import io
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr
from http.client import HTTPException
from pathlib import Path
from typing import ClassVar, Unpack

import torch
from torch.utils.data import Dataset, TensorDataset
from torchvision import datasets

from halfnas.data.dataset import Handling, ImageDataset

log = logging.getLogger(__name__)


class _Cifar(ImageDataset):
    """50,000 training and 10,000 test images, RGB, 32x32.

    The whole set is held as uint8 (training images: 146 MiB).
    """

    in_channels = 3
    image_size = 32
    published_order = True  # quark0/darts, cnn/train_search.py: the first half trains the weights
    title: ClassVar[str]
    source: ClassVar[type[datasets.CIFAR10]]

    def __init__(
        self,
        *,
        root: str,
        mean: Sequence[float],
        std: Sequence[float],
        **handling: Unpack[Handling],
    ) -> None:
        """Args: root is the folder that holds, or will hold, the folder of torchvision's layout."""
        super().__init__(mean=mean, std=std, **handling)
        self.root = Path(root).expanduser()

    def prepare(self) -> None:
        """Read the files in `root`; download them first if they are absent or damaged."""
        try:
            self._images(train=True)
        except RuntimeError:  # torchvision compares all files with their published md5
            self._download()

    def _raw(self, *, train: bool) -> Dataset:
        files = self.source(self.root, train=train, download=False)
        # torchvision shows the pixels as [N, H, W, C]; in memory, as in the files, they are [N, C, H, W].
        return TensorDataset(torch.from_numpy(files.data).permute(0, 3, 1, 2), torch.tensor(files.targets))

    def _download(self) -> None:
        """Download beside, move when complete: no half-written file and no new folder remains of a failure."""
        folder = self.root / self.source.base_folder
        log.info("downloading %s (170 MB) into %s", self.title, self.root)
        try:
            with _new_folder(self.root), tempfile.TemporaryDirectory(dir=self.root, prefix=".download-") as beside:
                # The bar is for people; in a log file it is pages of noise.
                with nullcontext() if sys.stderr.isatty() else redirect_stderr(io.StringIO()):
                    self.source(beside, download=True)
                folder.mkdir(exist_ok=True)
                for file in (Path(beside) / self.source.base_folder).iterdir():
                    os.replace(file, folder / file.name)
        except (OSError, RuntimeError, HTTPException) as error:
            found = "a damaged" if os.path.isdir(folder) else "no"
            raise ValueError(
                f"`paths.data_dir`={self.root} holds {found} {self.title} and it could not be downloaded ({error}); "
                f"put {self.source.base_folder} there or connect to the internet"
            ) from error


class Cifar10(_Cifar):
    """CIFAR-10: 10 classes of 5,000 training and 1,000 test images."""

    name = "cifar10"
    title = "CIFAR-10"
    num_classes = 10
    source = datasets.CIFAR10


class Cifar100(_Cifar):
    """CIFAR-100 with its fine labels: 100 classes of 500 training and 100 test images."""

    name = "cifar100"
    title = "CIFAR-100"
    num_classes = 100
    source = datasets.CIFAR100


@contextmanager
def _new_folder(path: Path) -> Iterator[None]:
    """Make a folder and its parents; take away again those that were not there if what follows fails."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in missing:
            # Another job may have put something there meanwhile, or mkdir stopped half-way.
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        raise
