"""Footprints divided into areas in which they can be seen.

Towns on two continents are specks on one map. Where footprints would be too small, they are parted
at wide gaps, and the parts again.
"""

import math

import numpy as np
import shapely
from jaxtyping import Float, Int

APART = 0.05
"""Share of a map's extent: images further from each other than this belong to two areas."""

LEGIBLE = 0.02
"""Share of a map's extent: smaller footprints want a map of their area."""


def areas_of(bounds: Float[np.ndarray, "n 4"]) -> list[Int[np.ndarray, " m"]]:
    """Divide footprints into areas in which they can be seen.

    Args:
        bounds: West, south, east, north of each in degrees.

    Returns:
        Positions of the footprints of each area, largest area first. One area if all can be seen on
        one map.
    """
    waiting, areas = [np.arange(len(bounds))], []
    while waiting:
        area = waiting.pop()
        parts = [area] if _legible(bounds[area]) else _parts(area, bounds)
        if len(parts) == 1:
            areas.append(np.sort(area))
        else:
            waiting.extend(parts)
    return sorted(areas, key=lambda area: (-len(area), area[0]))


def _legible(bounds: Float[np.ndarray, "n 4"]) -> bool:
    west, south, east, north = bounds.T
    squeeze = math.cos(math.radians((south.min() + north.max()) / 2))
    extent = max((east.max() - west.min()) * squeeze, north.max() - south.min())
    sizes = np.maximum((east - west) * squeeze, north - south)
    return float(np.median(sizes)) >= LEGIBLE * extent


def _parts(
    area: Int[np.ndarray, " n"], bounds: Float[np.ndarray, "m 4"]
) -> list[Int[np.ndarray, " k"]]:
    """Groups of footprints with wide gaps between them."""
    west, south, east, north = bounds[area].T
    margin = APART / 2 * max(east.max() - west.min(), north.max() - south.min())
    boxes = shapely.box(west - margin, south - margin, east + margin, north + margin)
    grounds = shapely.get_parts(shapely.union_all(boxes))
    middles = shapely.points((west + east) / 2, (south + north) / 2)
    ground, member = shapely.STRtree(middles).query(grounds, predicate="intersects")
    ends = np.searchsorted(np.sort(ground), range(1, len(grounds)))
    return np.split(area[member[np.argsort(ground, kind="stable")]], ends)
