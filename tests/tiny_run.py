"""Runs for tests: one of all stages that takes seconds, and one that goes on until somebody stops it."""

import time

#: Its overrides.
TINY = (
    "pruner=random",
    "searcher.epochs=1",
    "searcher.warmup_epochs=0",
    "evaluation.epochs=1",
    "dataset.max_train_images=200",
    "space.init_channels=4",
    "evaluation.init_channels=4",
    "trainer=cpu",
)
#: A search that goes on until somebody stops it; with fewer than its 5000 epochs one that takes a while.
ENDLESS = (
    "stage=search", "pruner=none", "ratio=1", "searcher.epochs=5000", "searcher.warmup_epochs=0", "logger=none",
    "dataset.max_train_images=40", "searcher.batch_size=4", "space.init_channels=4", "trainer=cpu",
)  # fmt: skip


def wait_until(happened, seconds=120):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
