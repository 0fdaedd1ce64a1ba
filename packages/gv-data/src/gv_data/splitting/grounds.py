"""The ground that images show: which of them show the same, and which lie near each other.

Images with the same outline, as dates or bands of one tile, are one ground. Grounds in one CRS are
compared as rectangles of it, which is exact; others by their outlines on the ellipsoid. Images cut
side by side overlap by rounding: less than half a pixel deep, they only touch.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from pyproj import CRS, Geod
from scipy import sparse

from gv_data.antimeridian import shifted
from gv_data.catalog import Catalog
from gv_data.grid import ends_at_the_antimeridian
from gv_data.store.grids import Grids
from gv_data.vectors.geodesy import area_m2, length_m

TOUCHING_PX = 0.5
"""Grounds that overlap less deeply than this part of the finer pixel only touch."""

_DEGREE_M = 110_500.0
"""A little less than the shortest degree of latitude, so that nothing near is missed."""

_BEND_M = 20.0
"""How far outlines may lie off the ground between their points."""

_GEOD = Geod(ellps="WGS84")

type Pairs = Int[np.ndarray, "k 2"]
"""Positions of two grounds, the first below the second."""


@dataclass(frozen=True, eq=False)
class Grounds:
    """Where images lie.

    Attributes:
        ground: Position of each image's ground, in the order of ids; -1 without georeference.
        outlines: Of each ground, in degrees (OGC:CRS84).
        gsd_m: Ground sampling distance of the finest image of each.
        systems: The CRSs there are.
        crs: Number of the CRS of each.
        bounds: West, south, east, north in its CRS.
        pixel: Width and height of a pixel of the finest image in its CRS.
    """

    ground: Int[np.ndarray, " n"]
    outlines: np.ndarray
    gsd_m: Float[np.ndarray, " g"]
    systems: tuple[CRS | None, ...]
    crs: Int[np.ndarray, " g"]
    bounds: Float[np.ndarray, "g 4"]
    pixel: Float[np.ndarray, "g 2"]

    @classmethod
    def of(cls, *views: Catalog) -> "Grounds":
        """Find the grounds of views; no image is opened.

        Args:
            views: Their images are numbered in order of ids, one view after the other.
        """
        tables = [view.sql("SELECT geometry, gsd_m FROM images ORDER BY id") for view in views]
        wkb, gsd_m = (
            np.concatenate([table[name].to_numpy() for table in tables])
            for name in ("geometry", "gsd_m")
        )
        outlines = shapely.from_wkb(wkb)
        placed = np.flatnonzero(~(shapely.is_missing(outlines) | shapely.is_empty(outlines)))
        grids = Grids.joined([view.images.grids for view in views])[placed]
        rectangles = np.column_stack([grids.crs, grids.bounds])
        _, first, ground = np.unique(rectangles, axis=0, return_index=True, return_inverse=True)
        grounds = np.full(len(outlines), -1)
        grounds[placed] = ground
        pixel = np.full((len(first), 2), np.inf)
        np.minimum.at(pixel, ground, np.abs(grids.transforms[:, [0, 4]]))
        finest = np.full(len(first), np.inf)
        np.minimum.at(finest, ground, gsd_m[placed])
        return cls(
            ground=grounds,
            outlines=outlines[placed[first]],
            gsd_m=finest,
            systems=grids.systems,
            crs=grids.crs[first],
            bounds=grids.bounds[first],
            pixel=pixel,
        )

    def __len__(self) -> int:
        return len(self.outlines)

    def overlapping(self) -> Pairs:
        """The pairs that show some of the same ground."""
        pairs, shift = self._neighbours(_BEND_M)
        first, second = pairs.T
        same = self.crs[first] == self.crs[second]
        same &= ~self._may_meet_elsewhere(pairs, shift)
        deep = np.empty(len(pairs), bool)
        deep[same] = self._overlap_px(pairs[same]) > TOUCHING_PX
        first, second = pairs[~same].T
        shared = shapely.intersection(self.outlines[first], self.outlines[second])
        around = length_m(shared, "OGC:CRS84")
        depth_m = 2 * area_m2(shared, "OGC:CRS84") / np.where(around > 0, around, 1)
        finer = np.minimum(self.gsd_m[first], self.gsd_m[second])
        deep[~same] = depth_m > TOUCHING_PX * finer
        return _once(pairs[deep])

    def near(self, distance_m: float) -> Pairs:
        """The pairs with less than a distance between them, in metres on the ground."""
        pairs, shift = self._neighbours(distance_m)
        first, second = shifted(self.outlines[pairs[:, 0]], shift), self.outlines[pairs[:, 1]]
        return _once(pairs[_distance_m(first, second) < distance_m])

    def area_m2(self, chosen: Bool[np.ndarray, " g"], overlapping: Pairs) -> float:
        """Geodesic area of some grounds; what several of them show counts once.

        Args:
            chosen: Which.
            overlapping: The pairs that overlap.
        """
        lapping = np.zeros(len(self), bool)
        lapping[overlapping[chosen[overlapping].all(axis=1)]] = True
        apart = area_m2(self.outlines[chosen & ~lapping], "OGC:CRS84").sum()
        return float(apart + area_m2([shapely.union_all(self.outlines[lapping])], "OGC:CRS84")[0])

    def clusters(self, overlapping: Pairs) -> Int[np.ndarray, " g"]:
        """Number of the cluster of each: a chain of overlaps makes one."""
        ones = np.ones(len(overlapping), bool)
        links = sparse.coo_array((ones, tuple(overlapping.T)), shape=(len(self), len(self)))
        return sparse.csgraph.connected_components(links, directed=False)[1]

    def _neighbours(self, margin_m: float) -> tuple[Pairs, Float[np.ndarray, " k"]]:
        """Pairs whose bounds come within a margin, and by how many degrees the first is shifted.

        Outlines that are cut at the antimeridian are looked at part by part. What lies just west of
        it is also looked for 360 degrees further west.
        """
        parts, owner = shapely.get_parts(self.outlines, return_index=True)
        west, south, east, north = shapely.bounds(parts).T
        margin = margin_m / _DEGREE_M
        polewards = np.minimum(np.maximum(np.abs(south), np.abs(north)) + margin, 89.999)
        wide = margin / np.cos(np.radians(polewards))
        boxes = shapely.box(west - wide, south - margin, east + wide, north + margin)
        tree = shapely.STRtree(parts)
        here = owner[tree.query(boxes).T]
        here = here[here[:, 0] < here[:, 1]]
        beyond = np.flatnonzero(east + wide > 180)
        there = tree.query(shifted(boxes[beyond], np.full(len(beyond), -360.0))).T
        there[:, 0] = beyond[there[:, 0]]
        there = owner[there]
        there = there[there[:, 0] != there[:, 1]]
        if len(parts) > len(self):  # several parts of two may be near
            here, there = np.unique(here, axis=0), np.unique(there, axis=0)
        shift = np.r_[np.zeros(len(here)), np.full(len(there), -360.0)]
        return np.concatenate([here, there]), shift

    def _may_meet_elsewhere(
        self, pairs: Pairs, shift: Float[np.ndarray, " k"]
    ) -> Bool[np.ndarray, " k"]:
        """Which pairs of one CRS may show the same ground at coordinates that are far apart.

        Only where their CRS ends at the antimeridian, as degrees and the Mercator projection do,
        and only of images that reach it.
        """
        west, _, east, _ = shapely.bounds(self.outlines).T
        reaching = (west <= -180) | (east >= 180)
        asked = np.flatnonzero((shift != 0) | reaching[pairs].any(axis=1))
        crs = self.crs[pairs[asked, 0]]
        torn = [n for n in np.unique(crs) if ends_at_the_antimeridian(self.systems[n])]
        found = np.zeros(len(pairs), bool)
        found[asked] = np.isin(crs, torn)
        return found

    def _overlap_px(self, pairs: Pairs) -> Float[np.ndarray, " k"]:
        """How deeply grounds of one CRS overlap, in pixels of the finer; below 0 they do not."""
        first, second = self.bounds[pairs[:, 0]], self.bounds[pairs[:, 1]]
        low = np.maximum(first[:, :2], second[:, :2])
        high = np.minimum(first[:, 2:], second[:, 2:])
        finer = np.minimum(self.pixel[pairs[:, 0]], self.pixel[pairs[:, 1]])
        return ((high - low) / finer).min(axis=1)


def _once(pairs: Pairs) -> Pairs:
    """Each pair once, in order, the lower position first."""
    low, high = np.sort(pairs, axis=1).T
    width = int(high.max(initial=0)) + 1
    return np.stack(np.divmod(np.unique(low * width + high), width), axis=1)


def _distance_m(first: np.ndarray, second: np.ndarray) -> Float[np.ndarray, " k"]:
    """Geodesic distance between geometries that lie near each other."""
    south = np.maximum(shapely.bounds(first)[:, 1], shapely.bounds(second)[:, 1])
    north = np.minimum(shapely.bounds(first)[:, 3], shapely.bounds(second)[:, 3])
    squeeze = np.cos(np.radians((south + north) / 2))  # of a degree of longitude, where they meet

    def squeezed(shapes: np.ndarray) -> np.ndarray:
        xy, owner = shapely.get_coordinates(shapes, return_index=True)
        xy[:, 0] *= squeeze[owner]
        return shapely.set_coordinates(shapes.copy(), xy)

    between = shapely.get_coordinates(shapely.shortest_line(squeezed(first), squeezed(second)))
    ends = between.reshape(-1, 2, 2) / np.stack([squeeze, np.ones_like(squeeze)], axis=1)[:, None]
    _, _, metres = _GEOD.inv(*ends[:, 0].T, *ends[:, 1].T)
    return np.asarray(metres)
