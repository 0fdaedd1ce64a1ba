"""``gv-train note``: a few words about a run, kept with it."""

import argparse

from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser
from gv_train import run_note, runs
from gv_train.commands import chosen


def _options(parser: Parser) -> None:
    parser.add_argument("run", metavar="RUN", help=chosen.WAYS)
    parser.add_argument(
        "text", nargs="*", metavar="TEXT", help='the note; "" removes it, none shows it'
    )


def _note(values: argparse.Namespace, console: Console) -> None:
    """Write, remove or show the note."""
    run = runs.open(values.run)
    if values.text:
        run_note.write(run.folder, " ".join(values.text))
    name, note = f"{run.project}/{run.name}", run.note
    answer = {"project": run.project, "name": run.name, "folder": run.folder, "note": note}
    console.answer(answer, f"{name}: {note}" if note else f"{name} has no note")


COMMAND = Command(
    "Note something about a run; gv-train list shows it. It may train meanwhile.",
    (
        'gv-train note latest "larger windows, same seed"',
        "gv-train note buildings/best",
        'gv-train note calm-heron ""',
    ),
    _options,
    _note,
)
