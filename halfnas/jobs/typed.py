"""Command lines as a user would type them."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

from halfnas.config.schema import key_of

#: What Hydra reads as it stands.
BARE = re.compile(r"[A-Za-z_./][\w./+-]*")
WORDS = ("true", "false", "null", "nan", "inf")


def override(key: str, value: str | Path) -> str:
    """An override that gives a setting this text, whatever is in it: spaces, commas, `=`, brackets, quotes."""
    text = str(value)
    if BARE.fullmatch(text) and text.lower() not in WORDS:
        return f"{key}={text}"
    plain = text.replace("${", "\\${")  # no interpolation
    return f"{key}={QuotedString(plain, Quote.single).with_quotes()}"


def again(key: str, folder: str | Path) -> str:
    """The command of this process, to go on in a folder.

    Args:
        key: the setting that names the folder.
        folder: the folder.
    """
    arguments = [each for each in sys.argv if key_of(each) not in (key, "ckpt", "overwrite")]
    return shlex.join(["python", *arguments, "ckpt=last", override(key, folder)])


def alone(script: str | Path, overrides: Sequence[str], folder: str | Path) -> list[str]:
    """The command line of one job of a sweep, with which Lightning starts further processes on several devices."""
    return [
        str(script),
        *overrides,
        "hydra.mode=RUN",
        override("hydra.run.dir", folder),
        "hydra.output_subdir=null",
        "hydra.job.name=train_other_processes",
    ]
