"""What architectures are worth, where a table of trained accuracies says so: told, never used to choose."""

from halfnas.spaces import Mask
from halfnas.spaces.trained import TrainedTable
from halfnas.stages.stage import Parts

AUTO = "auto"


def table_for(parts: Parts) -> TrainedTable | None:
    """The table that `benchmark` asks for: `auto` is the published one in `paths.data_dir`; None where none is."""
    wanted = parts.settings["benchmark"]
    table = None
    if wanted is not None:
        with parts.checking("benchmark"):
            path = parts.settings["paths"]["data_dir"] if wanted == AUTO else wanted
            table = TrainedTable.load(path, parts.space(), parts.dataset.name)
    return table


def worth_of_mask(table: TrainedTable, mask: Mask) -> dict[str, float]:
    """The best and the mean accuracy of the architectures that a mask leaves, fractions."""
    left = table.accuracies[table.left_by(mask)]
    return {"prune/best_true_acc": float(left.max()), "prune/mean_true_acc": float(left.mean())}
