"""The ``gv-data`` command: catalogs from files, and what is in them."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from gv_data.caller import next_command
from gv_data.command import Command, Family, Verb, run
from gv_data.console import Console, duration
from gv_data.options import Parser

if TYPE_CHECKING:
    from gv_data.indexing import Indexed
    from gv_data.summary import Summary, Values

REASONS_SHOWN = 5
"""Refused files that are named at the end; ``--verbose`` and ``--json`` name all."""


def main() -> int:
    """Run ``gv-data``."""
    return run("gv-data", FAMILY)


def _index_options(parser: Parser) -> None:
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="FOLDER_OR_FILE", help="images, or folders of them"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the catalog")
    parser.add_argument("--append", action="store_true", help="add to a catalog that is there")
    parser.add_argument("--place", help="name of the place; it begins the ids")
    parser.add_argument(
        "--no-georeference", action="store_true", help="take images without CRS, without labels"
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument("--labels", type=Path, help="polygons in any CRS; they stay where they are")
    labels.add_argument(
        "--labelled-area",
        type=Path,
        help="polygons inside which the labels are complete; the rest is ignored",
    )
    labels.add_argument("--labels-crs", help="CRS of these files, whatever they say: EPSG:...")
    labels.add_argument("--swap-xy", action="store_true", help="these files hold y before x")


def _index(values: argparse.Namespace, console: Console) -> int:
    """Make or extend a catalog; 3 when some files could not be used."""
    sources = ", ".join(map(str, values.inputs))
    console.say(f"index      {sources} -> {values.out}")
    console.say(f"labels     {values.labels or 'none (--labels FILE adds them)'}")
    started = time.monotonic()
    from gv_data.indexing import index
    from gv_data.summary import summarise

    found = index(
        values.inputs,
        values.out,
        labels=values.labels,
        labelled_area=values.labelled_area,
        labels_crs=values.labels_crs,
        swap_xy=values.swap_xy,
        place=values.place,
        append=values.append,
        georeference=not values.no_georeference,
        track=lambda files: console.track(files, "reading", unit="images"),
    )
    summary = summarise(found.new)
    following = _next(values, found)
    lines = [
        f"images     {_images_line(summary)}",
        f"labels     {found.labels_said}" if values.labels else "",
        *_refused_lines(found, console),
        f"took       {duration(time.monotonic() - started)}",
        f"catalog    {values.out}   {len(found.catalog):,} images",
        f"next       {following}",
    ]
    answer = {
        "catalog": values.out,
        "images": found.added,
        "crs": summary.crs,
        "gsd_m": summary.gsd_m,
        "ground_m2": summary.ground_m2,
        "labels": {
            "on_images": found.objects,
            "outside": found.outside,
            "repaired": found.repaired,
            "dropped": found.dropped,
            "images_without": found.unlabelled,
        },
        "refused": [{"file": file, "reason": reason} for file, reason in found.refused],
        "next": following,
    }
    console.answer(answer, "\n".join(line for line in lines if line))
    return 3 if found.refused else 0


def _images_line(summary: "Summary") -> str:
    counts = ", ".join(f"{_crs_name(crs)} ({n:,})" for crs, n in summary.crs.items())
    parts = [f"{summary.images:,} in {counts}"]
    if summary.gsd_m:
        parts.append(f"GSD {_range(summary.gsd_m)} m")
        parts.append(f"{summary.ground_m2 / 1e6:.3g} km2")
    return ", ".join(parts) + (" (some show the same ground)" if summary.overlapping else "")


def _refused_lines(found: "Indexed", console: Console) -> list[str]:
    """The files that were left out, with the reasons."""
    if not found.refused:
        return []
    shown = found.refused if console.verbose else found.refused[:REASONS_SHOWN]
    lines = [f"refused    {len(found.refused):,} files could not be used:"]
    lines += [f"           {reason.splitlines()[0]}" for _, reason in shown]
    if len(shown) < len(found.refused):
        lines.append("           ... (--verbose names them all)")
    return lines


def _next(values: argparse.Namespace, found: "Indexed") -> str:
    """Training, where there are labels and a place to validate on; else a look at the catalog."""
    places = found.catalog.sql("SELECT DISTINCT place FROM images WHERE vectors IS NOT NULL")
    if values.labels is None or values.place is None or len(places) < 2:
        return next_command("gv-data", "info", str(values.out))
    place = "'" + values.place.replace("'", "''") + "'"
    where = ("--train-where", f"place <> {place}", "--val-where", f"place = {place}")
    return next_command("train", "buildings", "--data", str(values.out), *where)


def _info_options(parser: Parser) -> None:
    parser.add_argument("catalog", type=Path, metavar="CATALOG", help="its folder")
    parser.add_argument("--where", metavar="SQL", help="only the images for which this holds")
    parser.add_argument(
        "--table",
        type=_named_file,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="a table of your own (CSV, text, parquet) that --where names",
    )


def _named_file(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    if not (name and equals and file):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=FILE")
    return name, Path(file)


def _info(values: argparse.Namespace, console: Console) -> None:
    """Say what a catalog, or a part of it, holds."""
    from gv_data.catalog import Catalog
    from gv_data.summary import summarise

    view = Catalog.open(values.catalog)
    if values.where or values.table:
        view = view.where(values.where or "true", **dict(values.table))
    summary = summarise(view)
    rows: list[tuple[str, ...]] = [("place", "split", "images", "labels", "GSD m")]
    rows += [
        (
            group.place or "-",
            group.split or "-",
            f"{group.images:,}",
            f"{group.labels:,}",
            _range(group.gsd_m) if group.gsd_m else "-",
        )
        for group in summary.groups
    ]
    ground = f"{summary.ground_m2 / 1e6:.3g} km2"
    if summary.overlapping:
        ground += f" ({summary.footprints_m2 / 1e6:.3g} km2 of footprints, which overlap)"
    lines = [
        f"{view.said}   {summary.images:,} images, {summary.labels:,} labels on them",
        "",
        *_aligned(rows),
        "",
        f"CRS        {', '.join(f'{_crs_name(crs)} ({n:,})' for crs, n in summary.crs.items())}",
        f"ground     {ground}",
        *(line for kind in summary.values for line in _values_lines(kind)),
        f"columns    {', '.join(summary.columns)}",
    ]
    counts = {"images": summary.images, "labels": summary.labels, "gsd_m": summary.gsd_m}
    answer = {"catalog": values.catalog, "where": values.where, **counts, **asdict(summary)}
    console.answer(answer, "\n".join(lines))


def _values_lines(values: "Values") -> list[str]:
    figures = zip(values.bands, values.mean, values.std, strict=True)
    means = [f"{band} {mean:.4g} ± {std:.3g}" for band, mean, std in figures]
    return [f"values     {', '.join(means)}   (mean ± std, {values.images:,} images)"]


def _crs_name(crs: str | None) -> str:
    """A CRS in a word: one without a code by the name its definition begins with."""
    if crs is None:
        return "no CRS"
    return crs.split('"')[1] if '"' in crs else crs


def _range(low_high: tuple[float, float]) -> str:
    low, high = (f"{value:.3g}" for value in low_high)
    return low if low == high else f"{low} to {high}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns as wide as their widest entry; words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if n < 2 else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


INDEX = Command(
    "Make a catalog of images, with polygons that say what they show.",
    (
        "gv-data index photos --labels roofs.gpkg --place town --out catalogs/town",
        "gv-data index new.tif --labels new.gpkg --place village --out catalogs/town --append",
    ),
    _index_options,
    _index,
)

INFO = Command(
    "Say what a catalog holds: images, places, ground, labels, values.",
    (
        "gv-data info catalogs/town",
        "gv-data info catalogs/town --where \"place = 'village' AND gsd_m < 0.3\"",
    ),
    _info_options,
    _info,
)

FAMILY = Family(
    "Catalogs of imagery and labels.",
    INDEX.examples[:1] + INFO.examples[:1],
    {
        "index": Verb("make or extend a catalog", lambda: INDEX),
        "info": Verb("say what a catalog holds", lambda: INFO),
    },
)
