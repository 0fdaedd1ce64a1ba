"""The runs that a command is told to work with."""

import argparse
from collections.abc import Sequence

from gv_data.terminal.options import Parser, nearest
from gv_train import run_search, runs
from gv_train.errors import RunError
from gv_train.run_search import Survey
from gv_train.runs import Run

WAYS = "a name or its beginning, latest, best, PROJECT/NAME or a path"


def add_project(parser: Parser) -> None:
    """Add ``PROJECT``, which may be left out."""
    parser.add_argument("project", nargs="?", metavar="PROJECT", help="only the runs of this one")


def surveyed(values: argparse.Namespace) -> Survey:
    """The runs of the project, or of all.

    Raises:
        RunError: If there is no such project.
    """
    root = runs.default_root()
    if values.project is None:
        return run_search.survey(root)
    if not (root / values.project).is_dir():
        known = sorted(home.name for home in root.iterdir()) if root.is_dir() else []
        there = f"there are: {', '.join(known)}" if known else "there is no run at all"
        raise RunError(
            f"no project {values.project!r} in {root}{nearest(values.project, known)} ({there}; "
            "GEOVISION_RUNS says where runs are)"
        )
    return run_search.survey(root, values.project)


def opened(references: Sequence[str]) -> list[Run]:
    """The runs that words mean, each once.

    Raises:
        RunError: If a word means none or several.
    """
    found = {run.folder.resolve(): run for run in map(runs.open, references)}
    return list(found.values())


def damaged_lines(survey: Survey) -> list[str]:
    """What is said of runs and notes that cannot be read."""
    if not survey.damaged:
        return []
    said = [f"           {error}" for error in survey.damaged]
    return [f"damaged    {len(said):,} could not be read:", *said]
