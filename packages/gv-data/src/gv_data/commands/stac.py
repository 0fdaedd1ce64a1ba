"""``gv-data stac``: catalogs to STAC and from it."""

import argparse
import time
from pathlib import Path

from gv_data.commands import views
from gv_data.terminal.caller import next_command
from gv_data.terminal.command import Command, Family, Verb
from gv_data.terminal.console import Console, duration
from gv_data.terminal.options import Parser
from gv_data.terminal.wording import refused_lines


def _export_options(parser: Parser) -> None:
    views.add_options(parser)
    parser.add_argument(
        "out",
        type=Path,
        metavar="OUT",
        help="a file ending in .parquet, or a folder to make, or FOLDER/NAME.json",
    )
    parser.add_argument(
        "--license", default="other", metavar="SPDX", help="of the images, such as CC-BY-4.0"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a table that is there")


def _export(values: argparse.Namespace, console: Console) -> None:
    """Write a view as STAC."""
    started = time.monotonic()
    from gv_data.stac.stac_export import export

    view = views.chosen(values)
    console.say(f"export     {view.said} -> {values.out}")
    done = export(
        view,
        values.out,
        licence=values.license,
        overwrite=values.overwrite,
        track=lambda items, total: console.track(items, "writing", total=total, unit="items"),
    )
    undated = f"{done.undated:,} have none: their interval is all time" if done.undated else ""
    lines = [
        f"items      {done.items:,}",
        f"dates      {undated}" if undated else "",
        f"took       {duration(time.monotonic() - started)}",
        f"written    {done.path}",
    ]
    answer = {"file": done.path, "items": done.items, "undated": done.undated}
    console.answer(answer, "\n".join(line for line in lines if line))


def _import_options(parser: Parser) -> None:
    parser.add_argument(
        "items",
        type=Path,
        nargs="+",
        metavar="ITEMS",
        help="stac-geoparquet, an item, an item collection, a collection or a catalog",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the catalog")
    parser.add_argument("--asset", metavar="NAME", help="which asset of an item is the image")
    parser.add_argument(
        "--root",
        type=Path,
        metavar="FOLDER",
        help="no image may lie outside of it (default: the folder of ITEMS)",
    )
    parser.add_argument("--append", action="store_true", help="add to a catalog that is there")
    parser.add_argument(
        "--no-measure",
        dest="measured",
        action="store_false",
        help="leave the statistics to gv-data measure",
    )


def _import(values: argparse.Namespace, console: Console) -> int:
    """Make or extend a catalog from STAC; 3 when some items could not be used."""
    started = time.monotonic()
    console.say(f"import     {', '.join(map(str, values.items))} -> {values.out}")
    from gv_data.stac.stac_import import import_stac

    found = import_stac(
        values.items,
        values.out,
        asset=values.asset,
        root=values.root,
        append=values.append,
        measured=values.measured,
        track=lambda found, total: console.track(found, "reading", total=total, unit="images"),
    )
    following = next_command("gv-data", "info", str(values.out))
    lines = [
        f"images     {found.added:,}",
        *refused_lines([reason for _, reason in found.refused], "could not be used", console),
        f"took       {duration(time.monotonic() - started)}",
        f"catalog    {values.out}   {len(found.catalog):,} images",
        f"next       {following}",
    ]
    answer = {
        "catalog": values.out,
        "images": found.added,
        "refused": [{"item": item, "reason": reason} for item, reason in found.refused],
        "next": following,
    }
    console.answer(answer, "\n".join(lines))
    return 3 if found.refused else 0


EXPORT = Command(
    "Write images as STAC: one table in the stac-geoparquet layout, or a static catalog.",
    (
        "gv-data stac export catalogs/town town.parquet",
        "gv-data stac export catalogs/town town-stac --where \"split = 'train'\"",
    ),
    _export_options,
    _export,
)

IMPORT = Command(
    "Make a catalog from STAC items whose images are on this disk.",
    (
        "gv-data stac import town-stac/collection.json --root photos --out catalogs/town",
        "gv-data stac import scenes.parquet --asset visual --out catalogs/scenes",
    ),
    _import_options,
    _import,
)

COMMAND = Family(
    "Catalogs to STAC and from it.",
    (*EXPORT.examples[:1], *IMPORT.examples[:1]),
    {
        "export": Verb("write images as STAC", lambda: EXPORT),
        "import": Verb("make a catalog from STAC", lambda: IMPORT),
    },
)
