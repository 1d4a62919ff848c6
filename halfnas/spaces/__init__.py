"""What can be searched: spaces, their operations, masks and genotypes."""

from halfnas.spaces.darts import DartsSpace
from halfnas.spaces.discretize import discretize
from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.load import load_space
from halfnas.spaces.mask import Mask, check_ratio, num_kept
from halfnas.spaces.published import PublishedCell, find_genotype, published_cells
from halfnas.spaces.space import NONE, CellKind, CellPlan, Edge, SearchSpace, Skeleton

__all__ = [
    "NONE", "CellKind", "CellPlan", "DartsSpace", "Edge", "Gene", "Genotype", "Mask", "PublishedCell", "SearchSpace",
    "Skeleton", "check_ratio", "discretize", "find_genotype", "load_space", "num_kept", "published_cells",
]  # fmt: skip
