"""How many images a second the loaders make ready, without a network to train.

    python benchmarks/loading.py --root data --json benchmarks/results/loading.json     # without --root: noise

Batches of 32x32 images as the stages read them: raw, cropped and flipped as for the search, with cutout as for the
evaluation; held in memory, and decoded one by one without processes.
"""

import argparse
import os
import statistics
import time
from pathlib import Path

import rich.box
import torch
from harness import hardware, positive, print_table, synchronize
from rich.table import Table
from torch.utils.data import Subset

from halfnas.data import Batches, Cifar10, Fake, ImageDataset
from halfnas.data.batches import InOrder, Shuffled
from halfnas.data.images import open_images
from halfnas.runs.files import write_json

FORMAT = 1
SETTINGS = {"crop_padding": 4, "flip": True, "num_workers": 0}
NOISE = {"num_classes": 10, "in_channels": 3, "image_size": 32, "num_train": 25_000, "num_test": 1, "seed": 0}
CIFAR = {"mean": [0.49139968, 0.48215827, 0.44653124], "std": [0.24703233, 0.24348505, 0.26158768]}


def make_loaders(dataset: ImageDataset, arguments: argparse.Namespace) -> dict[str, Batches]:
    raw = dataset.train()
    place = {"device": arguments.device, "on_device": "auto", "num_workers": 0}
    held, decoded = open_images(raw, **place), open_images(Subset(raw, range(len(raw))), **place)
    normalization, indices = dataset.normalization(arguments.device), torch.arange(len(raw))

    def shuffled(images, augmentation):
        order = {"image_size": dataset.image_size, "batch_size": arguments.batch_size, "seed": 0, "stream": "weights"}
        return Shuffled(images, normalization, augmentation, indices, **order)

    return {
        "as they are": InOrder(held, normalization, indices, batch_size=arguments.batch_size),
        "crop, flip": shuffled(held, dataset.augmentation()),
        "crop, flip, cutout": shuffled(held, dataset.augmentation(16)),
        "crop, flip; decoded one by one": shuffled(decoded, dataset.augmentation()),
    }


def measure(loader: Batches, number: int, num_batches: int, device: torch.device) -> float:
    """Images a second over the first batches of an epoch."""
    loader.sampler.set_epoch(number)
    num_images = 0
    synchronize(device)
    start = time.perf_counter()
    for _, (images, _) in zip(range(num_batches), loader, strict=False):
        num_images += len(images)
    synchronize(device)
    return num_images / (time.perf_counter() - start)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="folder of CIFAR-10; noise of its shape without it")
    parser.add_argument("--batch-size", type=positive, default=96)
    parser.add_argument("--batches", type=positive, default=100, help="timed at once")
    parser.add_argument("--repeats", type=positive, default=7, help="the loaders take turns; the median counts")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there too")
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    load = os.getloadavg()[0]
    torch.set_num_threads(arguments.threads)
    if arguments.root is None:
        dataset: ImageDataset = Fake(**NOISE, **SETTINGS)
    else:
        dataset = Cifar10(root=str(arguments.root), **CIFAR, **SETTINGS)
    loaders = make_loaders(dataset, arguments)
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for number in range(arguments.repeats + 1):  # the first turn warms up
        for name, loader in loaders.items():
            rates[name].append(measure(loader, number, arguments.batches, arguments.device))
    rows = [{"loader": name, "images_per_second": found[1:]} for name, found in rates.items()]

    table = Table(box=rich.box.SIMPLE, title=f"{dataset.name}, batch {arguments.batch_size}, images a second")
    for header in ("loader", "median", "min", "max"):
        table.add_column(header, justify="left" if header == "loader" else "right")
    for row in rows:
        found = row["images_per_second"]
        table.add_row(row["loader"], *(f"{f(found):,.0f}" for f in (statistics.median, min, max)))
    print_table(table)
    machine = f"{hardware(arguments.device)}; torch {torch.__version__}; load average before {load:.1f}"
    print(f"{machine}; {arguments.repeats} turns of {arguments.batches} batches")
    if arguments.json is not None:
        settings = {"dataset": dataset.name, "batch_size": arguments.batch_size, "batches": arguments.batches}
        write_json(arguments.json, {"format": FORMAT, "settings": settings, "hardware": machine, "rows": rows})


if __name__ == "__main__":
    main()
