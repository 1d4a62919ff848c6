"""Imports go one way: spaces <- networks <- pruning, search, evaluation <- stages <- config <- jobs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import halfnas

PACKAGE = Path(halfnas.__file__).parent
METHODS = {"pruning", "search", "evaluation"}
ENTRANCE = {"stages", "config", "jobs"}
SIDE = {"data", "memory", "runs", "drawing"}  # know nothing of the stages
TOP = {"comparison", "reporting"}  # commands: nothing imports them

#: room -> rooms it must not know
FORBIDDEN = {
    "errors": {"spaces", "networks", "training", "callbacks", *METHODS, *ENTRANCE, *SIDE, *TOP},
    "runs": {"spaces", "networks", "training", "callbacks", *METHODS, *ENTRANCE, *(SIDE - {"runs"}), *TOP},
    "training": {"spaces", "networks", "callbacks", *METHODS, *ENTRANCE, *SIDE, *TOP},
    "spaces": {"networks", "training", "callbacks", *METHODS, *ENTRANCE, *(SIDE - {"runs"}), *TOP},
    "networks": {"callbacks", *METHODS, *ENTRANCE, *SIDE, *TOP},
    **{method: {"callbacks", *(METHODS - {method}), *ENTRANCE, *SIDE, *TOP} for method in METHODS},
    "data": {"networks", "callbacks", *METHODS, *ENTRANCE, *(SIDE - {"data"}), *TOP},
    "memory": {"callbacks", *METHODS, *ENTRANCE, *(SIDE - {"memory"}), *TOP},
    "drawing": {"networks", "training", "callbacks", *METHODS, *ENTRANCE, *(SIDE - {"drawing"}), *TOP},
    "callbacks": {*METHODS, *ENTRANCE, *TOP},
    "stages": {"config", "jobs", *TOP},
    "config": {"jobs", *TOP},
    "jobs": {*TOP},
    "reporting": {"networks", "training", "comparison", *METHODS, *ENTRANCE},
    "comparison": {"search", "evaluation", "callbacks", "jobs"},
}
#: library -> the only files (or folders) that import it
CONFINED = {
    "wandb": {"callbacks", "reporting.wandb"},
    # errors: a ConfigError is also Hydra's compact exception
    "hydra": {"config", "jobs", "spaces.load", "errors", "comparison"},
    "omegaconf": {"config", "jobs", "spaces.load", "comparison"},
}


def module_name(path):
    """Dotted name inside the package: spaces.load, spaces (for its __init__), "" for halfnas itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree):
    """Absolute names of everything imported, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in ("import_module", "__import__"):
                yield str(node.args[0].value)


def violations(module, source):
    tree = ast.parse(source)
    room = module.split(".")[0]
    found = []
    for name in imported(tree):
        library, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if library == "halfnas" and target in FORBIDDEN.get(room, ()):
            found.append(f"{module} imports {name}")
        homes = CONFINED.get(library)
        if homes is not None and not any(module == home or module.startswith(f"{home}.") for home in homes):
            found.append(f"{module} imports {name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            found.append(f"{module}:{node.lineno} imports by a relative path")
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            found.append(f"{module}:{node.lineno} imports *")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            found.append(f"{module}:{node.lineno} calls {node.func.id}")
    return found


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    assert violations(module_name(path), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spaces.mask", "from halfnas.networks import build_supernet"),
        ("spaces.mask", "from halfnas import networks"),
        ("spaces", "import halfnas.networks.build"),
        ("networks.plain", "def f():\n    from halfnas.pruning.rankers import NNGPMean"),
        ("pruning.module", "from halfnas.search import SearchModule"),
        ("search.module", "import halfnas.memory"),
        ("data.module", "if TYPE_CHECKING:\n    from halfnas.stages.run import run"),
        ("reporting.html", "from importlib import import_module\nimport_module('halfnas.stages.run')"),
        ("memory.saved", "import wandb"),
        ("reporting.html", "from wandb import Table"),
        ("search.module", "from omegaconf import DictConfig"),
        ("spaces.darts", "from hydra.utils import instantiate"),
        ("errors", "from omegaconf import OmegaConf"),
        ("callbacks.files", "from halfnas.config.plan import Plan"),
        ("pruning.module", "from halfnas.data import PruningData"),
        ("comparison.benchmark", "from halfnas.search import BilevelSearch"),
        ("runs.folder", "from halfnas.spaces import Mask"),
        ("spaces.darts", "from .mask import Mask"),
        ("spaces.darts", "from .. import networks"),
        ("spaces.darts", "from torch import *"),
        ("spaces.darts", "eval('1')"),
        ("spaces.darts", "exec('1')"),
    ],
)
def test_what_is_refused(module, source):
    assert violations(module, source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("spaces.load", "from hydra.utils import instantiate"),
        ("networks.plain", "from halfnas.spaces import Mask\nfrom halfnas.networks.supernet import Mixing"),
        ("pruning.module", "from halfnas.networks import Supernet\nmodel.eval()"),
        ("callbacks.tables", "import wandb"),
        ("reporting.wandb", "import wandb"),
        (
            "comparison.prunings",
            "from halfnas.data import PruningData\nfrom halfnas.memory import peak_live_memory",
        ),
        ("comparison.__main__", "import hydra"),
        ("stages.search", "import halfnas.search, halfnas.pruning"),
    ],
)
def test_what_is_allowed(module, source):
    assert violations(module, source) == []


def test_every_room_has_its_rules():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in PACKAGE.rglob("*.py")}
    assert rooms - {"__init__"} == set(FORBIDDEN)


def test_the_package_alone_is_light():
    # the parent process of a sweep imports halfnas but none of these
    code = (
        "import sys, halfnas\n"
        "assert halfnas.__version__\n"
        "print(*sorted({'torch', 'lightning', 'wandb', 'hydra', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""


def test_public_names_resolve():
    assert {getattr(halfnas, name).__name__ for name in halfnas.__all__ if name != "__version__"} == {
        "Genotype", "Mask", "build_network", "build_supernet", "load_space",
    }  # fmt: skip
    with pytest.raises(AttributeError, match="module 'halfnas' has no attribute 'nothing'"):
        _ = halfnas.nothing
