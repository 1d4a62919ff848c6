"""Find a space by name: conf/space/<name>.yaml says which class it is and with which sizes."""

from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from halfnas.runs.reading import quoted
from halfnas.spaces.space import SearchSpace

#: conf/ lies beside the package in a checkout and inside it once installed.
_PACKAGE = Path(__file__).resolve().parents[1]
CONF = next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), _PACKAGE / "conf")


def load_space(name: str, **overrides: Any) -> SearchSpace:
    """Build the space that conf/space/<name>.yaml describes, from any working directory.

    Args:
        overrides: constructor arguments that win over the yaml, such as init_channels=16, num_classes=100.

    Raises:
        ValueError: an unknown space or argument, or a value the space refuses.
    """
    files = {path.stem: path for path in sorted((CONF / "space").glob("*.yaml"))}
    if name not in files:
        raise ValueError(f"unknown space {quoted(name)}; known: {', '.join(files)}")
    try:
        return instantiate(OmegaConf.load(files[name]), **overrides, _convert_="all")
    except InstantiationException as error:
        raise ValueError(f"space {name!r}: {error.__cause__ or error}") from error
