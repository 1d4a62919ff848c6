"""What a function does in several processes at once."""

import os
import socket
import tempfile
import traceback
import warnings
from pathlib import Path

import torch
from torch import multiprocessing

from halfnas.training import Ranks
from quiet import quiet_trainer

LIMIT = 300  # seconds


def on_ranks(function, *args, num_ranks=2):
    """What function(*args), of a file that can be imported, gives in each process of one gloo group, by rank."""
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        context = multiprocessing.get_context("spawn")
        arguments = [(rank, num_ranks, port, folder, function, args) for rank in range(num_ranks)]
        processes = [context.Process(target=_run, args=each) for each in arguments]
        for process in processes:
            process.start()
        for process in processes:
            process.join(LIMIT)
            process.kill()
        outcomes = [torch.load(file, weights_only=False) for file in sorted(Path(folder).iterdir())]
    for error in (value for kind, value in outcomes if kind == "raised"):
        raise AssertionError(error)
    assert len(outcomes) == num_ranks, "a process has died, or takes too long"
    return [value for _, value in outcomes]


def ranks_trainer(**settings):
    """The trainer of one of two processes, inside `on_ranks`."""
    devices = torch.distributed.get_world_size()
    os.environ["WORLD_SIZE"] = str(devices)  # a trainer before it has taken it away
    return quiet_trainer(**({"strategy": Ranks(), "devices": devices} | settings))


def _run(rank, num_ranks, port, folder, function, args):
    torch.set_num_threads(1)
    warnings.filterwarnings("error", message=".*sync_dist.*")
    os.environ |= {
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "0", "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(num_ranks),
    }  # fmt: skip
    torch.distributed.init_process_group("gloo", rank=rank, world_size=num_ranks)
    try:
        outcome = "returned", function(*args)
    except BaseException:
        outcome = "raised", traceback.format_exc()
    torch.save(outcome, Path(folder) / str(rank))
    if outcome[0] == "returned":
        torch.distributed.destroy_process_group()
