"""Where runs are, and which of them a word means."""

import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gv_train import run_note, run_record
from gv_train.errors import RunError
from gv_train.run_record import RunRecord

if TYPE_CHECKING:
    from gv_train.runs import Run

_DATE = re.compile(r"^\d{4}-\d\d-\d\d-")


@dataclass(frozen=True)
class Seen:
    """A run as it was when somebody looked.

    Attributes:
        folder: Its folder.
        record: What it said of itself.
        note: What a person wrote about it.
    """

    folder: Path
    record: RunRecord
    note: str


@dataclass(frozen=True)
class Survey:
    """The runs there are.

    Attributes:
        seen: Those that can be read, the one started last first.
        damaged: One error for each run or note that cannot be read; it names the file.
    """

    seen: tuple[Seen, ...]
    damaged: tuple[RunError, ...]


def survey(root: Path, project: str = "*") -> Survey:
    """Look at all runs of a project, or of all projects: one damaged run hides no other.

    Args:
        root: Folder of projects.
        project: Name of the project; ``*`` means all.
    """
    seen: list[Seen] = []
    damaged: list[RunError] = []
    for folder in folders(root, project):
        try:
            record = run_record.read(folder)
        except RunError as error:
            if (folder / run_record.FILE).exists():  # else it was deleted meanwhile
                damaged.append(error)
            continue
        note = ""
        try:
            note = run_note.read(folder)
        except RunError as error:
            damaged.append(error)
        seen.append(Seen(folder, record, note))
    seen.sort(key=lambda one: (one.record.last_start, one.record.name), reverse=True)
    return Survey(tuple(seen), tuple(damaged))


def folders(root: Path, project: str) -> Iterator[Path]:
    """The folders of runs; what is hidden is being made or deleted, a link points to another.

    Args:
        root: Folder of projects.
        project: Name of the project; ``*`` means all.
    """
    for home in _inside(root, links=True) if project == "*" else [root / project]:
        for folder in _inside(home, links=False):
            if (folder / run_record.FILE).is_file():
                yield folder


def _inside(folder: Path, *, links: bool) -> list[Path]:
    """The folders in a folder, in order of their names; none if it is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=links)
        )
    return [folder / name for name in names]


def fitting(known: Sequence["Run"], wanted: str) -> list["Run"]:
    """The runs that a word means which is nobody's whole name.

    Args:
        known: The runs to choose from.
        wanted: ``latest``, ``best``, or the beginning of a name or of the words after its date.

    Raises:
        RunError: If the best is wanted of runs that cannot be compared.
    """
    match wanted:
        case "latest":
            return sorted(known, key=lambda run: run.record.last_start)[-1:]
        case "best":
            return [best(known)]
        case _:
            return [
                run
                for run in known
                if run.name.startswith(wanted) or _DATE.sub("", run.name).startswith(wanted)
            ]


def best(known: Sequence["Run"]) -> "Run":
    """The run whose best validation is better than that of the others; of equals the newest.

    Args:
        known: The runs to choose from.

    Raises:
        RunError: If none was validated so far, or they were judged by different values.
    """
    judged = [
        (run, of_run)
        for run in known
        if (of_run := run.record.best) is not None and not math.isnan(of_run.value)
    ]
    if not judged:
        raise RunError(
            f"none of {len(known)} runs says how good it is: name one, or take the latest"
        )
    kinds = sorted({(of_run.monitor, of_run.mode) for _, of_run in judged})
    if len(kinds) > 1:
        names = ", ".join(monitor for monitor, _ in kinds)
        raise RunError(f"runs judged by {names} cannot be compared: name a project (PROJECT/best)")
    sign = 1 if kinds[0][1] == "max" else -1
    return max(judged, key=lambda pair: (sign * pair[1].value, pair[0].record.last_start))[0]
