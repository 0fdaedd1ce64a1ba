"""``gv-data check``: what would ruin work with a catalog, before it does."""

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from gv_data.commands import views
from gv_data.errors import CatalogError
from gv_data.terminal.command import Command
from gv_data.terminal.console import Colour, Console, duration, paint
from gv_data.terminal.options import Parser, positive

if TYPE_CHECKING:
    from gv_data.checks.check import CatalogChecked
    from gv_data.findings import Finding, Level

COLOURS: dict["Level", Colour] = {"failure": "red", "warning": "yellow", "note": "dim"}


def _options(parser: Parser) -> None:
    views.add_options(parser)
    parser.add_argument(
        "--read-data",
        action="store_true",
        help="read all pixels again and compare them with what was measured",
    )
    parser.add_argument(
        "--sample", type=positive, default=200, metavar="N", help="images that are looked at"
    )
    parser.add_argument("--seed", type=int, default=0, help="another one looks at other images")
    parser.add_argument("--strict", action="store_true", help="warnings count as failures")
    parser.add_argument(
        "--column", default="split", help="the column of parts that should have nothing in common"
    )
    parser.add_argument(
        "--turned", action="store_true", help="find duplicates that are turned or mirrored too"
    )
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="files at once (default: all cores)"
    )


def _check(values: argparse.Namespace, console: Console) -> int:
    """Say what was found; 4 when there is a failure."""
    started = time.monotonic()
    view = views.chosen(values)
    if values.where and not view.images:
        raise CatalogError(f"there is no image in {view.said}")
    console.say(f"check      {view.said}")
    from gv_data.checks.check import check_catalog

    def track[T](items: Iterable[T], said: str, total: int) -> Iterable[T]:
        return console.track(items, said, total=total, unit="images")

    found = check_catalog(
        view,
        read_data=values.read_data,
        sample=values.sample,
        column=values.column,
        turns=values.turned,
        seed=values.seed,
        workers=values.workers,
        track=track,
    )
    seconds = time.monotonic() - started
    findings = found.checked.findings
    counts = {level: sum(f.level == level for f in findings) for level in COLOURS}
    lines = [
        *(line for finding in findings for line in _lines(finding, console)),
        f"passed     {_rules(found.checked.passed)}",
        f"looked at  {_looked(found, len(view))}",
        f"took       {duration(seconds)}",
    ]
    answer = {
        "catalog": values.catalog,
        "where": values.where,
        "failures": counts["failure"],
        "warnings": counts["warning"],
        "notes": counts["note"],
        "findings": [{**asdict(finding), "count": len(finding.examples)} for finding in findings],
        "passed": found.checked.passed,
        "alike": [{**asdict(pair), "leak": pair.leaks} for pair in found.alike.pairs],
        "images": len(view),
        "looked_at": found.checked.images,
        "files": found.files,
        "read_data": found.read_data,
        "compared": found.alike.compared,
        "plain": found.alike.plain,
        "seconds": seconds,
    }
    console.answer(answer, "\n".join(lines))
    return 4 if counts["failure"] or (values.strict and counts["warning"]) else 0


def _lines(finding: "Finding", console: Console) -> list[str]:
    """A finding, the way out, and with ``--verbose`` all that it is about."""
    level = paint(f"{finding.level:10}", COLOURS[finding.level], console.out or sys.stdout)
    lines = [f"{level} {finding.rule}: {finding.text}"]
    if finding.hint:
        lines.append(f"{'':10} try: {finding.hint}")
    if console.verbose:
        lines += [f"{'':10}   {example}" for example in finding.examples]
    return lines


def _rules(passed: Sequence[str]) -> str:
    return f"{len(passed)} rules: {', '.join(passed)}" if passed else "no rule"


def _looked(found: "CatalogChecked", images: int) -> str:
    opened = f"{found.checked.images:,} of {images:,} images"
    if found.read_data:
        opened = f"all pixels of {images:,} images, {found.checked.images:,} of them closely"
    hashes = found.hashes
    if hashes is None:
        made = "the folder cannot be written to, so new ones were not"
    else:
        made = f"{hashes.done:,} of them new, {hashes.known:,} known"
    plain = f"; {found.alike.plain:,} too plain" if found.alike.plain else ""
    return f"{opened}; {found.files:,} files; {found.alike.compared:,} compared ({made}{plain})"


COMMAND = Command(
    "Look for what would ruin work with a catalog: files, values, bands, labels, leaks between "
    "parts, duplicates.",
    (
        "gv-data check catalogs/town",
        "gv-data check catalogs/town --where \"place = 'village'\" --read-data",
        "gv-data check catalogs/town --strict --json",
    ),
    _options,
    _check,
)
