"""A logger that remembers."""

from lightning.pytorch.loggers.logger import Logger


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
