"""A contact sheet: some images of a view, with their labels as outlines.

Only what is shown is read. An image that cannot be read leaves a grey tile that says so.
"""

import math
import textwrap
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.images import Image
from gv_data.pictures.sheet import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    YELLOW,
    Sheet,
    no_data_sample,
    points,
    shortened,
    stretch,
)
from gv_data.pictures.thumbnails import COLOURS, LabelFiles, Thumbnail, size_px, thumbnail

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

COUNT_MAX = 100
"""Most images on a sheet: more would be too small to be seen."""

_CLASSES = (YELLOW, SKY, VERMILION, GREEN, PURPLE, ORANGE, BLUE)
"""Colours of the classes, the most frequent first; further ones are pale."""

_MARGIN, _GAP, _TOP, _LINE, _SIZE, _SAMPLE = 24, 16, 100, 24, 18, 300
_MANY = 1000
"""More outlines than this on a tile are drawn thinner."""

_EMPTY = 0.85
"""Grey of a tile without an image."""


def contact_sheet(
    view: Catalog,
    path: Path,
    *,
    count: int = 12,
    track: Callable[[Sequence[Image]], Iterable[Image]] = iter,
) -> list[Thumbnail]:
    """Draw some images of a view, evenly over its places and splits.

    Args:
        view: A catalog or a part of it.
        path: File to make or replace, ``.png`` or ``.jpg``.
        count: How many images at most.
        track: Passes the images through while they are read, such as a progress bar does.

    Returns:
        What is on the sheet, in its order.

    Raises:
        CatalogError: If the view is empty, or so many images do not fit on a sheet.
    """
    if not 1 <= count <= COUNT_MAX:
        raise CatalogError(f"a contact sheet shows 1 to {COUNT_MAX} images, not {count}")
    images = view.images
    if not len(images):
        raise CatalogError(f"there is no image in {view.said}")
    rows = view.sql("SELECT place, split FROM images ORDER BY id").to_pylist()
    order = sorted(range(len(rows)), key=lambda n: (rows[n]["place"] or "", rows[n]["split"] or ""))
    groups = [tuple(rows[n].values()) for n in order]
    shown = [images[order[n]] for n in evenly(groups, count)]
    side, labels = _side_px(len(shown)), LabelFiles()
    tiles = [thumbnail(image, side, labels) for image in track(shown)]
    _draw(tiles, path, f"{len(tiles):,} of {len(images):,} images in {view.said}")
    return tiles


def evenly(groups: Sequence[Hashable], count: int) -> list[int]:
    """Choose things evenly: each group gets its turn, then the things within it.

    Args:
        groups: The group of each thing, in the order in which they are to be shown.
        count: How many at most.

    Returns:
        Positions, rising.

    Examples:
        >>> evenly(["a", "a", "a", "b", "c"], 4)
        [0, 2, 3, 4]
    """
    members: dict[Hashable, list[int]] = {}
    for position, group in enumerate(groups):
        members.setdefault(group, []).append(position)
    kinds = list(members.values())
    if count < len(kinds):
        kinds = [kinds[n] for n in _spread(len(kinds), count)]
    turns, left = [0] * len(kinds), min(count, sum(map(len, kinds)))
    while left:
        for n, positions in enumerate(kinds):
            if left and turns[n] < len(positions):
                turns[n], left = turns[n] + 1, left - 1
    taken = zip(kinds, turns, strict=True)
    return sorted(positions[n] for positions, turn in taken for n in _spread(len(positions), turn))


def _spread(size: int, count: int) -> list[int]:
    """The middles of ``count`` equal parts of ``size`` things."""
    return [int((n + 0.5) * size / count) for n in range(count)]


def _side_px(count: int) -> int:
    """Side of the square that each tile fits in: up to four columns share 1600 px."""
    return max(1600 // _columns(count), 400) - _GAP


def _columns(count: int) -> int:
    return math.ceil(math.sqrt(count))


def _draw(tiles: Sequence[Thumbnail], path: Path, title: str) -> None:
    """Lay the tiles out in rows, each as high as its highest."""
    columns, side = _columns(len(tiles)), _side_px(len(tiles))
    width = 2 * _MARGIN + columns * (side + _GAP) - _GAP
    rows = [tiles[first : first + columns] for first in range(0, len(tiles), columns)]
    heights = [max(size_px(tile.image, side)[1] for tile in row) for row in rows]
    colours, same_bands = _colours(tiles), len({tile.bands for tile in tiles}) == 1
    samples = _samples(tiles, colours)
    side_by_side = max(1, (width - 2 * _MARGIN) // _SAMPLE)
    below = 32 * math.ceil(len(samples) / side_by_side) + 24 if samples else 0
    sheet = Sheet(width, _TOP + sum(heights) + len(rows) * (3 * _LINE + _GAP) + below)
    sheet.text(_MARGIN, 16, shortened(title, width - 2 * _MARGIN, 30), 30, weight="bold")
    sheet.text(_MARGIN, 60, shortened(_note(tiles), width - 2 * _MARGIN, 20), 20, colour=PALE)
    y = _TOP
    for row, row_height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            x = _MARGIN + column * (side + _GAP)
            tile_width, tile_height = size_px(tile.image, side)
            _draw_tile(sheet.panel(x, y, tile_width, tile_height), tile, colours, tile_width)
            for n, words in enumerate(_caption(tile, bands=not same_bands)):
                words = shortened(words, side, _SIZE)
                place = y + tile_height + 6 + n * _LINE
                sheet.text(x, place, words, _SIZE, colour=PALE if n else INK)
        y += row_height + 3 * _LINE + _GAP
    sheet.legend(_MARGIN, y + 10, samples, columns=min(side_by_side, max(len(samples), 1)))
    sheet.save(path)


def _draw_tile(axes: "Axes", tile: Thumbnail, colours: Mapping[str, str], width_px: int) -> None:
    """Pixels with outlines over them, north up; or the reason why there are none."""
    axes.set_axis_off()
    if tile.values is None or tile.valid is None:
        axes.imshow(np.full((1, 1, 3), _EMPTY), vmin=0, vmax=1, aspect="auto")
        what = "is not there" if "is not there" in str(tile.problem) else "cannot be read"
        words = textwrap.fill(f"{tile.image.path.name} {what}", max(8, width_px // 11))
        axes.text(0, 0, words, ha="center", va="center", fontsize=points(_SIZE), color=INK)
        return
    height, width = tile.image.grid.shape_hw
    rgb = (0, 1, 2) if len(tile.values) == 3 else (0, 0, 0)
    (pixels,) = stretch(tile.values[None], tile.valid[None], rgb)
    axes.imshow(pixels, vmin=0, vmax=1, extent=(0, width, height, 0), aspect="auto")
    _draw_outlines(axes, tile, colours)
    south_up = tile.image.grid.transform.e > 0 and tile.image.grid.crs is not None
    axes.set(xlim=(0, width), ylim=(0, height) if south_up else (height, 0))


def _draw_outlines(axes: "Axes", tile: Thumbnail, colours: Mapping[str, str]) -> None:
    """Outlines with a dark rim, which show on any ground; the most frequent class below."""
    from matplotlib.collections import LineCollection

    for name, colour in colours.items():
        rings = tile.outlines.get(name, ())
        width = 1.4 if len(rings) < _MANY else 0.7
        for shade, wide, alpha in (("black", 2 * width, 0.6), (colour, width, 1.0)):
            axes.add_collection(LineCollection(rings, colors=shade, linewidths=wide, alpha=alpha))


def _colours(tiles: Sequence[Thumbnail]) -> dict[str, str]:
    """The colour of each class, the most frequent first."""
    counts: Counter[str] = Counter()
    for tile in tiles:
        counts.update({name: len(rings) for name, rings in tile.outlines.items()})
    colours = [*_CLASSES, *[PALE] * len(counts)]
    return {name: colours[n] for n, (name, _) in enumerate(counts.most_common())}


def _caption(tile: Thumbnail, *, bands: bool) -> list[str]:
    """Id; place, split, class and bands; ground sampling distance, size, labels."""
    image = tile.image
    where = ", ".join(filter(None, (image.place, image.split, image.label)))
    if bands:
        where = ": ".join(filter(None, (where, ", ".join(tile.bands))))
    if image.grid.crs is None:
        size = f"{image.grid.width_px:,} x {image.grid.height_px:,} px, no georeference"
    else:
        height_m, width_m = np.multiply(image.grid.shape_hw, image.grid.pixel_m)
        size = f"GSD {image.grid.gsd_m:.3g} m, {width_m:,.0f} x {height_m:,.0f} m"
    if tile.middle_only:
        size += " in the middle"
    if tile.values is not None and tile.problem:
        size += ", labels cannot be read"
    elif image.vectors is not None:
        size += f", {image.objects:,} labels"
    return [line for line in (image.id, where, size) if line]


def _note(tiles: Sequence[Thumbnail]) -> str:
    """Which bands are shown, and how."""
    kinds = {tile.bands for tile in tiles}
    bands = ", ".join(tiles[0].bands) if len(kinds) == 1 else "the bands named below"
    if any(len(kind) == 3 for kind in kinds) and kinds != {COLOURS}:
        bands += ", three as red, green, blue" if len(kinds) > 1 else " as red, green, blue"
    return f"{bands}; each band of an image stretched to 2-98 % of its values"


def _samples(tiles: Sequence[Thumbnail], colours: Mapping[str, str]) -> list["Artist"]:
    """What the legend explains."""
    from matplotlib.lines import Line2D

    named = list(colours.items())
    samples: list[Artist] = [
        Line2D([], [], color=colour, linewidth=4, label=shortened(name or "labels", 220, 20))
        for name, colour in named[: len(_CLASSES)]
    ]
    if len(named) > len(_CLASSES):
        samples.append(Line2D([], [], color=PALE, linewidth=4, label="other classes"))
    known = [tile.valid.ravel() for tile in tiles if tile.valid is not None]
    return samples + no_data_sample(np.concatenate([*known, np.ones(1, bool)]))
