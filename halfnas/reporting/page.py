"""The page of a report: one file that needs no other."""

import platform
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import halfnas
from halfnas.reporting.figures import Drawing
from halfnas.reporting.study import Study
from halfnas.reporting.tables import Sheet

LIBRARIES = ("torch", "lightning", "numpy", "scipy", "matplotlib")


def html_page(
    study: Study, sheets: Mapping[str, Sheet], drawings: Sequence[Drawing], problems: Sequence[str], command: str
) -> str:
    """Fill in the page of a report, as HTML that needs no other file.

    Args:
        sheets: anchor -> table.
        problems: what could not be read or drawn.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["code"] = _code
    sections: dict[str, list[Drawing]] = {}
    for drawing in drawings:
        sections.setdefault(drawing.section, []).append(drawing)
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
    """Escape a text, and set `this` as code."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 # escaped just before
