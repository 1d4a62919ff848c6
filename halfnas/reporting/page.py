"""The page of a report: one file that needs no other."""

import base64
import io
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure

import halfnas
from halfnas.reporting.figures import Drawing
from halfnas.reporting.study import Study
from halfnas.reporting.tables import Sheet

DPI = 150
WIDE = 9.0  # inches, from which on a figure is not shrunk to the width of a phone
LIBRARIES = ("torch", "lightning", "numpy", "scipy", "matplotlib")


@dataclass(frozen=True)
class Picture:
    """A figure and its PNG file."""

    drawing: Drawing
    content: bytes

    @property
    def address(self) -> str:
        """The picture itself, as an address."""
        return f"data:image/png;base64,{base64.b64encode(self.content).decode('ascii')}"

    @property
    def wide(self) -> bool:
        """Whether it needs more than a phone's width."""
        return bool(self.drawing.figure.get_figwidth() > WIDE)


def png(figure: Figure) -> bytes:
    """A figure as a PNG file."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI, bbox_inches="tight")
    return file.getvalue()


def html_page(
    study: Study, sheets: Mapping[str, Sheet], pictures: Sequence[Picture], problems: Sequence[str], command: str
) -> str:
    """The page.

    Args:
        sheets: anchor -> table.
        problems: what could not be read or drawn.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["code"] = _code
    sections: dict[str, list[Picture]] = {}
    for picture in pictures:
        sections.setdefault(picture.drawing.section, []).append(picture)
    return environment.get_template("report.html.j2").render(
        study=study,
        done=len(study.runs) - len(study.not_done),
        sheets=sheets,
        sections={re.sub(r"\W+", "-", name.lower()): (name, each) for name, each in sections.items()},
        problems=problems,
        command=command,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        versions={
            "halfnas": halfnas.__version__,
            "Python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
        },
    )


def _code(text: str) -> Markup:
    """Escaped, with `this` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 # escaped just before
