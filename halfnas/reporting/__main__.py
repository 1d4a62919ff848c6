"""The command: `python -m halfnas.reporting PATH [PATH ...]` reads finished runs and writes tables, figures, a page."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import Console

from halfnas.reporting.report import command, report_folder, write_report
from halfnas.reporting.study import read_study
from halfnas.reporting.tables import terminal_table
from halfnas.runs.files import write_text

ROOMY = 110  # columns
WIDTH = 160  # where there is no terminal that says otherwise


def main(arguments: Sequence[str] | None = None) -> int:
    """Read runs and report on them.

    Returns:
        The exit code: 2 where there is nothing to compare, or what was asked for is a mistake.
    """
    args = _parser().parse_args(arguments)
    try:
        return _report(args)
    except (ValueError, OSError) as error:
        return _complain(str(error))


def _report(args: argparse.Namespace) -> int:
    console = Console() if sys.stdout.isatty() else Console(width=WIDTH)
    wanted = _settings(args.baseline)
    files = [path for path in args.paths if args.claims and path.endswith((".yaml", ".yml"))]
    paths = [path for path in args.paths if path not in files]
    if len(files) > 1 or not paths:
        raise ValueError("--claims takes one FILE.yaml at most, and a PATH with runs")
    study = read_study(paths, wanted)
    out = report_folder(paths, args.out)
    if args.claims:
        from halfnas.reporting.claims import read_claims
        from halfnas.reporting.judging import check_claims, claims_listing, claims_table

        claimed = read_claims(*files)
        if not study.groups:
            return _complain(f"no run is done. {study.counts()}")
        claims = check_claims(study.groups, claimed)
        table = claims_table(claims)
        shown = claims_listing(claims)
        made = table.write_csv(out / "claims.csv")
        write_text(out / "claims.md", table.markdown())
    else:
        made = write_report(study, out, command(paths, out, wanted))
        shown = terminal_table(study, narrow=console.width < ROOMY).rich()
    if study.groups:
        console.print(shown)
    for line in filter(None, (study.counts(), study.warning())):
        console.print(line, soft_wrap=True, markup=False)
    if args.wandb:
        from halfnas.reporting.wandb import log_report

        log_report(out, study.runs)
    console.print(str(made), soft_wrap=True, markup=False, highlight=False)
    return 0 if study.groups else _complain(f"no run is done: the report lists {len(study.runs)} runs, and no results")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m halfnas.reporting",
        description="Tables, figures and one page about the runs in some folders, from their files alone.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a sweep's folder, a run's, or one that holds such")
    parser.add_argument("--out", metavar="DIR", help="where to write; default: report in the first PATH")
    parser.add_argument(
        "--baseline", action="append", default=[], metavar="KEY=VALUE",
        help="a setting of the group that others are compared with, such as pruner=none; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--claims", action="store_true",
        help="only check the paper's claims against these runs, and those of a FILE.yaml among the PATHs",
    )  # fmt: skip
    parser.add_argument("--wandb", action="store_true", help="log the report to Weights & Biases too")
    return parser


def _settings(words: Sequence[str]) -> dict[str, str]:
    for word in words:
        if not word.partition("=")[0] or "=" not in word:
            raise ValueError(f"--baseline takes KEY=VALUE, got {word!r}")
    return {key: value for key, _, value in (word.partition("=") for word in words)}


def _complain(message: str) -> int:
    print(f"halfnas.reporting: {' '.join(message.split())}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
