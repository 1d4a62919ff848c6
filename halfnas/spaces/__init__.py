"""What can be searched: spaces, their operations, masks and genotypes."""

from halfnas.spaces.chain import ChainSpace
from halfnas.spaces.darts import DartsSpace
from halfnas.spaces.discretize import Strengths, discretize
from halfnas.spaces.genotype import Gene, Genotype
from halfnas.spaces.load import load_space
from halfnas.spaces.mask import Mask
from halfnas.spaces.mobilenet import MobileNetSpace
from halfnas.spaces.nasbench201 import NASBench201Space, from_architecture_string, to_architecture_string
from halfnas.spaces.nasbench_macro import NASBenchMacroSpace
from halfnas.spaces.published import PublishedCell, find_genotype, published_cells
from halfnas.spaces.ratio import check_ratio, num_kept
from halfnas.spaces.sampling import NUMBERS_PER_EDGE, sample_genotype
from halfnas.spaces.space import NONE, CellKind, CellPlan, Edge, EdgePlan, SearchSpace, Skeleton
from halfnas.spaces.ties import ordered, tie_break

__all__ = [
    "NONE", "NUMBERS_PER_EDGE", "CellKind", "CellPlan", "ChainSpace", "DartsSpace", "Edge", "EdgePlan", "Gene",
    "Genotype", "Mask", "MobileNetSpace", "NASBench201Space", "NASBenchMacroSpace", "PublishedCell", "SearchSpace",
    "Skeleton", "Strengths", "check_ratio", "discretize", "find_genotype", "from_architecture_string", "load_space",
    "num_kept", "ordered", "published_cells", "sample_genotype", "tie_break", "to_architecture_string",
]  # fmt: skip
