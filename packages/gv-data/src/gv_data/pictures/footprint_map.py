"""A map of where the images of a view lie.

Axes are degrees of longitude and latitude, a degree of latitude as long on paper as on the ground
beside it. The map runs on across the antimeridian where images lie on both sides of it. Where
images lie too far apart to be seen on one map, an overview shows where the areas are and each area
has a map of its own.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import shapely
from jaxtyping import Float, Int
from pyproj import Geod

from gv_data.antimeridian import box_around, rejoined, shifted
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.pictures.areas import areas_of
from gv_data.pictures.sheet import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PALE,
    PURPLE,
    SKY,
    VERMILION,
    Sheet,
    points,
    shortened,
)
from gv_data.terminal.wording import crs_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

AREAS_MAX = 6
"""Most areas that have a map of their own: those with most images."""

_COLOURS = (BLUE, ORANGE, VERMILION, GREEN, PURPLE, SKY)
_SPLITS = {"train": BLUE, "val": ORANGE, "test": VERMILION}
_OTHERS = "others"

_WIDTH, _MARGIN, _AXIS, _TOP = 1600, 24, 124, 124
_HEADER, _FOOTER = 62, 44
_LEGEND_COLUMNS = 4
_SYSTEMS_SHOWN = 4
_IMAGES_MIN = 4
"""Images that an area has on the mean, if many are to have maps."""

_ELLIPSOID = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Footprints:
    """Where images lie, and what they are coloured by.

    Attributes:
        outlines: Polygons in degrees (OGC:CRS84), those east of the antimeridian with longitudes
            above 180 where the map runs on across it.
        bounds: West, south, east, north of each.
        places: Name of the place of each.
        kinds: What each is coloured by.
        colours: The colour of each kind; those with most images come first.
    """

    outlines: np.ndarray
    bounds: Float[np.ndarray, "n 4"]
    places: np.ndarray
    kinds: np.ndarray
    colours: dict[str, str]


@dataclass(frozen=True)
class Frame:
    """A map on the sheet: its place in pixels and the ground it shows in degrees."""

    box: tuple[float, float, float, float]
    """Left, top, width, height."""
    ground: tuple[float, float, float, float]
    """West, south, east, north."""

    @property
    def degrees_a_pixel(self) -> float:
        """Degrees of latitude a pixel of the sheet."""
        return (self.ground[3] - self.ground[1]) / self.box[3]

    @property
    def metres_a_pixel(self) -> float:
        """Metres on the ground a pixel of the sheet, in the middle of the map."""
        west, south, _, north = self.ground
        middle, half = (south + north) / 2, min(self.degrees_a_pixel * 50, 1.0)
        metres = _ELLIPSOID.inv(west, middle - half, west, middle + half)[2]
        return metres / (2 * half) * self.degrees_a_pixel


def footprint_map(view: Catalog, path: Path) -> int:
    """Draw the footprints of a view, coloured by split, or by place if there are no splits.

    Args:
        view: A catalog or a part of it.
        path: File to make or replace, ``.png`` or ``.jpg``.

    Returns:
        How many images are on the map.

    Raises:
        CatalogError: If the view is empty, or none of its images is georeferenced.
    """
    systems = Counter(view.sql("SELECT crs FROM images")["crs"].to_pylist())
    if not systems:
        raise CatalogError(f"there is no image in {view.said}")
    rows = view.sql(
        "SELECT geometry, place, split FROM images WHERE geometry IS NOT NULL ORDER BY id"
    )
    if not len(rows):
        raise CatalogError(
            f"none of the {systems.total():,} images in {view.said} is georeferenced: "
            "there is nothing to map"
        )
    found = _footprints(*(rows[name].to_pylist() for name in rows.column_names))
    title = f"{len(rows):,} footprints in {view.said}"
    _draw(found, areas_of(found.bounds), path, title, _notes(systems))
    return len(rows)


def _footprints(
    geometry: list[bytes], places: list[str | None], splits: list[str | None]
) -> Footprints:
    by_split = any(splits)
    names = [name or "no split" for name in splits]
    if not by_split:
        names = [name or "no place" for name in places]
    ranked = [name for name, _ in Counter(names).most_common()]
    fixed = _SPLITS if by_split else {}
    free = (colour for colour in _COLOURS if colour not in map(fixed.get, ranked))
    colours = {
        name: PALE if name.startswith("no ") else fixed.get(name) or next(free, "")
        for name in ranked
    }
    kinds = np.array([name if colours[name] else _OTHERS for name in names], object)
    kept = {name: colour for name, colour in colours.items() if colour}
    if len(kept) < len(colours):
        kept[_OTHERS] = PALE
    outlines = _in_one_view(shapely.from_wkb(geometry))
    return Footprints(
        outlines,
        shapely.bounds(outlines),
        np.array([place or "no place" for place in places], object),
        kinds,
        kept,
    )


def _in_one_view(outlines: np.ndarray) -> np.ndarray:
    """Outlines moved by 360 degrees, if need be, so that they lie as near as they do on Earth."""
    west, _, east, _ = box_around(outlines)
    if west <= east:
        return outlines
    whole = rejoined(outlines)
    behind = shapely.bounds(whole)[:, 2] < west
    return shifted(whole, np.where(behind, 360.0, 0.0))


def _notes(systems: Counter[str | None]) -> list[str]:
    """Which CRSs the images are in, what the axes are, and how many images are missing."""
    known = [f"{crs_name(crs)} ({n:,})" for crs, n in systems.most_common() if crs is not None]
    said = ", ".join(known[:_SYSTEMS_SHOWN])
    if len(known) > _SYSTEMS_SHOWN:
        said += f" and {len(known) - _SYSTEMS_SHOWN} more"
    axes = "axes: degrees of longitude and latitude, WGS 84"
    if systems[None]:
        axes += f"; {systems[None]:,} images without georeference are not shown"
    return [f"CRS of the images: {said}", axes]


def _draw(
    found: Footprints, areas: list[np.ndarray], path: Path, title: str, notes: list[str]
) -> None:
    """One map, or an overview with the maps of its areas below."""
    shown = _worth_a_map(areas)
    y = float(_TOP + _HEADER)
    main = _frame(found.bounds, (_AXIS, y, _WIDTH - _AXIS - _MARGIN, 460 if shown else 0))
    y += main.box[3] + _FOOTER
    frames = []
    columns = 3 if len(shown) > 4 else 2
    step = (_WIDTH - _MARGIN) / columns
    for n, area in enumerate(shown):
        left, top = _AXIS + n % columns * step, y + n // columns * 0.8 * step + _HEADER
        size = (step - _AXIS, 0.8 * step - _HEADER - _FOOTER)
        frames.append(_frame(found.bounds[area], (left, top, *size)))
    y += math.ceil(len(shown) / columns) * 0.8 * step
    sheet = Sheet(_WIDTH, int(y) + 70)
    sheet.text(_MARGIN, 16, shortened(title, _WIDTH - 2 * _MARGIN, 30), 30, weight="bold")
    sheet.legend(_MARGIN, 64, _samples(found), columns=_LEGEND_COLUMNS)
    for line, note in enumerate(notes):
        words = shortened(note, _WIDTH - 2 * _MARGIN, 20)
        sheet.text(_MARGIN, y + 4 + 26 * line, words, 20, colour=PALE)
    some = "" if len(shown) == len(areas) else f", {len(shown)} of them below"
    heading = f"{len(areas):,} areas{some}" if len(areas) > 1 else ""
    axes = _draw_map(sheet, main, found, np.arange(len(found.bounds)), heading)
    for n, (frame, area) in enumerate(zip(frames, shown, strict=True), 1):
        names = ", ".join(name for name, _ in Counter(found.places[area]).most_common())
        names = shortened(names, frame.box[2] - 200, 20)
        _draw_map(sheet, frame, found, area, f"{n}  {names}: {len(area):,} images")
    _number(axes, main, [found.bounds[area] for area in shown])
    sheet.save(path)


def _worth_a_map(areas: list[np.ndarray]) -> list[np.ndarray]:
    """The areas that get a map of their own: none where images are strewn one by one."""
    if len(areas) == 1:
        return []
    largest = areas[:AREAS_MAX]
    strewn = len(areas) > AREAS_MAX and sum(map(len, largest)) < _IMAGES_MIN * len(largest)
    return [] if strewn else largest


def _frame(bounds: Float[np.ndarray, "n 4"], box: tuple[float, float, float, float]) -> Frame:
    """Ground around footprints that fills a box; a box without height gets one that fits."""
    west, south, east, north = *bounds[:, :2].min(axis=0), *bounds[:, 2:].max(axis=0)
    squeeze = max(math.cos(math.radians((south + north) / 2)), 0.01)
    across, down = (east - west) * squeeze, north - south
    left, top, width, height = box
    height = height or min(max(width * down / max(across, 1e-9), 400), 1000)
    degrees_a_pixel = 1.2 * max(across / width, down / height)
    half_x, half_y = degrees_a_pixel * width / squeeze / 2, degrees_a_pixel * height / 2
    turn = 180 if east > 180 else 0  # a map that runs on lies between 0 and 360 degrees
    x = _within((west + east) / 2 - turn, half_x, 180) + turn
    y = _within((south + north) / 2, half_y, 90)
    return Frame((left, top, width, height), (x - half_x, y - half_y, x + half_x, y + half_y))


def _within(middle: float, half: float, limit: float) -> float:
    """The middle moved so that the whole span lies on the Earth, if it can."""
    return middle if half >= limit else min(max(middle, half - limit), limit - half)


def _draw_map(
    sheet: Sheet, frame: Frame, found: Footprints, area: Int[np.ndarray, " n"], title: str
) -> "Axes":
    """Footprints in a frame; those too small to be seen as dots."""
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    left, top, width, height = frame.box
    west, south, east, north = frame.ground
    sheet.text(left, top - 56, title, 20)
    sheet.scale_bar(left + width, top - 18, width / 5, frame.metres_a_pixel)
    axes = sheet.panel(*frame.box)
    axes.set(xlim=(west, east), ylim=(south, north))
    axes.grid(color="#E8E8E8", linewidth=0.8)
    axes.set_axisbelow(True)
    _label_ticks(axes, int(width // 200), int(max(height // 100, 2)))
    sizes = (found.bounds[:, 2:] - found.bounds[:, :2]).max(axis=1) / frame.degrees_a_pixel
    for kind, colour in found.colours.items():
        members = area[found.kinds[area] == kind]
        parts = shapely.get_parts(found.outlines[members])
        corners = [shapely.get_coordinates(part) for part in parts]
        axes.add_collection(
            PolyCollection(corners, facecolors=to_rgba(colour, 0.3), edgecolors=colour)
        )
        small = found.bounds[members[sizes[members] < 6]]
        axes.plot(*((small[:, :2] + small[:, 2:]) / 2).T, "o", markersize=4, color=colour)
    return axes


def _label_ticks(axes: "Axes", across: int, down: int) -> None:
    """Degrees with a letter, with as many decimals as the step has."""
    from matplotlib.ticker import MaxNLocator

    for axis, count, letters in ((axes.xaxis, across, "EW"), (axes.yaxis, down, "NS")):
        low, high = axis.get_view_interval()
        ticks = MaxNLocator(max(count, 1)).tick_values(low, high)
        step = ticks[1] - ticks[0]
        decimals = next(n for n in range(12) if abs(round(step, n) - step) < 1e-3 * step)
        inside = [tick for tick in ticks if low <= tick <= high]
        degrees = [(tick + 180) % 360 - 180 if tick > 180 else tick for tick in inside]
        names = [f"{abs(tick):.{decimals}f}° {letters[int(tick < 0)]}" for tick in degrees]
        axis.set_ticks(inside, names)


def _number(axes: "Axes", frame: Frame, areas: Sequence[Float[np.ndarray, "n 4"]]) -> None:
    """Write the numbers of areas beside them; those at one place share a label."""
    labels: list[tuple[np.ndarray, list[str]]] = []
    for n, bounds in enumerate(areas, 1):
        middle = (bounds[:, :2].min(axis=0) + bounds[:, 2:].max(axis=0)) / 2
        for place, numbers in labels:
            if np.abs(place - middle).max() < 30 * frame.degrees_a_pixel:
                numbers.append(str(n))
                break
        else:
            labels.append((middle, [str(n)]))
    for place, numbers in labels:
        axes.annotate(
            ", ".join(numbers), (place[0], place[1]), xytext=(8, 6), textcoords="offset points",
            fontsize=points(22), color=INK, weight="bold",
        )  # fmt: skip


def _samples(found: Footprints) -> list["Patch"]:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Patch

    counts = Counter(found.kinds.tolist())
    room = (_WIDTH - 2 * _MARGIN) / _LEGEND_COLUMNS - 60
    return [
        Patch(
            facecolor=to_rgba(colour, 0.3),
            edgecolor=colour,
            label=shortened(f"{kind} ({counts[kind]:,})", room, 20),
        )
        for kind, colour in found.colours.items()
    ]
