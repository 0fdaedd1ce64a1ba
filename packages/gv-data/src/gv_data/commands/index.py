"""``gv-data index``: a catalog from files as people have them."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gv_data.commands.views import named_path
from gv_data.locations import located
from gv_data.terminal.caller import next_command
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console, duration
from gv_data.terminal.options import Parser
from gv_data.terminal.wording import crs_name, refused_lines, span

if TYPE_CHECKING:
    from gv_data.intake.gathering import Indexed
    from gv_data.pictures.summary import Summary


def _index_options(parser: Parser) -> None:
    parser.add_argument(
        "inputs",
        type=located,
        nargs="+",
        metavar="FOLDER_OR_FILE",
        help="images, or folders of them",
    )
    parser.add_argument(
        "--out", type=located, metavar="PATH", required=True, help="folder of the catalog"
    )
    parser.add_argument("--append", action="store_true", help="add to a catalog that is there")
    parser.add_argument(
        "--update",
        action="store_true",
        help="add what is new and index again what has changed",
    )
    parser.add_argument(
        "--no-measure",
        dest="measured",
        action="store_false",
        help="leave the statistics to gv-data measure",
    )
    parser.add_argument("--place", help="name of the place; it begins the ids")
    parser.add_argument(
        "--no-georeference",
        action="store_true",
        help="take images without CRS, without polygons on the ground",
    )
    labels = parser.add_argument_group("labels")
    labels.add_argument(
        "--labels",
        type=Path,
        help="polygons in any CRS, or objects as COCO JSON; they stay where they are",
    )
    labels.add_argument(
        "--labelled-area",
        type=Path,
        help="polygons inside which the labels are complete; the rest is ignored",
    )
    labels.add_argument("--labels-crs", help="CRS of these files, whatever they say: EPSG:...")
    labels.add_argument("--swap-xy", action="store_true", help="these files hold y before x")
    labels.add_argument(
        "--label-column", metavar="NAME", help="attribute of the polygons that names their class"
    )
    labels.add_argument(
        "--line-width",
        type=float,
        metavar="M",
        help="width of lines such as roads, in metres on the ground, which makes them polygons",
    )
    labels.add_argument(
        "--line-width-column",
        metavar="NAME",
        help="attribute of the lines that says it; where it says nothing, --line-width does",
    )
    labels.add_argument(
        "--masks", type=Path, metavar="DIR", help="rasters of classes, named as the images"
    )
    labels.add_argument(
        "--class-folders", action="store_true", help="the folder of an image is its class"
    )
    labels.add_argument(
        "--classes",
        type=_classes,
        default=((), ()),
        metavar="A,B or 0=A,255=B",
        help="names of the classes in order, for masks also with their values",
    )
    labels.add_argument(
        "--ignore",
        type=_numbers(int),
        default=(),
        metavar="N,N",
        help="mask values that say nothing",
    )
    more = parser.add_argument_group("what files do not say")
    more.add_argument(
        "--pair",
        type=named_path,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="rasters of the same ground, named as the images: sar=DIR, image_before=DIR",
    )
    more.add_argument(
        "--bands", type=_words, default=(), metavar="A,B", help="names of the bands: red,green,blue"
    )
    more.add_argument(
        "--scale", type=_numbers(float), default=(), metavar="X", help="factor to physical units"
    )
    more.add_argument(
        "--offset", type=_numbers(float), default=(), metavar="X", help="added after the factor"
    )
    more.add_argument(
        "--dates",
        metavar="PATTERN",
        help="how names of files and folders say when an image was taken, UTC: %Y%m%d, "
        "%Y%m%dT%H%M%S",
    )
    more.add_argument("--nodata", type=float, metavar="X", help="value of missing pixels")


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(","))
    if not all(words):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of names such as red,green,blue")
    return words


def _numbers[N: int | float](kind: type[N]) -> Callable[[str], tuple[N, ...]]:
    def numbers(text: str) -> tuple[N, ...]:
        try:
            return tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers") from None

    return numbers


def _classes(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Names, and values where they are given."""
    words = _words(text)
    pairs = [word.partition("=") for word in words if "=" in word]
    if not pairs:
        return words, ()
    if len(pairs) < len(words) or not all(name and value.isdigit() for value, _, name in pairs):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 0=ground,255=building")
    return tuple(name for _, _, name in pairs), tuple(int(value) for value, _, _ in pairs)


def _index(values: argparse.Namespace, console: Console) -> int:
    """Make or extend a catalog; 3 when some files could not be used."""
    sources = ", ".join(map(str, values.inputs))
    console.say(f"index      {sources} -> {values.out}")
    folders = "the folders of the images" if values.class_folders else None
    hint = "none (--labels FILE, --masks DIR or --class-folders adds them)"
    console.say(f"labels     {values.labels or values.masks or folders or hint}")
    started = time.monotonic()
    from gv_data.intake.indexing import index
    from gv_data.pictures.summary import summarise

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
        label_column=values.label_column,
        line_width_m=values.line_width,
        line_width_column=values.line_width_column,
        masks=values.masks,
        class_folders=values.class_folders,
        classes=values.classes[0],
        mask_values=values.classes[1],
        ignore=values.ignore,
        pairs=dict(values.pair),
        bands=values.bands,
        scale=values.scale,
        offset=values.offset,
        nodata=values.nodata,
        dates=values.dates,
        update=values.update,
        measured=values.measured,
        track=lambda found, total: console.track(found, "reading", total=total, unit="images"),
    )
    if not found.added and not found.refused:
        console.answer(
            {"catalog": values.out, "images": 0},
            f"images     none is new or has changed\ncatalog    {values.out}   "
            f"{len(found.catalog):,} images",
        )
        return 0
    summary = summarise(found.new) if found.added else None
    following = _next(values, found)
    lines = [
        f"images     {_images_line(summary) if summary else 'none that can be used'}",
        f"labels     {found.labels_said}" if values.labels else "",
        *refused_lines([reason for _, reason in found.refused], "could not be used", console),
        f"took       {duration(time.monotonic() - started)}",
        f"catalog    {values.out}   {len(found.catalog):,} images",
        f"next       {following}",
    ]
    answer = {
        "catalog": values.out,
        "images": found.added,
        "crs": summary.crs if summary else {},
        "gsd_m": summary.gsd_m if summary else None,
        "ground_m2": summary.ground_m2 if summary else 0.0,
        "labels": {
            "on_images": found.objects,
            "outside": found.outside,
            "repaired": found.repaired,
            "dropped": found.dropped,
            "lines": found.lines,
            "images_without": found.unlabelled,
            "images_not_named": found.unnamed,
        },
        "refused": [{"file": file, "reason": reason} for file, reason in found.refused],
        "next": following,
    }
    console.answer(answer, "\n".join(line for line in lines if line))
    return 3 if found.refused else 0


def _images_line(summary: "Summary") -> str:
    counts = ", ".join(f"{crs_name(crs)} ({n:,})" for crs, n in summary.crs.items())
    parts = [f"{summary.images:,} in {counts}"]
    if summary.gsd_m:
        parts.append(f"GSD {span(summary.gsd_m)} m")
        parts.append(f"{summary.ground_m2 / 1e6:.3g} km2")
    return ", ".join(parts) + (" (some show the same ground)" if summary.overlapping else "")


def _next(values: argparse.Namespace, found: "Indexed") -> str:
    """Training, where there are labels and a place to validate on; else a look at the catalog."""
    places = found.catalog.sql("SELECT DISTINCT place FROM images WHERE vectors IS NOT NULL")
    if values.labels is None or values.place is None or len(places) < 2:
        return next_command("gv-data", "info", str(values.out))
    place = "'" + values.place.replace("'", "''") + "'"
    where = ("--train-where", f"place <> {place}", "--val-where", f"place = {place}")
    return next_command("train", "buildings", "--data", str(values.out), *where)


COMMAND = Command(
    "Make a catalog of images, with polygons that say what they show.",
    (
        "gv-data index photos --labels roofs.gpkg --place town --out catalogs/town",
        "gv-data index tiles --labels instances.json --out catalogs/tiles",
        "gv-data index aerial --labels roads.gpkg --line-width 6 --out catalogs/roads",
        "gv-data index sentinel2 --dates %Y%m%dT%H%M%S --out catalogs/series",
        "gv-data index new.tif --labels new.gpkg --place village --out catalogs/town --append",
    ),
    _index_options,
    _index,
)
