"""How well a building map agrees with the truth: by pixel, and building by building.

Pixels are those of the scene, so that scores do not depend on how either file was drawn. Buildings
are matched one to one where they cover each other by an IoU of at least 0.5 (the SpaceNet rule; as
many matches as possible, which matters only where polygons of one file overlap).

A scene's border cuts buildings. Of each, only the part on valid pixels of the scene counts; a true
building of which less than a tenth or less than ``SLIVER_M2`` is left is ignored, and so is a
mapped building that lies mostly on such a one: neither finding it nor missing it says anything.
"""

from collections.abc import Callable
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from scipy import sparse

from gv_data.grid import Grid
from gv_data.vectors.geodesy import area_m2
from gv_data.vectors.polygons import rasterize, repair

MATCH_IOU = 0.5
"""IoU from which two buildings are the same."""

SLIVER_SHARE = 0.1
SLIVER_M2 = 2.0

_STRIP_PX = 8_000_000
"""Pixels compared at once."""

_PAIRS = 100_000
"""Pairs of polygons intersected at once."""

type ValidRows = Callable[[int, int], Bool[np.ndarray, "h w"]]
"""From the first and the last row (exclusive) to where the scene has data in them."""


@dataclass(frozen=True)
class Scores:
    """Counts, and the figures that follow from them; adding two pools their scenes exactly.

    A figure is NaN where there is nothing to tell: precision when nothing was mapped, recall when
    there is no truth, IoU and F1 when there is neither.

    Attributes:
        tp: Pixels of buildings found.
        fp: Pixels mapped that are no building.
        fn: Pixels of buildings missed.
        object_tp: Buildings found.
        object_fp: Buildings mapped that do not exist.
        object_fn: Buildings missed.
        ignored: Buildings of either file left out as slivers.
        objects: One table a scene, in its CRS: ``source`` (map or truth), ``row`` (in that file),
            ``iou`` (best with any building of the other), ``result`` (hit, missed, false, ignored),
            ``geometry`` (cut at the scene's border).
    """

    tp: int
    fp: int
    fn: int
    object_tp: int
    object_fp: int
    object_fn: int
    ignored: int
    objects: tuple[gpd.GeoDataFrame, ...]

    @property
    def iou(self) -> float:
        """Intersection over union of the pixels."""
        return _ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def precision(self) -> float:
        """Share of the pixels mapped that are buildings."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float:
        """Share of the pixels of buildings that were mapped."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def object_precision(self) -> float:
        """Share of the buildings mapped that exist."""
        return _ratio(self.object_tp, self.object_tp + self.object_fp)

    @property
    def object_recall(self) -> float:
        """Share of the buildings that were mapped."""
        return _ratio(self.object_tp, self.object_tp + self.object_fn)

    @property
    def object_f1(self) -> float:
        """Harmonic mean of both."""
        return _ratio(2 * self.object_tp, 2 * self.object_tp + self.object_fp + self.object_fn)

    def __add__(self, other: "Scores") -> "Scores":
        return Scores(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            object_tp=self.object_tp + other.object_tp,
            object_fp=self.object_fp + other.object_fp,
            object_fn=self.object_fn + other.object_fn,
            ignored=self.ignored + other.ignored,
            objects=self.objects + other.objects,
        )


def score(
    mapped: gpd.GeoDataFrame,
    truth: gpd.GeoDataFrame,
    grid: Grid,
    *,
    valid_rows: ValidRows | None = None,
) -> Scores:
    """Compare a map with the truth on one scene.

    Args:
        mapped: Buildings of the map, in any CRS; not only this scene's.
        truth: True buildings, in any CRS; not only this scene's.
        grid: The scene's pixels.
        valid_rows: Where the scene has data and the truth is complete; None is everywhere.

    Returns:
        The scores. Memory grows with the buildings, not with the pixels.
    """
    ours, theirs = _Buildings(mapped, grid), _Buildings(truth, grid)
    tp = fp = fn = 0
    rows = max(1, _STRIP_PX // grid.width_px)
    for top in range(0, grid.height_px, rows):
        bottom = min(top + rows, grid.height_px)
        strip = grid.part(top, 0, bottom - top, grid.width_px)
        valid = np.ones(strip.shape_hw, bool) if valid_rows is None else valid_rows(top, bottom)
        found, real = ours.burnt(strip, valid), theirs.burnt(strip, valid)
        both = int(np.count_nonzero(found & real))
        tp += both
        fp += int(np.count_nonzero(found)) - both
        fn += int(np.count_nonzero(real)) - both
    first, second, iou, share_first = _overlaps(ours.shapes, theirs.shapes)
    partner = _pairing(first[iou >= MATCH_IOU], second[iou >= MATCH_IOU], len(ours), len(theirs))

    sliver = theirs.slivers()
    real_hit = np.isin(np.arange(len(theirs)), partner)
    real_result = np.where(sliver, "ignored", np.where(real_hit, "hit", "missed"))

    on_slivers = np.bincount(first, share_first * sliver[second], len(ours)) >= MATCH_IOU
    excused = np.where(on_slivers | ours.slivers(), "ignored", "false")
    paired = partner >= 0
    found_result = excused.copy()
    found_result[paired] = np.where(sliver[partner[paired]], "ignored", "hit")

    results = np.concatenate([found_result, real_result])
    best = [_best(first, iou, len(ours)), _best(second, iou, len(theirs))]
    objects = gpd.GeoDataFrame(
        {
            "source": ["map"] * len(ours) + ["truth"] * len(theirs),
            "row": np.concatenate([ours.rows, theirs.rows]),
            "iou": np.concatenate(best),
            "result": results,
        },
        geometry=np.concatenate([ours.shapes, theirs.shapes]),
        crs=grid.crs,
    )
    return Scores(
        tp=tp,
        fp=fp,
        fn=fn,
        object_tp=int((real_result == "hit").sum()),
        object_fp=int((results == "false").sum()),
        object_fn=int((results == "missed").sum()),
        ignored=int((results == "ignored").sum()),
        objects=(objects,),
    )


class _Buildings:
    """Buildings cut at a scene's border, and how much of each lies on valid pixels."""

    def __init__(self, frame: gpd.GeoDataFrame, grid: Grid) -> None:
        here = frame.geometry
        if grid.crs is not None and here.crs is not None:
            here = here.to_crs(grid.crs)
        here = here.to_numpy()
        usable = repair(here[np.isfinite(shapely.bounds(here)).all(axis=1)])  # far off: inf
        footprint = shapely.box(*grid.bounds)
        inside = shapely.covers(footprint, usable.geometries)
        cut = usable.geometries.copy()
        cut[~inside] = shapely.intersection(cut[~inside], footprint)
        meets = shapely.area(cut) > 0
        left = repair(cut[meets])  # a cut may leave lines and points beside the polygons
        self.shapes = left.geometries
        self.rows: Int[np.ndarray, " n"] = usable.index[meets][left.index]
        self._crs = grid.crs
        self._inside = shapely.area(self.shapes) / shapely.area(
            usable.geometries[meets][left.index]
        )
        self._pixels = np.zeros((2, len(self.shapes)), np.int64)  # all, valid
        self._tree = shapely.STRtree(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def burnt(self, strip: Grid, valid: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        """The buildings' valid pixels in a strip, which are noted for each building as well."""
        near = np.sort(self._tree.query(shapely.box(*strip.bounds)))
        labels = rasterize(
            self.shapes[near],
            strip.transform,
            strip.shape_hw,
            values=np.arange(1, len(near) + 1),
            dtype=np.int32,
        )
        built = labels > 0
        self._pixels[0, near] += np.bincount(labels[built], minlength=len(near) + 1)[1:]
        built &= valid
        self._pixels[1, near] += np.bincount(labels[built], minlength=len(near) + 1)[1:]
        return built

    def slivers(self) -> Bool[np.ndarray, " n"]:
        """Which are what border and invalid pixels left of a building, and too little of it."""
        pixels, valid = self._pixels
        share = self._inside * np.where(pixels > 0, valid / np.maximum(pixels, 1), 1.0)
        small = share < SLIVER_SHARE
        if self._crs is not None:
            whole_m2 = area_m2(self.shapes, self._crs) / self._inside
            small |= whole_m2 * share < SLIVER_M2
        return small & (share < 1 - 1e-9)


def _overlaps(
    ours: NDArray[np.object_], theirs: NDArray[np.object_]
) -> tuple[
    Int[np.ndarray, " p"], Int[np.ndarray, " p"], Float[np.ndarray, " p"], Float[np.ndarray, " p"]
]:
    """Pairs that meet: position in each file, IoU, and the share of ours that is covered."""
    first, second = shapely.STRtree(theirs).query(ours, predicate="intersects")
    common = np.zeros(len(first))
    for start in range(0, len(first), _PAIRS):
        part = slice(start, start + _PAIRS)
        common[part] = shapely.area(shapely.intersection(ours[first[part]], theirs[second[part]]))
    area, other = shapely.area(ours)[first], shapely.area(theirs)[second]
    return first, second, common / (area + other - common), common / area


def _pairing(
    first: Int[np.ndarray, " p"], second: Int[np.ndarray, " p"], ours: int, theirs: int
) -> Int[np.ndarray, " n"]:
    """Partner of each of ours, or -1: one to one, as many pairs as possible."""
    if not ours or not theirs:
        return np.full(ours, -1)
    graph = sparse.csr_array((np.ones(len(first), bool), (first, second)), shape=(ours, theirs))
    return sparse.csgraph.maximum_bipartite_matching(graph, perm_type="column")


def _best(
    owner: Int[np.ndarray, " p"], iou: Float[np.ndarray, " p"], count: int
) -> Float[np.ndarray, " n"]:
    best = np.zeros(count)
    np.maximum.at(best, owner, iou)
    return best


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")
