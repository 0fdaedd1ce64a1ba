"""``gv-data cache``: what lies in the cache folder, and clearing it."""

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from gv_data.findings import some
from gv_data.terminal.command import Command, cache_folder
from gv_data.terminal.console import Console, duration
from gv_data.terminal.options import Parser, UsageError
from gv_data.terminal.wording import aligned, volume

if TYPE_CHECKING:
    from gv_data.store.cache import Holding

DAY_S = 86_400


def _options(parser: Parser) -> None:
    parser.add_argument("--clear", action="store_true", help="remove what lies there")
    parser.add_argument(
        "--older-than", type=_days, metavar="DAYS", help="only what was not changed since"
    )


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days")
    return days


def _cache(values: argparse.Namespace, console: Console) -> int:
    """Show the cache, or clear it; 3 when some files could not be removed."""
    if values.older_than is not None and not values.clear:
        raise UsageError("gv-data cache: --older-than says what --clear removes")
    from gv_data.store.cache import clear, holdings, others

    folder = cache_folder()
    if not values.clear:
        held, left = holdings(folder), others(folder)
        lines = [f"cache      {folder}", *_table(held)]
        if left:
            lines.append(f"not ours   {some(left)}: --clear leaves them alone")
        answer = {"folder": folder, "holdings": [asdict(one) for one in held], "others": left}
        console.answer(answer, "\n".join(lines))
        return 0
    done = clear(folder, older_than_s=DAY_S * (values.older_than or 0))
    lines = [f"freed      {volume(done.bytes)}, {done.files:,} files in {folder}"]
    lines += [f"refused    {reason}" for reason in done.failed]
    console.answer({"folder": folder, **asdict(done)}, "\n".join(lines))
    return 3 if done.failed else 0


def _table(held: list["Holding"]) -> list[str]:
    if not held:
        return ["           nothing of ours lies there"]
    rows: list[tuple[str, ...]] = [("kind", "what", "files", "size", "newest", "oldest")]
    rows += [
        (
            one.kind,
            one.said,
            f"{one.files:,}",
            volume(one.bytes),
            _age(one.newest_s),
            _age(one.oldest_s),
        )
        for one in held
    ]
    return aligned(rows)


def _age(seconds: float) -> str:
    return duration(seconds) if seconds < DAY_S else f"{seconds / DAY_S:,.0f} days"


COMMAND = Command(
    "Show what lies in the cache folder, all of which can be made or fetched again; or clear it.",
    (
        "gv-data cache",
        "gv-data cache --clear --older-than 30",
    ),
    _options,
    _cache,
)
