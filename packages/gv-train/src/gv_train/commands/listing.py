"""``gv-train list``: the runs there are, how far they came and how good they are."""

import argparse
from datetime import datetime
from typing import get_args

from gv_data.terminal.caller import next_command
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console, duration
from gv_data.terminal.options import Parser, positive
from gv_data.terminal.wording import aligned
from gv_train.commands import chosen
from gv_train.run_record import Status
from gv_train.run_search import Seen

NOTE_SHOWN = 60
"""Characters of a note that fit beside the rest; ``--verbose`` and ``--json`` give all."""


def _options(parser: Parser) -> None:
    chosen.add_project(parser)
    parser.add_argument(
        "--status", choices=get_args(Status), help="only runs of which this is true now"
    )
    parser.add_argument("--limit", type=positive, metavar="N", help="only the N newest")


def _list(values: argparse.Namespace, console: Console) -> int:
    """List the runs; 3 when some cannot be read."""
    found = chosen.surveyed(values)
    wanted = [
        (one, status)
        for one in found.seen
        if (status := one.record.status_now) == values.status or values.status is None
    ]
    shown = wanted[: values.limit]
    lines = _table(shown, console) if shown else ["no run"]
    if len(shown) < len(wanted):
        lines.append(f"... and {len(wanted) - len(shown):,} older ones")
    lines += chosen.damaged_lines(found)
    answer = {
        "runs": [_figures(one, status) for one, status in shown],
        "damaged": [str(error) for error in found.damaged],
    }
    console.answer(answer, "\n".join(lines))
    for one, status in shown:
        if status == "lost":
            again = next_command("train", one.record.project, "--resume", one.record.name)
            console.say(f"lost runs go on where their last checkpoint is, the newest with: {again}")
            break
    return 3 if found.damaged else 0


def _table(shown: list[tuple[Seen, Status]], console: Console) -> list[str]:
    rows: list[tuple[str, ...]] = [("run", "status", "epochs", "steps", "best", "started", "took")]
    rows += [_row(one, status) for one, status in shown]
    notes = [_on_one_line(one.note, console) for one, _ in shown]
    if not any(notes):
        return aligned(rows)
    table = zip(aligned(rows), ["note", *notes], strict=True)
    return [f"{line}  {note}".rstrip() for line, note in table]


def _row(one: Seen, status: Status) -> tuple[str, ...]:
    record, best = one.record, one.record.best
    started = datetime.fromisoformat(record.last_start).astimezone()
    return (
        f"{record.project}/{record.name}",
        status,
        f"{record.epochs:,}" if record.epochs else "-",
        f"{record.step:,}",
        f"{best.monitor} {best.value:.4f} at {best.step:,}" if best else "-",
        f"{started:%Y-%m-%d %H:%M}",
        duration(record.duration_s) if record.attempt else "-",
    )


def _on_one_line(note: str, console: Console) -> str:
    line = " ".join(note.split())
    cut = len(line) > NOTE_SHOWN and not console.verbose
    return line[: NOTE_SHOWN - 3] + "..." if cut else line


def _figures(one: Seen, status: Status) -> dict[str, object]:
    record = one.record
    return {
        "project": record.project,
        "name": record.name,
        "folder": one.folder,
        "status": status,
        "attempt": record.attempt,
        "epochs": record.epochs,
        "steps": record.step,
        "best": None if record.best is None else vars(record.best),
        "metrics": dict(record.metrics),
        "created": record.created,
        "started": record.started or None,
        "heartbeat": record.heartbeat,
        "duration_s": record.duration_s,
        "note": one.note,
        "next": record.next_command or None,
    }


COMMAND = Command(
    "List runs, the one started last first: how far they came, how good they are, what you noted.",
    (
        "gv-train list",
        "gv-train list buildings --status lost",
        "gv-train list --limit 20 --json",
    ),
    _options,
    _list,
)
