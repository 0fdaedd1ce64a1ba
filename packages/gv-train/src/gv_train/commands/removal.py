"""``gv-train rm``: runs, or their checkpoints, off the disk."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gv_data.terminal.command import Command
from gv_data.terminal.console import Console, standard_error, write
from gv_data.terminal.options import Parser, UsageError
from gv_data.terminal.wording import volume
from gv_train import runs
from gv_train.commands import chosen
from gv_train.disk_use import on_disk
from gv_train.errors import RunError
from gv_train.runs import Run


def _options(parser: Parser) -> None:
    parser.add_argument("runs", nargs="+", metavar="RUN", help=chosen.WAYS)
    parser.add_argument(
        "--checkpoints",
        action="store_true",
        help="only the checkpoints, of finished runs; packages and figures stay",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")


def _remove(values: argparse.Namespace, console: Console) -> int:
    """Delete; nothing is if one of the runs must stay; 3 when some could not be deleted."""
    delete = runs.delete_checkpoints if values.checkpoints else runs.delete
    doomed = chosen.opened(values.runs)
    for run in doomed:
        _check(run, checkpoints=values.checkpoints)
    paths = {run: run.checkpoints if values.checkpoints else run.folder for run in doomed}
    sizes = {run: on_disk(path) for run, path in paths.items()}
    if values.dry_run or not (values.yes or _agreed(paths, sizes)):
        deleted, refused = [], []
    else:
        deleted, refused = _deleted(doomed, delete)
    freed = sum(sizes[run] - on_disk(paths[run]) for run in deleted)
    lines = [f"deleted    {paths[run]}" for run in deleted]
    if values.dry_run:
        lines += [f"would free {volume(sizes[run])}: {path}" for run, path in paths.items()]
    lines += [f"refused    {reason}" for reason in refused]
    lines.append(f"freed      {volume(freed)}" if deleted else "nothing was deleted")
    answer = {
        "deleted": [paths[run] for run in deleted],
        "would_delete": list(paths.values()) if values.dry_run else [],
        "refused": refused,
        "bytes": sum(sizes.values()) if values.dry_run else freed,
    }
    console.answer(answer, "\n".join(lines))
    return 3 if refused else 0


def _check(run: Run, *, checkpoints: bool) -> None:
    """Refuse a run that must stay.

    Raises:
        RunError: If it is trained, or would lose what it goes on from.
    """
    if run.status == "running":
        raise RunError(f"{run.folder} is being trained: stop it first, or leave it out")
    if checkpoints and run.status != "finished":
        raise RunError(
            f"{run.folder} is {run.status}, its checkpoints are what it goes on from: leave it out"
        )


def _agreed(paths: Mapping[Run, Path], sizes: Mapping[Run, int]) -> bool:
    """Ask the person at the terminal.

    Raises:
        UsageError: If there is none.
    """
    if not sys.stdin.isatty():
        raise UsageError("gv-train rm: nobody is at a terminal who could be asked: add --yes")
    for run, path in paths.items():
        write(standard_error(), f"{path}   {volume(sizes[run])}\n")
    write(standard_error(), "delete for ever? [y/N] ")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _deleted(doomed: Sequence[Run], delete: Callable[[Run], None]) -> tuple[list[Run], list[str]]:
    """Delete one after the other; the runs that are gone, and why others are not."""
    gone: list[Run] = []
    refused: list[str] = []
    for run in doomed:
        try:
            delete(run)
        except RunError as error:
            refused.append(str(error))
        else:
            gone.append(run)
    return gone, refused


COMMAND = Command(
    "Delete runs that nobody trains, or only the checkpoints of finished ones.",
    (
        "gv-train rm calm-heron keen-otter",
        "gv-train rm buildings/latest --checkpoints --yes",
    ),
    _options,
    _remove,
)
