"""A report: tables, figures and one page, from the files of runs alone."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from halfnas.reporting import tables
from halfnas.reporting.figures import Drawing, draw_all
from halfnas.reporting.page import html_page
from halfnas.reporting.study import Study, read_study
from halfnas.runs.files import write_text


def make_report(
    paths: Sequence[str | Path], out: str | Path | None = None, baseline: Mapping[str, str] | None = None
) -> Path:
    """Read the runs in some folders and write what they say; returns the page.

    Args:
        out: where to; `report` in the first of the folders if not given.
        baseline: settings of the group that others are compared with.

    Raises:
        ValueError: a path is no folder, there is no run, or not one group is like the baseline.
    """
    out = report_folder(paths, out)
    return write_report(read_study(paths, baseline), out, command(paths, out, baseline))


def write_report(study: Study, out: Path, command: str) -> Path:
    """Write report.html, report.md, results.csv, runs.csv and figures/*.png; returns the page."""
    drawings, problems = draw_all(study)
    listed = {problem for run in study.runs for problem in run.problems}
    problems = [problem for problem in problems if problem not in listed]
    pictures = {drawing.file: drawing.png for drawing in drawings}
    _forget_figures(out)
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name, content in pictures.items():
        (out / "figures" / name).write_bytes(content)
    tables.results_table(study).write_csv(out / "results.csv")
    tables.runs_table(study).write_csv(out / "runs.csv")
    sheets = _sheets(study, out)
    write_text(out / "report.md", _markdown(study, sheets, drawings, problems, command))
    return write_text(out / "report.html", html_page(study, sheets, drawings, problems, command))


def report_folder(paths: Sequence[str | Path], out: str | Path | None) -> Path:
    """Choose where a report goes: where it is asked for, or else `report` in the first folder."""
    return Path(paths[0]) / "report" if out is None else Path(out)


def command(paths: Sequence[str | Path], out: Path, baseline: Mapping[str, str] | None) -> str:
    """Spell out the command that makes this report."""
    elsewhere = [] if out == report_folder(paths, None) else ["--out", str(out)]
    wanted = [word for key, value in (baseline or {}).items() for word in ("--baseline", f"{key}={value}")]
    return shlex.join(["python", "-m", "halfnas.reporting", *map(str, paths), *elsewhere, *wanted])


def _forget_figures(out: Path) -> None:
    """Take away the figures of an earlier report, and no other files."""
    if (out / "report.md").is_file():
        for name in re.findall(r"\]\(figures/(\w+)\.png\)", (out / "report.md").read_text(encoding="utf-8")):
            (out / "figures" / f"{name}.png").unlink(missing_ok=True)


def _sheets(study: Study, out: Path) -> dict[str, tables.Sheet]:
    sheets = {
        "not-done": tables.not_done_sheet(study, out),
        "unreadable": tables.unreadable_sheet(study, out),
        "results": tables.results_sheet(study) if study.groups else None,
        "differences": tables.differences_sheet(study),
        "runs": tables.runs_sheet(study, out),
    }
    return {name: sheet for name, sheet in sheets.items() if sheet is not None}


def _markdown(
    study: Study, sheets: Mapping[str, tables.Sheet], drawings: Sequence[Drawing], problems: Sequence[str], command: str
) -> str:
    done = len(study.runs) - len(study.not_done)
    parts = [f"# halfnas report\n\n{done} of {len(study.runs)} runs are done. Made by `{command}`.\n"]
    parts += [f"{sheet.table().markdown()}\n{sheet.caption}\n" for name, sheet in sheets.items() if name != "runs"]
    for drawing in drawings:
        text = f"\n```\n{drawing.text}\n```\n" if drawing.text else ""
        parts.append(f"### {drawing.title}\n\n![{drawing.title}](figures/{drawing.file})\n\n{drawing.caption}\n{text}")
    if problems:
        parts.append("### Not drawn\n\n" + "".join(f"- {problem}\n" for problem in problems))
    parts.append(f"{sheets['runs'].table().markdown()}\n{sheets['runs'].caption}\n")
    return "\n".join(parts)
