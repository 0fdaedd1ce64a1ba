"""``gv-train size``: what runs take of the disk, the largest first."""

import argparse

from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, positive
from gv_data.terminal.wording import aligned, volume
from gv_train.commands import chosen
from gv_train.disk_use import OTHER, PARTS, by_part


def _options(parser: Parser) -> None:
    chosen.add_project(parser)
    parser.add_argument("--limit", type=positive, metavar="N", help="only the N largest")


def _size(values: argparse.Namespace, console: Console) -> int:
    """Say what runs take; 3 when some cannot be read."""
    found = chosen.surveyed(values)
    measured = [
        (one, by_part(one.folder)) for one in console.track(found.seen, "measuring", unit="runs")
    ]
    measured.sort(key=lambda pair: sum(pair[1].values()), reverse=True)
    shown = measured[: values.limit]
    total = {part: sum(parts[part] for _, parts in measured) for part in (*PARTS, OTHER)}
    rows: list[tuple[str, ...]] = [("run", "status", "total", *PARTS, OTHER)]
    rows += [
        (f"{one.record.project}/{one.record.name}", one.record.status_now, *_cells(parts))
        for one, parts in shown
    ]
    if len(measured) > 1:
        rows.append((f"{len(measured):,} runs", "", *_cells(total)))
    lines = aligned(rows) if measured else ["no run"]
    lines += chosen.damaged_lines(found)
    answer = {
        "bytes": sum(total.values()),
        "parts": total,
        "runs": [
            {
                "project": one.record.project,
                "name": one.record.name,
                "folder": one.folder,
                "status": one.record.status_now,
                "bytes": sum(parts.values()),
                "parts": parts,
            }
            for one, parts in shown
        ],
        "damaged": [str(error) for error in found.damaged],
    }
    console.answer(answer, "\n".join(lines))
    return 3 if found.damaged else 0


def _cells(parts: dict[str, int]) -> list[str]:
    """The total and the parts in words."""
    return [
        volume(sum(parts.values())),
        *(volume(size) if size else "-" for size in parts.values()),
    ]


COMMAND = Command(
    "Say what runs take of the disk, by part, the largest first.",
    (
        "gv-train size",
        "gv-train size buildings --limit 5",
    ),
    _options,
    _size,
)
