"""``gv-data show``: a catalog in pictures."""

import argparse
from pathlib import Path

from gv_data.commands import views
from gv_data.terminal.command import Command
from gv_data.terminal.console import Console
from gv_data.terminal.options import Parser, UsageError, positive
from gv_data.terminal.wording import refused_lines

SUFFIXES = (".png", ".jpg")


def _options(parser: Parser) -> None:
    views.add_options(parser)
    parser.add_argument(
        "--out", type=Path, help="the picture, .png or .jpg; one that is there is replaced "
        "(default: NAME.images.png or NAME.map.png)",
    )  # fmt: skip
    parser.add_argument("--count", type=positive, default=12, help="images on the contact sheet")
    parser.add_argument(
        "--map", action="store_true", help="draw a map of the footprints, not the images"
    )


def _show(values: argparse.Namespace, console: Console) -> int:
    """Draw one picture; 3 when some images could not be shown."""
    name = f"{values.catalog.resolve().name}.{'map' if values.map else 'images'}.png"
    out = values.out or Path(name)
    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: a picture ends in {' or '.join(SUFFIXES)}")
    view = views.chosen(values)
    problems: list[tuple[str, str]] = []
    if values.map:
        from gv_data.pictures.footprint_map import footprint_map

        said = f"{footprint_map(view, out):,} of {len(view):,} images"
    else:
        from gv_data.pictures.contact_sheet import contact_sheet

        tiles = contact_sheet(
            view,
            out,
            count=values.count,
            track=lambda images: console.track(images, "reading", unit="images"),
        )
        said = f"{len(tiles):,} of {len(view):,} images"
        problems = [(tile.image.id, tile.problem) for tile in tiles if tile.problem]
    lines = [
        f"picture    {out}   {out.stat().st_size / 1e6:.1f} MB, {said}",
        *refused_lines([reason for _, reason in problems], "could not be shown", console),
    ]
    answer = {
        "picture": out,
        "images": len(view),
        "refused": [{"id": id, "reason": reason} for id, reason in problems],
    }
    console.answer(answer, "\n".join(lines))
    return 3 if problems else 0


COMMAND = Command(
    "Draw some images of a catalog with their labels, or a map of where all of them lie.",
    (
        "gv-data show catalogs/town",
        "gv-data show catalogs/town --where \"split = 'val'\" --count 30 --out val.png",
        "gv-data show catalogs/town --map",
    ),
    _options,
    _show,
)
