"""What the benchmarks share: arguments, the machine, a batch of noise, and how a table is printed."""

import argparse
import platform
import subprocess
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from halfnas.spaces import SearchSpace

WIDTH = 150


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def make_parser(description: str | None, *, masks: int) -> argparse.ArgumentParser:
    """With the arguments that all benchmarks of supernets share."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=positive, default=32)
    parser.add_argument("--masks", type=positive, default=masks, help="random masks to average over, seeds 0, 1, ...")
    parser.add_argument("--init-channels", type=positive, default=16)
    parser.add_argument("--num-cells", type=positive, default=8)
    parser.add_argument("--image-size", type=positive, default=32)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--threads", type=positive, default=2, help="CPU threads; DESIGN 7 has two cores")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there too")
    return parser


def make_row_parser(description: str | None, *, masks: int) -> argparse.ArgumentParser:
    """The same for tables whose rows take turns, see turns.py."""
    parser = make_parser(description, masks=masks)
    parser.add_argument("--timed-masks", type=positive, default=2, help="the first of them, whose steps are timed")
    parser.add_argument("--rounds", type=positive, default=3, help="timed steps of each row")
    parser.add_argument("--rows", default="", metavar="TEXT", help="only rows with TEXT in their name, and baselines")
    return parser


def noise(space: SearchSpace, batch_size: int, image_size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Images [B, C, H, W] and labels [B]."""
    images = torch.randn((batch_size, space.in_channels, image_size, image_size), device=device)
    return images, torch.randint(space.num_classes, (batch_size,), device=device)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    return f"{model}, {torch.get_num_threads()} threads"


def print_table(table: Table) -> None:
    """Without the blanks that rich leaves at the end of lines."""
    console = Console(width=WIDTH)
    with console.capture() as captured:
        console.print(table)
    print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def commit(folder: Path) -> str:
    """The commit of a clone, with "-dirty" where its files were changed."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown commit"
