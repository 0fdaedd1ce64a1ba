"""Streets as a graph, the districts between them, and the parcels of each block.

Everything is drawn with straight streets along the axes of a plan, then laid on the ground by
``Setting.ground``. Main streets cut the plan into districts; each district lays its own grid of
smaller streets, and each of its blocks is cut into rows of parcels.
"""

from dataclasses import dataclass
from typing import Literal

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from jaxtyping import Complex, Float
from numpy import ndarray as Array

from gv_data.synthetic.layers import keep
from gv_data.synthetic.setting import Setting

District = Literal["suburb", "terrace", "informal", "works", "green"]

_MIX: dict[str, dict[District, float]] = {
    "suburb": {"suburb": 0.85, "works": 0.05, "green": 0.10},
    "terrace": {"terrace": 0.85, "works": 0.07, "green": 0.08},
    "informal": {"informal": 0.90, "terrace": 0.05, "green": 0.05},
    "mixed": {"suburb": 0.34, "terrace": 0.24, "informal": 0.24, "works": 0.10, "green": 0.08},
}
_MAIN_STREET_M = 9.0
_PAVEMENT_M = 1.6  # beside asphalt, part of the street's ground


@dataclass(frozen=True)
class Fabric:
    """How a kind of district is cut up."""

    street_m: float
    """Carriageway of its streets."""
    asphalt: bool
    rows: int
    """Rows of parcels in a block."""
    depth_m: tuple[float, float]
    """Depth of a row of parcels."""
    length_m: tuple[float, float]
    """Length of a block."""
    width_m: tuple[float, float]
    """Width of a parcel along the street."""


_FABRIC: dict[District, Fabric] = {
    "suburb": Fabric(6.0, True, 2, (19, 26), (55, 90), (13, 20)),
    "terrace": Fabric(6.5, True, 2, (15, 21), (45, 80), (6.5, 10.5)),
    "informal": Fabric(2.4, False, 3, (6.5, 9), (28, 50), (4.2, 8.0)),
    "works": Fabric(7.5, True, 1, (38, 60), (60, 100), (30, 55)),
    "green": Fabric(2.4, False, 1, (60, 120), (60, 120), (60, 120)),
}


@dataclass(frozen=True)
class Plan:
    """A town on the drawing board, in metres from its middle, before streets are curved."""

    segments: Float[Array, "n 4"]
    """Street centre lines: x0, y0, x1, y1."""
    width_m: Float[Array, " n"]
    """Carriageway."""
    asphalt: Array
    """Whether a street is asphalted (n,)."""
    blocks: Float[Array, "b 4"]
    """Ground between streets: west, south, east, north."""
    districts: tuple[District, ...]
    """Kind of each block."""


def draw_plan(rng: np.random.Generator, setting: Setting) -> Plan:
    """Draw streets and blocks over more than the image, so that no border is empty."""
    half = 0.85 * setting.extent_m  # ground() bends this square onto all of the image
    kinds, shares = zip(*_MIX[setting.density].items(), strict=True)
    lines: list[tuple[float, float, float, float, float, bool]] = []
    blocks: list[tuple[float, float, float, float]] = []
    districts: list[District] = []
    for rect in _main_blocks(rng, (-half, -half, half, half), lines, whole=True):
        kind = kinds[rng.choice(len(kinds), p=shares)]
        fabric = _FABRIC[kind]
        x_lines, y_lines = _grid(rng, rect, fabric)
        west, south, east, north = rect
        street = fabric.street_m
        lines += [(x, south, x, north, street, fabric.asphalt) for x in x_lines[1:-1]]
        lines += [(west, y, east, y, street, fabric.asphalt) for y in y_lines[1:-1]]
        x_gap = _half_widths(len(x_lines), fabric)
        y_gap = _half_widths(len(y_lines), fabric)
        for i in range(len(x_lines) - 1):
            for j in range(len(y_lines) - 1):
                blocks.append(
                    (
                        x_lines[i] + x_gap[i],
                        y_lines[j] + y_gap[j],
                        x_lines[i + 1] - x_gap[i + 1],
                        y_lines[j + 1] - y_gap[j + 1],
                    )
                )
                districts.append(kind)
    table = np.array(lines)
    return Plan(table[:, :4], table[:, 4], table[:, 5] > 0, np.array(blocks), tuple(districts))


def lay_roads(plan: Plan, setting: Setting) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Curve the streets, cut them at crossings and at the image, and number the crossings.

    Returns:
        Roads (``id``, node ids ``u`` and ``v``, ``width_m``, ``surface``, lines from u to v) and
        nodes (``id``, points), both in the town's CRS.
    """
    drawn = np.asarray(shapely.linestrings(plan.segments.reshape(-1, 2, 2)))
    edges = shapely.get_parts(shapely.node(shapely.multilinestrings(drawn)))
    middles = shapely.line_interpolate_point(edges, 0.5, normalized=True)
    street = shapely.STRtree(drawn).nearest(middles)
    scale = np.abs(setting.turn(shapely.get_coordinates(middles) @ [1, 1j]))
    curved = shapely.transform(shapely.segmentize(edges, 6.0), lambda xy: _bent(setting, xy))
    pieces, origin = shapely.get_parts(
        shapely.intersection(curved, setting.footprint), return_index=True
    )
    kept = (shapely.get_type_id(pieces) == 1) & (shapely.length(pieces) > 0.01)
    pieces, origin = pieces[kept], origin[kept]
    ends = np.stack(
        [
            shapely.get_coordinates(shapely.get_point(pieces, 0)),
            shapely.get_coordinates(shapely.get_point(pieces, -1)),
        ],
        axis=1,
    )
    _, first, node = np.unique(
        np.round(ends.reshape(-1, 2), 3), axis=0, return_index=True, return_inverse=True
    )
    node = node.reshape(-1, 2)
    roads = gpd.GeoDataFrame(
        {
            "id": np.arange(len(pieces)),
            "u": node[:, 0],
            "v": node[:, 1],
            "width_m": (plan.width_m[street] * scale)[origin],
            "surface": np.where(plan.asphalt[street], "asphalt", "soil")[origin],
        },
        geometry=pieces,
        crs=setting.crs,
    )
    points = np.asarray(shapely.points(ends.reshape(-1, 2)[first]))
    return roads, gpd.GeoDataFrame({"id": np.arange(len(points))}, geometry=points, crs=setting.crs)


def cut_parcels(rng: np.random.Generator, plan: Plan, setting: Setting) -> gpd.GeoDataFrame:
    """Cut the blocks that the image shows into parcels without gaps or overlaps.

    Returns:
        ``id``, ``district``, the drawn rectangle (``x0``, ``y0``, ``x1``, ``y1``: metres on the
        plan), ``front``: the side on the street (0 is y0, 1 is y1), and the polygon on the
        ground, not clipped to the image.
    """
    outlines = shapely.transform(_boxes(plan.blocks), lambda xy: _bent(setting, xy))
    seen = shapely.intersects(outlines, setting.footprint)
    parts: list[pd.DataFrame] = []
    for index in np.flatnonzero(seen):
        kind = plan.districts[index]
        table = _parcels_of_block(rng, plan.blocks[index], _FABRIC[kind])
        parts.append(table.assign(district=kind))
    parcels = pd.concat(parts, ignore_index=True)
    rects = parcels[["x0", "y0", "x1", "y1"]].to_numpy()
    geometry = shapely.transform(_faces(rects), lambda xy: _bent(setting, xy))
    parcels = gpd.GeoDataFrame(parcels, geometry=geometry, crs=setting.crs)
    parcels = keep(parcels, parcels.intersects(setting.footprint)).reset_index(drop=True)
    parcels.insert(0, "id", np.arange(len(parcels)))
    return parcels


def polygons(corners: Complex[Array, "n k"]) -> Array:
    """Polygons from rings of corners x + iy that are not closed yet."""
    closed = np.concatenate([corners, corners[:, :1]], axis=1)
    return np.asarray(shapely.polygons(np.stack([closed.real, closed.imag], axis=-1)))


def _main_blocks(
    rng: np.random.Generator,
    rect: tuple[float, float, float, float],
    lines: list[tuple[float, float, float, float, float, bool]],
    *,
    whole: bool = False,
) -> list[tuple[float, float, float, float]]:
    """Cut a rectangle by main streets, recorded in ``lines``, until no piece is long.

    The whole town is cut at least once: there is no town without a street.
    """
    west, south, east, north = rect
    longest = max(east - west, north - south)
    if longest < rng.uniform(110, 190) and not whole:
        return [rect]
    share = rng.uniform(0.35, 0.65)
    if east - west >= north - south:
        x = west + share * (east - west)
        lines.append((x, south, x, north, _MAIN_STREET_M, True))
        halves = [(west, south, x, north), (x, south, east, north)]
    else:
        y = south + share * (north - south)
        lines.append((west, y, east, y, _MAIN_STREET_M, True))
        halves = [(west, south, east, y), (west, y, east, north)]
    return [piece for half in halves for piece in _main_blocks(rng, half, lines)]


def _grid(
    rng: np.random.Generator, rect: tuple[float, float, float, float], fabric: Fabric
) -> tuple[Float[Array, " i"], Float[Array, " j"]]:
    """Street lines of a district, its two borders included."""
    west, south, east, north = rect
    across = fabric.rows * rng.uniform(*fabric.depth_m) + fabric.street_m
    along = rng.uniform(*fabric.length_m) + fabric.street_m
    if rng.random() < 0.5:
        across, along = along, across
    return _ticks(rng, west, east, along), _ticks(rng, south, north, across)


def _ticks(rng: np.random.Generator, low: float, high: float, step: float) -> Float[Array, " n"]:
    """Cut an interval into about equal pieces, near ``step`` each."""
    count = max(1, round((high - low) / step))
    ticks = np.linspace(low, high, count + 1)
    ticks[1:-1] += rng.uniform(-0.08, 0.08, count - 1) * (high - low) / count
    return ticks


def _half_widths(count: int, fabric: Fabric) -> Float[Array, " n"]:
    """Ground that a street takes on either side of its line: wider on a district's border."""
    pavement = _PAVEMENT_M if fabric.asphalt else 0.2
    gaps = np.full(count, fabric.street_m / 2 + pavement)
    gaps[[0, -1]] = _MAIN_STREET_M / 2 + _PAVEMENT_M
    return gaps


def _parcels_of_block(
    rng: np.random.Generator, block: Float[Array, "4"], fabric: Fabric
) -> pd.DataFrame:
    """Rows of parcels along the longer side of a block, back to back."""
    west, south, east, north = block
    wide = east - west >= north - south
    low, high, length = (south, north, east - west) if wide else (west, east, north - south)
    start = west if wide else south
    count = max(1, round((high - low) / np.mean(fabric.depth_m)))
    edges = np.linspace(low, high, count + 1)
    rows = []
    for row in range(count):
        widths = rng.uniform(*fabric.width_m, size=max(1, round(length / np.mean(fabric.width_m))))
        cuts = start + np.concatenate([[0], np.cumsum(widths)]) / widths.sum() * length
        near, far = np.full(len(widths), edges[row]), np.full(len(widths), edges[row + 1])
        front = np.full(len(widths), int(row >= count / 2))
        rows.append(np.stack([cuts[:-1], near, cuts[1:], far, front], axis=1))
    table = np.concatenate(rows)
    frame = pd.DataFrame(table[:, :4], columns=["x0", "y0", "x1", "y1"])
    if not wide:
        frame.columns = ["y0", "x0", "y1", "x1"]
    return frame.assign(front=table[:, 4].astype(int), along_x=wide)


def _boxes(rects: Float[Array, "n 4"]) -> Array:
    return np.asarray(shapely.box(*rects.T))


def _faces(rects: Float[Array, "n 4"]) -> Array:
    """Rectangles with a vertex wherever a neighbour has one, so that no gap opens when bent."""
    boxes = _boxes(rects)
    borders = shapely.node(shapely.multilinestrings(shapely.get_exterior_ring(boxes)))
    faces = shapely.get_parts(shapely.polygonize([borders]))
    order = shapely.STRtree(boxes).nearest(shapely.point_on_surface(faces))
    ordered = np.empty(len(boxes), dtype=object)
    ordered[order] = faces
    return ordered


def _bent(setting: Setting, xy: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    ground = setting.ground(xy[:, 0] + 1j * xy[:, 1])
    return np.stack([ground.real, ground.imag], axis=-1)
