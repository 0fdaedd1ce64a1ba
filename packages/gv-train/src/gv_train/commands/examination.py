"""``gv-train doctor``: what this machine lacks, and what to do about it."""

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, UsageError

if TYPE_CHECKING:
    from gv_train.doctor.finding import Finding


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--network", action="store_true", help="ask the registries that are configured too"
    )
    parser.add_argument("--md", action="store_true", help="as Markdown, for a report of a bug")


def _doctor(values: argparse.Namespace, console: Console) -> int:
    """Examine the machine; 4 when something fails."""
    if values.md and console.json:
        raise UsageError("gv-train doctor: --md or --json, not both")
    from gv_train.doctor.examination import NETWORK, PROBES, examine
    from gv_train.doctor.finding import LEVELS, Place

    started = time.monotonic()
    probes = (*PROBES, NETWORK) if values.network else PROBES
    found = examine(Place(), probes, console)
    counts = Counter(one.level for one in found)
    said = ", ".join(_counted(counts[level], level) for level in LEVELS if counts[level])
    text = _markdown(found) if values.md else "\n".join(_lines(found))
    answer = {
        "findings": [asdict(one) for one in found],
        "counts": {level: counts[level] for level in LEVELS},
    }
    console.answer(answer, text)
    console.say(f"{said}; took {time.monotonic() - started:.0f} s")
    return 4 if counts["failure"] else 0


def _counted(number: int, level: str) -> str:
    return f"{number} {level}" + "s" * (number > 1 and level != "ok")


def _lines(found: Sequence["Finding"]) -> list[str]:
    lines = []
    for one in found:
        lines.append(f"{one.level:7}  {one.subject:10}  {one.text}")
        if one.fix:
            lines.append(f"{'':7}  {'':10}  fix: {one.fix}")
    return lines


def _markdown(found: Sequence["Finding"]) -> str:
    rows = [("", "subject", "found", "fix"), ("---", "---", "---", "---")]
    rows += [(one.level, one.subject, one.text, f"`{one.fix}`" if one.fix else "") for one in found]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows)


COMMAND = Command(
    "Say what this machine lacks for training, and what to do about it; 4 if something fails.",
    (
        "gv-train doctor",
        "gv-train doctor --md > report.md",
        "gv-train doctor --network --json",
    ),
    _options,
    _doctor,
)
