"""Buildings out of two probability rasters of any size, strip by strip in bounded memory.

A pixel belongs to a building when its interior probability is high. Where the edge probability is
low as well it is core; connected cores are one building each, so that touching buildings part along
their shared wall. Each core then grows back over the building pixels around it, one pixel a step;
building pixels that no core reaches are buildings of their own (core and rim of Open Buildings,
https://arxiv.org/abs/2107.12283, without its watershed).

The result does not depend on how the raster is cut into strips. Rows are labelled as they come and
components that meet at a strip's edge become one; whether a core is large enough and how far it
grows is decided only once the rows that matter are known. A building's pieces, with corners at
integers, are then joined exactly.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray
from scipy import ndimage, sparse

from gv_data.errors import RasterError
from gv_data.vectors.polygons import polygonize_labels

PROBABILITY_ONE = 200
"""Stored value of probability 1 in a uint8 probability raster; 0 is 0."""

NODATA = 255

type Strip = tuple[UInt8[np.ndarray, "h w"], UInt8[np.ndarray, "h w"]]
"""Interior and edge probability of the next rows, as stored."""


@dataclass(frozen=True)
class Splitting:
    """How pixels become buildings."""

    threshold: float = 0.5
    """Interior probability from which a pixel belongs to a building."""

    edge_threshold: float = 0.5
    """Edge probability from which it does not belong to a core."""

    grow_px: int = 3
    """How far a core grows, along rows and columns; at least the width of the edges trained on."""

    min_core_px: int = 8
    """Smaller cores do not count; their pixels may go to a neighbour."""

    min_px: int = 1
    """Smaller buildings are left out."""

    simplify_px: float = 0.0
    """How far an outline may leave the pixel edges (Douglas-Peucker; rings stay rings)."""


@dataclass(frozen=True)
class Instances:
    """Finished buildings."""

    polygons: NDArray[np.object_]
    """Valid polygons in pixels: x to the right, y down, from the raster's upper left corner."""

    confidence: Float[np.ndarray, " n"]
    """Mean interior probability, in [0, 1]."""

    pixels: Int[np.ndarray, " n"]
    """Number of pixels, before simplifying."""

    def __len__(self) -> int:
        return len(self.polygons)


def stored_from(threshold: float) -> int:
    """Smallest stored value of the probabilities that reach a threshold in [0, 1]."""
    return ceil(round(threshold * PROBABILITY_ONE, 6))


def instances(strips: Iterable[Strip], splitting: Splitting | None = None) -> Iterator[Instances]:
    """Find buildings.

    Args:
        strips: Consecutive strips of all columns, from the top; any number of rows each (512 to
            1,024 are quick). Stored as 0 to ``PROBABILITY_ONE``, ``NODATA`` is no building.
        splitting: How pixels become buildings.

    Yields:
        Buildings as soon as they are complete. Sorted, they are the same for any strips.
    """
    tracker = None
    for interior, edge in strips:
        tracker = tracker or _Tracker(splitting or Splitting(), interior.shape[1])
        tracker.read(interior, edge)
        yield from tracker.finished(last=False)
    if tracker is not None:
        yield from tracker.finished(last=True)


class _Tracker:
    """Rows that are still needed, and buildings that may still grow.

    Rows enter by `read` and are decided in bands: a band's rows are those whose cores can no longer
    turn out larger (``min_core_px`` rows ahead are known) nor be reached by unknown cores
    (``grow_px`` rows more). Label 0 is none; core labels are kept compact, 1 to ``len(sizes) - 1``.
    """

    def __init__(self, splitting: Splitting, width: int) -> None:
        self.splitting = splitting
        self.cores = np.zeros((0, width), np.int32)
        self.interior = np.zeros((0, width), np.uint8)
        self.sizes = np.zeros(1, np.int64)
        """Pixels so far of each core, also in rows that are gone."""
        self.top = 0
        """Row of the raster at which the rows kept begin."""
        self.decided = 0
        """Row of the raster before which all is decided."""
        self.rest = np.zeros(width, np.int32)
        """Labels, in the last row decided, of building pixels that no core reached."""
        self.rest_count = 0
        self.core_pieces = _Pieces.none()
        self.rest_pieces = _Pieces.none()

    def read(self, interior: UInt8[np.ndarray, "h w"], edge: UInt8[np.ndarray, "h w"]) -> None:
        """Label the cores of new rows and join them to those above."""
        if interior.shape != edge.shape or interior.shape[1] != self.cores.shape[1]:
            raise RasterError(
                f"strips of {self.cores.shape[1]} columns cannot go on with an interior of "
                f"{interior.shape} and an edge of {edge.shape}"
            )
        inside = self._inside(interior)
        low_edge = edge < stored_from(self.splitting.edge_threshold)
        labels, count = ndimage.label(inside & low_edge)
        known = len(self.sizes) - 1
        sizes = np.r_[self.sizes, np.bincount(labels.ravel(), minlength=count + 1)[1:]]
        labels = np.where(labels > 0, labels + known, 0)
        if len(self.cores) and len(labels):
            renamed = _joined(self.cores[-1], labels[0], known + count)
            self.cores, labels = renamed[self.cores], renamed[labels]
            self.core_pieces = self.core_pieces.renamed(renamed)
            sizes = np.bincount(renamed, weights=sizes).astype(np.int64)
        self.sizes = sizes
        self.cores = np.concatenate([self.cores, labels])
        self.interior = np.concatenate([self.interior, interior])

    def finished(self, *, last: bool) -> Iterator[Instances]:
        """Decide what rows can be decided, and hand out what is complete."""
        grow, end = self.splitting.grow_px, self.top + len(self.cores)
        until = end if last else end - grow - max(self.splitting.min_core_px, 1)
        if until > self.decided:
            self._decide(until)
        past = len(self.cores) if last else max(self.decided - grow - self.top, 0)
        self.cores, self.interior = self.cores[past:], self.interior[past:]
        self.top += past
        if last:
            self.rest[:] = 0
        for pieces in self._complete():
            found = _assembled(pieces, self.splitting)
            if len(found):
                yield found

    def _decide(self, until: int) -> None:
        """Grow the cores in the rows from ``decided`` to ``until`` and outline the buildings."""
        grow = self.splitting.grow_px
        above = max(self.decided - grow, self.top) - self.top
        near = slice(above, until + grow - self.top)
        band = slice(self.decided - self.top - above, until - self.top - above)
        large = self.sizes >= self.splitting.min_core_px
        large[0] = False
        names = np.where(large, np.arange(len(large)), 0).astype(np.int32)
        inside = self._inside(self.interior[near])
        grown = _grown(names[self.cores[near]], inside, grow)[band]

        rest, count = ndimage.label(inside[band] & (grown == 0))
        rest = np.where(rest > 0, rest + self.rest_count, 0)
        renamed = _joined(self.rest, rest[0], self.rest_count + count)
        rest = renamed[rest]
        self.rest_pieces = self.rest_pieces.renamed(renamed)

        cores = len(self.sizes) - 1
        both = np.where(rest > 0, rest + cores, grown)  # outlined at once: half the time
        both = _without_specks(both, self.splitting.min_px)
        of_cores, of_rest = _outlined(both, self.interior[near][band], self.decided).parted(cores)
        self.core_pieces = self.core_pieces.plus(of_cores)
        self.rest_pieces = self.rest_pieces.plus(of_rest)
        self.rest, self.rest_count = rest[-1], int(renamed.max())
        self.decided = until

    def _complete(self) -> tuple["_Pieces", "_Pieces"]:
        """Take out the pieces no row can add to; name the labels left anew, from 1 on."""
        renamed = _compact(self.cores, len(self.sizes))
        done_cores, self.core_pieces = self.core_pieces.split(renamed)
        sizes = np.zeros(renamed.max() + 1, np.int64)
        sizes[renamed] = np.where(renamed > 0, self.sizes, 0)
        self.cores, self.sizes = renamed[self.cores], sizes
        renamed = _compact(self.rest, self.rest_count + 1)
        done_rest, self.rest_pieces = self.rest_pieces.split(renamed)
        self.rest, self.rest_count = renamed[self.rest], int(renamed.max())
        return done_cores, done_rest

    def _inside(self, interior: UInt8[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
        return (interior >= stored_from(self.splitting.threshold)) & (interior != NODATA)


@dataclass(frozen=True)
class _Pieces:
    """Parts of buildings in the bands decided; a label's figures stand at one of its parts."""

    polygons: NDArray[np.object_]
    labels: Int[np.ndarray, " n"]
    pixels: Int[np.ndarray, " n"]
    sums: Int[np.ndarray, " n"]
    """Of the stored interior probability: whole numbers, so that their order does not matter."""

    @classmethod
    def none(cls) -> "_Pieces":
        nothing = np.zeros(0, np.int64)
        return cls(np.zeros(0, object), nothing, nothing, nothing)

    def plus(self, other: "_Pieces") -> "_Pieces":
        return _Pieces(
            np.concatenate([self.polygons, other.polygons]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.pixels, other.pixels]),
            np.concatenate([self.sums, other.sums]),
        )

    def renamed(self, names: Int[np.ndarray, " k"]) -> "_Pieces":
        return replace(self, labels=names[self.labels])

    def split(self, names: Int[np.ndarray, " k"]) -> tuple["_Pieces", "_Pieces"]:
        """Those whose label gets no name, as they are, and the others, renamed."""
        done = names[self.labels] == 0
        return self._only(done), self._only(~done).renamed(names)

    def parted(self, most: int) -> tuple["_Pieces", "_Pieces"]:
        """Those with labels up to ``most``, and the others with theirs counted from there."""
        upper = self._only(self.labels > most)
        return self._only(self.labels <= most), replace(upper, labels=upper.labels - most)

    def _only(self, chosen: Bool[np.ndarray, " n"]) -> "_Pieces":
        return _Pieces(
            self.polygons[chosen], self.labels[chosen], self.pixels[chosen], self.sums[chosen]
        )


def _joined(
    above: Int[np.ndarray, " w"], below: Int[np.ndarray, " w"], count: int
) -> Int[np.ndarray, " k"]:
    """New names for the labels 0 to ``count``, one for all that meet between two rows; 0 stays."""
    meet = (above > 0) & (below > 0)
    ones = np.ones(int(meet.sum()), bool)
    graph = sparse.coo_array((ones, (above[meet], below[meet])), shape=(count + 1, count + 1))
    _, names = sparse.csgraph.connected_components(graph, directed=False)
    return names.astype(np.int32)


def _compact(labels: Int[np.ndarray, "..."], count: int) -> Int[np.ndarray, " k"]:
    """New names, from 1 on, for those of ``count`` labels that occur; 0 for the others."""
    occurs = np.zeros(count, bool)
    occurs[labels.ravel()] = True
    occurs[0] = False
    return np.where(occurs, np.cumsum(occurs), 0).astype(np.int32)


def _grown(
    seeds: Int[np.ndarray, "h w"], inside: Bool[np.ndarray, "h w"], steps: int
) -> Int[np.ndarray, "h w"]:
    """Seeds after growing over ``inside``, one pixel along rows and columns a step.

    Between two seeds that arrive at once, the one above wins, then left, right, below: a rule of
    place, not of label, hence the same in any strip.
    """
    grown = np.pad(seeds, 1)
    flat, stride = grown.reshape(-1), grown.shape[1]
    open_pixels = np.flatnonzero(np.pad(inside, 1) & (grown == 0))
    for _ in range(steps):
        arriving = flat[open_pixels - stride]
        for offset in (-1, 1, stride):
            arriving = np.where(arriving > 0, arriving, flat[open_pixels + offset])
        reached = arriving > 0
        flat[open_pixels[reached]] = arriving[reached]
        open_pixels = open_pixels[~reached]
    return grown[1:-1, 1:-1]


def _without_specks(labels: Int[np.ndarray, "h w"], min_px: int) -> Int[np.ndarray, "h w"]:
    """A band without what is too small in it and cannot go on outside: nine regions in ten."""
    small = np.bincount(labels.ravel()) < min_px
    small[labels[0]] = small[labels[-1]] = False
    return np.where(small[labels], 0, labels)


def _outlined(
    labels: Int[np.ndarray, "h w"], interior: UInt8[np.ndarray, "h w"], top: int
) -> _Pieces:
    """Pieces of a band that begins at row ``top``."""
    labels = np.ascontiguousarray(labels)
    polygons, names = polygonize_labels(labels, Affine.translation(0, top))
    chosen = labels > 0
    pixels = np.bincount(labels[chosen])
    sums = np.bincount(labels[chosen], weights=interior[chosen]).astype(np.int64)
    _, first = np.unique(names, return_index=True)
    carries = np.zeros(len(names), np.int64)
    carries[first] = 1
    return _Pieces(polygons, names, carries * pixels[names], carries * sums[names])


def _assembled(pieces: _Pieces, splitting: Splitting) -> Instances:
    """Buildings from their pieces, in an order and with vertices that do not tell the strips."""
    _, group = np.unique(pieces.labels, return_inverse=True)
    pixels = np.bincount(group, weights=pieces.pixels).astype(np.int64)
    sums = np.bincount(group, weights=pieces.sums)
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(len(pixels) + 1))
    large = np.flatnonzero(pixels >= splitting.min_px)
    polygons = np.empty(len(large), object)
    for i, (start, stop) in enumerate(zip(bounds[large], bounds[large + 1], strict=True)):
        parts = pieces.polygons[order[start:stop]]
        polygons[i] = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    polygons = _corners_only(polygons)
    if splitting.simplify_px > 0:
        polygons = _simplified(polygons, splitting.simplify_px)
    confidence = sums[large] / pixels[large] / PROBABILITY_ONE
    return Instances(polygons, confidence, pixels[large])


def _simplified(polygons: NDArray[np.object_], tolerance_px: float) -> NDArray[np.object_]:
    """Polygons with fewer vertices, valid and with all their rings, within the tolerance.

    Plain Douglas-Peucker of the rings is ten times as fast as the one that keeps the topology,
    which only those go through whose rings then cross or collapse.
    """
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    lines = shapely.linestrings(xy, indices=ring)
    lines = shapely.simplify(lines, tolerance_px, preserve_topology=False)
    collapsed = np.unique(owner[shapely.get_num_coordinates(lines) < 4])
    xy, ring = shapely.get_coordinates(lines, return_index=True)
    broken = np.zeros(len(polygons), bool)
    broken[collapsed] = True
    kept = ~broken[owner[ring]]
    _, numbered = np.unique(ring[kept], return_inverse=True)
    owners = owner[np.unique(ring[kept])]
    simple = polygons.copy()
    if kept.any():
        _, which = np.unique(owners, return_inverse=True)
        closed = shapely.linearrings(xy[kept], indices=numbered)
        simple[np.unique(owners)] = shapely.polygons(closed, indices=which)
    broken |= ~shapely.is_valid(simple)
    simple[broken] = shapely.simplify(polygons[broken], tolerance_px, preserve_topology=True)
    return np.where(_alike(simple, polygons), simple, polygons)


def _alike(polygons: NDArray[np.object_], originals: NDArray[np.object_]) -> Bool[np.ndarray, " n"]:
    """Whether each is still one valid polygon with as many holes."""
    holes = shapely.get_num_interior_rings
    return (
        shapely.is_valid(polygons)
        & (holes(polygons) == holes(originals))
        & (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON)
        & ~shapely.is_empty(polygons)
    )


def _corners_only(polygons: NDArray[np.object_]) -> NDArray[np.object_]:
    """Rectilinear polygons without the vertices that joining left on straight sides."""
    if not len(polygons):
        return polygons
    rings, owner = shapely.get_rings(polygons, return_index=True)
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    starts = np.searchsorted(ring, np.arange(len(rings)))
    ends = np.r_[starts[1:], len(xy)] - 1  # the closing vertex repeats the first
    before, after = np.arange(len(xy)) - 1, np.arange(len(xy)) + 1
    before[starts] = ends - 1
    after[ends] = starts + 1
    straight = ((xy[before] == xy) & (xy == xy[after])).any(axis=1)
    straight[ends] = True
    corners = ~straight
    closed = shapely.linearrings(xy[corners], indices=ring[corners])
    return shapely.normalize(shapely.polygons(closed, indices=owner))
