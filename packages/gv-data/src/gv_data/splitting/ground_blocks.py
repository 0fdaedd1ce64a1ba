"""Blocks of ground into which images fall, and the images that give way so that parts keep apart.

The grid is integerised sinusoidal, as those of the SeaWiFS and MODIS products: rows of one height
from pole to pole, each cut into as many columns of about that width as go around the Earth. Blocks
are squares of one size at all latitudes, whatever the CRSs of the images.
"""

import math
from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int

from gv_data.antimeridian import rejoined
from gv_data.splitting.allotment import Parts
from gv_data.splitting.grounds import Grounds, Pairs
from gv_data.splitting.shares import Shares

EARTH_RADIUS_M = 6_371_007.181
"""Of the sphere with the Earth's surface (MODIS land products)."""

BLOCKS_A_PART = 4
"""Blocks that the smallest part should get when their size is chosen."""

_SIDES_M = [float(step * 10**power) for power in range(6, -1, -1) for step in (5, 2, 1)]


@dataclass(frozen=True, eq=False)
class Clusters:
    """Grounds that belong together because they overlap, as nested zooms do.

    Attributes:
        inside: A point inside each ground, longitude and latitude.
        length_m: The longer side of each ground.
        leader: Position of the largest ground of each ground's cluster.
        cluster_m: The longer side of its cluster.
    """

    inside: Float[np.ndarray, "g 2"]
    length_m: Float[np.ndarray, " g"]
    leader: Int[np.ndarray, " g"]
    cluster_m: Float[np.ndarray, " g"]

    @classmethod
    def of(cls, grounds: Grounds, overlapping: Pairs) -> "Clusters":
        """Find the clusters.

        Args:
            grounds: Some grounds.
            overlapping: The pairs that overlap.
        """
        cluster = grounds.clusters(overlapping)
        bounds = shapely.bounds(rejoined(grounds.outlines))
        by_size = np.lexsort((-shapely.area(grounds.outlines), cluster))
        largest = by_size[np.unique(cluster[by_size], return_index=True)[1]]
        # the others of a cluster on the side of the antimeridian where the largest is
        middle = bounds[:, [0, 2]].mean(axis=1)
        turns = np.rint((middle[largest][cluster] - middle) / 360)
        bounds[:, [0, 2]] += 360 * turns[:, None]
        around = np.full((len(largest), 4), [np.inf, np.inf, -np.inf, -np.inf])
        np.minimum.at(around[:, :2], cluster, bounds[:, :2])
        np.maximum.at(around[:, 2:], cluster, bounds[:, 2:])
        return cls(
            inside=shapely.get_coordinates(shapely.point_on_surface(grounds.outlines)),
            length_m=_length_m(bounds),
            leader=largest[cluster],
            cluster_m=_length_m(around)[cluster],
        )


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of ground.

    Attributes:
        side_m: Length of a side.
        block: Number of the block of each ground.
        places: Where each block lies: unit vectors from the Earth's centre.
        large: Grounds that are longer than a block.
    """

    side_m: float
    block: Int[np.ndarray, " g"]
    places: Float[np.ndarray, "b 3"]
    large: Bool[np.ndarray, " g"]


def blocks_of(clusters: Clusters, side_m: float) -> Blocks:
    """Sort grounds into blocks.

    A cluster goes as one into the block of its largest ground. Where a chain of overlaps is longer
    than a block, as in a mosaic, each ground goes into its own.

    Args:
        clusters: The grounds.
        side_m: Side of the blocks in metres.
    """
    own = np.arange(len(clusters.leader))
    leader = np.where(clusters.cluster_m <= side_m, clusters.leader, own)
    cells = cells_of(clusters.inside[leader], side_m)
    width = int(cells[:, 1].max()) + 1
    used, block = np.unique(cells @ [width, 1], return_inverse=True)
    row, column = np.divmod(used, width)
    latitude = (row + 0.5) * side_m / EARTH_RADIUS_M - math.pi / 2
    longitude = (column + 0.5) / _columns(row, side_m) * 2 * math.pi
    flat = np.cos(latitude)
    places = [flat * np.cos(longitude), flat * np.sin(longitude), np.sin(latitude)]
    return Blocks(side_m, block, np.stack(places, axis=1), clusters.length_m > side_m)


def cells_of(lonlat: Float[np.ndarray, "n 2"], side_m: float) -> Int[np.ndarray, "n 2"]:
    """Row (from the south pole) and column (from the antimeridian) of points.

    Args:
        lonlat: Longitudes and latitudes in degrees.
        side_m: Side of the cells in metres.
    """
    row = np.floor(np.radians(lonlat[:, 1] + 90) * EARTH_RADIUS_M / side_m).astype(int)
    columns = _columns(row, side_m)
    return np.stack([row, np.floor((lonlat[:, 0] + 180) / 360 * columns).astype(int) % columns], 1)


def choose_side_m(clusters: Clusters, counted: Int[np.ndarray, " k"], shares: Shares) -> float:
    """The largest round size of which enough blocks hold images.

    Enough is `BLOCKS_A_PART` for the smallest part. Blocks are at least twice as long as the usual
    image, or once where there would be fewer blocks than parts.

    Args:
        clusters: The grounds.
        counted: Positions of the grounds that are to be split.
        shares: The parts.
    """
    enough = math.ceil(BLOCKS_A_PART / min(shares.wanted))
    usual_m = float(np.median(clusters.length_m[counted]))
    best_m, most = _SIDES_M[0], 0
    for side_m in _SIDES_M:
        if side_m < usual_m * (2 if most >= len(shares) else 1):
            break
        found = len(np.unique(blocks_of(clusters, side_m).block[counted]))
        if found > most:
            best_m, most = side_m, found
        if most >= enough:
            break
    return best_m


@dataclass(frozen=True, eq=False)
class Others:
    """Images that have their part already.

    Attributes:
        taken: Where each part may not be, as they are near in another part.
        part: The part of those that overlap a ground, which it follows; -1 if there are none.
    """

    taken: Bool[np.ndarray, "g p"]
    part: Parts

    @classmethod
    def of(cls, held: Bool[np.ndarray, "g p"], near: Pairs, overlapping: Pairs) -> "Others":
        """Look around each ground.

        Args:
            held: Whether such images show a ground, by part; the last column is any other part.
            near: The pairs of grounds that are near each other.
            overlapping: The pairs that overlap.
        """
        around, on_it = _spread(held, near), _spread(held, overlapping)
        single = (on_it.sum(axis=1) == 1) & ~on_it[:, -1]
        return cls(
            taken=np.where(around, (around.sum(axis=1) > 1)[:, None], around.any(axis=1)[:, None]),
            part=np.where(single, on_it.argmax(axis=1), -1),
        )


def give_way(
    parts: Parts,
    near: Pairs,
    shares: Shares,
    *,
    large: Bool[np.ndarray, " g"],
    others: Others,
) -> Parts:
    """Leave grounds out until no two of different parts are near each other.

    Ground that other images show already follows them, and what is near to others in another part
    gives way. Then grounds longer than a block do: they reach into others. Then of two parts the
    one with the larger share, as ground for validation is scarcer; between equal parts, the first
    of the pair.

    Args:
        parts: Of each ground; -1 for those that are not to be split.
        near: The pairs that are too near to be in different parts.
        shares: The parts.
        large: Grounds longer than a block.
        others: The images that have their part already.

    Returns:
        The parts, with -1 for the grounds that give way.
    """
    parts = np.where((others.part >= 0) & (parts >= 0), others.part, parts)
    mine = np.flatnonzero(parts >= 0)
    parts[mine[others.taken[mine, parts[mine]]]] = -1
    share = np.array([*shares.wanted, 0.0])  # that of no part is the last

    def clashing(pairs: Pairs) -> Pairs:
        of = parts[pairs]
        return pairs[(of[:, 0] != of[:, 1]) & (of >= 0).all(axis=1)]

    pairs = clashing(near)
    reaching = large[pairs]
    parts[pairs[reaching & ~reaching[:, ::-1]]] = -1
    for largest in sorted(set(shares.wanted), reverse=True):
        pairs = clashing(pairs)
        shares_of = share[parts[pairs]]
        loser = np.take_along_axis(pairs, shares_of.argmax(axis=1)[:, None], axis=1)[:, 0]
        parts[loser[shares_of.max(axis=1) == largest]] = -1
    return parts


def _spread(held: Bool[np.ndarray, "g p"], pairs: Pairs) -> Bool[np.ndarray, "g p"]:
    """What is held on a ground or on one it makes a pair with."""
    around = held.copy()
    for here, there in (pairs.T, pairs[:, ::-1].T):
        reached = held[there].any(axis=1)
        np.logical_or.at(around, here[reached], held[there[reached]])
    return around


def _columns(row: Int[np.ndarray, " n"], side_m: float) -> Int[np.ndarray, " n"]:
    """Cells that go around the Earth in a row."""
    latitude = (row + 0.5) * side_m / EARTH_RADIUS_M - math.pi / 2
    around_m = 2 * math.pi * EARTH_RADIUS_M * np.cos(latitude)
    return np.maximum(1, np.rint(around_m / side_m)).astype(int)


def _length_m(bounds: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """The longer side of bounds in degrees."""
    west, south, east, north = np.radians(bounds).T
    across = (east - west) * np.cos((south + north) / 2)
    return EARTH_RADIUS_M * np.maximum(across, north - south)
