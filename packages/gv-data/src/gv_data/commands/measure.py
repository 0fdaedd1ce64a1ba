"""``gv-data measure``: exact statistics of the rasters that have none, or have changed."""

import argparse
import time
from typing import TYPE_CHECKING

from gv_data.commands import views
from gv_data.terminal.caller import next_command
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console, duration
from gv_data.terminal.options import Parser, positive
from gv_data.terminal.wording import refused_lines

if TYPE_CHECKING:
    from gv_data.measure.upkeep import Outcome


def _options(parser: Parser) -> None:
    views.add_options(parser)
    parser.add_argument("--again", action="store_true", help="measure what is known too")
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="threads here, or the Ray cluster this machine belongs to",
    )
    parser.add_argument("--workers", type=positive, help="images at once (default: all cores)")


def _measure(values: argparse.Namespace, console: Console) -> int:
    """Bring ``statistics.parquet`` up to date; 3 when some images could not be measured."""
    started = time.monotonic()
    from gv_data.measure.catalog_statistics import measure_catalog

    view = views.chosen(values)
    console.say(f"measure    {view.said}")
    done = measure_catalog(
        view,
        engine=values.engine,
        workers=values.workers,
        again=values.again,
        track=lambda ids, total: console.track(ids, "measuring", total=total, unit="images"),
    )
    query = (
        "SELECT asset, band, pooled_mean(s), pooled_std(s) "
        "FROM images JOIN statistics s USING (id) GROUP BY ALL"
    )
    following = next_command("gv-data", "sql", str(values.catalog), query)
    lines = [
        f"measured   {_said(done.images, 'images')}",
        *(f"           {_said(asset, f'rasters {name}')}" for name, asset in done.assets.items()),
        f"labels     {_said(done.labels, 'images')}" * bool(done.labels.done or done.labels.known),
        *refused_lines(list(done.failed.values()), "could not be measured", console),
        f"took       {duration(time.monotonic() - started)}",
        f"next       {following}",
    ]
    answer = {
        "catalog": values.catalog,
        "measured": done.images.done,
        "taken_over": done.images.taken_over,
        "known": done.images.known,
        "assets": {
            name: {"measured": asset.done, "taken_over": asset.taken_over, "known": asset.known}
            for name, asset in done.assets.items()
        },
        "labels": {"counted": done.labels.done, "known": done.labels.known},
        "failed": [{"id": id, "reason": reason} for id, reason in done.failed.items()],
    }
    console.answer(answer, "\n".join(filter(None, lines)))
    return 3 if done.failed else 0


def _said(done: "Outcome", what: str) -> str:
    before = f", {done.taken_over:,} by a run that was killed" if done.taken_over else ""
    return f"{done.done:,} {what}{before}, {done.known:,} had not changed"


COMMAND = Command(
    "Measure the rasters of a catalog: mean, moments, histogram and correlation of each band.",
    (
        "gv-data measure catalogs/town",
        "gv-data measure catalogs/town --where \"place = 'village'\" --workers 8",
        "gv-data measure catalogs/town --engine ray --workers 64",
    ),
    _options,
    _measure,
)
