"""What tests of several rooms share."""

from lightning.pytorch.loggers.logger import Logger

#: Overrides of a run of all stages that takes seconds.
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


class History(Logger):
    """What is logged, by name."""

    def __init__(self):
        super().__init__()
        self.metrics = {}

    @property
    def name(self):
        return "history"

    @property
    def version(self):
        return 0

    def log_hyperparams(self, *args, **kwargs):
        pass

    def log_metrics(self, metrics, step=None):
        for name, value in metrics.items():
            self.metrics.setdefault(name, []).append(value)
