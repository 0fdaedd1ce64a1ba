"""Polygons that say what an image shows, held in memory and found by place.

A label file is read once. Its polygons are brought into the CRS of each image that asks and indexed
there, so that a window costs a look-up and a rasterisation, not another reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from pyproj import CRS

from gv_data.errors import VectorError
from gv_data.grid import Bounds, Grid
from gv_data.images import Image
from gv_data.labels.overlap import overlap
from gv_data.store.grids import Grids
from gv_data.vectors import polygons, vector


@dataclass(frozen=True)
class Truth:
    """Labels on the pixels of a grid.

    Attributes:
        instances: Number of the polygon that covers each pixel's centre, from 1; 0 is none.
        classes: Class of that polygon, from 1; 0 is none.
        labelled: Where labels are complete; elsewhere nothing is known.
    """

    instances: Int[np.ndarray, "h w"]
    classes: Int[np.ndarray, "h w"]
    labelled: Bool[np.ndarray, "h w"]


class Labels:
    """Label polygons and the area in which they are complete.

    Attributes:
        path: The file.
        classes: Names of the classes, in the order of their numbers; empty where there is one.
        numbers: Class of each polygon, from 1.
        repaired: Number of polygons whose outline crossed itself and was mended.
        dropped: Number of features that are no polygon (lines, points, empty ones) or of no class.
    """

    def __init__(
        self,
        path: Path,
        frame: gpd.GeoDataFrame,
        area: gpd.GeoDataFrame | None,
        *,
        column: str | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        """Hold polygons; `read` is the usual way to get here."""
        self.path = path
        self.classes, numbers = _classes(path, frame, column, classes)
        mended = polygons.repair(frame.geometry.to_numpy()[numbers > 0])
        self.numbers = numbers[numbers > 0][mended.index]
        self.repaired, self.dropped = mended.repaired, len(frame) - len(mended.geometries)
        if not len(mended.geometries):
            raise VectorError(f"{path} holds no polygon to learn from")
        self._labels = _Placed(mended.geometries, CRS(frame.crs))
        self._area = None
        if area is not None:
            inside = polygons.repair(area.geometry.to_numpy()).geometries
            if not len(inside):
                raise VectorError("the labelled area holds no polygon")
            self._area = _Placed(inside, CRS(area.crs))

    @classmethod
    def read(
        cls,
        path: Path,
        *,
        labelled_area: Path | None = None,
        crs: str | None = None,
        swap_xy: bool = False,
        column: str | None = None,
        classes: Sequence[str] = (),
    ) -> "Labels":
        """Read a label file.

        Args:
            path: Polygons, in any CRS.
            labelled_area: Polygons inside which the labels are complete; None means everywhere.
            crs: CRS that both files are in, whatever they say.
            swap_xy: Whether both files hold y before x.
            column: Attribute that names the class of a polygon; None: there is one class.
            classes: The classes wanted, in the order of their numbers; polygons of others are left
                out. None given: all that occur, in alphabetical order.

        Raises:
            VectorError: If a file cannot be read, lacks the column or holds no polygon.
        """
        files = [path] if labelled_area is None else [path, labelled_area]
        frames = [vector.read(file, crs_override=crs, swap_xy=swap_xy) for file in files]
        area = frames[1] if labelled_area else None
        return cls(path, frames[0], area, column=column, classes=classes)

    @classmethod
    def of(cls, image: Image) -> "Labels":
        """Read the labels of an image of a catalog.

        Raises:
            VectorError: If it has none or they cannot be read.
        """
        if image.vectors is None:
            raise VectorError(f"{image.id} has no labels\n  try: gv-data index ... --labels FILE")
        return cls.read(
            image.vectors,
            labelled_area=image.labelled_area,
            crs=image.source.labels_crs,
            swap_xy=image.source.labels_swapped,
            column=image.source.label_column,
            classes=image.source.classes,
        )

    def __len__(self) -> int:
        return len(self._labels.geometries)

    @property
    def shapes(self) -> gpd.GeoSeries:
        """The polygons in their own CRS."""
        return gpd.GeoSeries(self._labels.geometries, crs=self._labels.crs)

    def reach(self, grid: Grid) -> bool:
        """Whether labels are complete anywhere on a grid's ground."""
        ground = shapely.box(*grid.bounds)
        return self._area is None or len(self._area.at(grid.crs).query(ground)) > 0

    def touching(self, grid: Grid) -> Int[np.ndarray, " n"]:
        """Numbers of the polygons that touch a grid's ground."""
        return self._labels.at(grid.crs).query(shapely.box(*grid.bounds))

    def polygons(self, grid: Grid) -> np.ndarray:
        """The polygons that touch a grid's ground, in its CRS."""
        return self._labels.at(grid.crs).geometries[self.touching(grid)]

    def on_images(
        self, grids: Grids
    ) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"], Float[np.ndarray, "n 2"]]:
        """Which polygons touch which grid's ground.

        Returns:
            Position of the grid, number of the polygon, and x and y of the polygon's centroid in
            the CRS of the grid.
        """
        found = []
        for crs, rows in grids.by_crs():
            placed = self._labels.at(crs)
            image, number = placed.tree.query(
                shapely.box(*grids.bounds[rows].T), predicate="intersects"
            )
            centres = shapely.get_coordinates(shapely.centroid(placed.geometries[number]))
            found.append((rows[image], number, centres))
        images, numbers, centres = map(np.concatenate, zip(*found, strict=True))
        return images, numbers, centres

    def on(self, grid: Grid) -> Truth:
        """The labels on the pixels of a grid.

        Args:
            grid: Georeferenced pixels.

        Returns:
            Which polygon covers each pixel's centre and where labels are complete.
        """
        touching = self.touching(grid)
        near = self._labels.at(grid.crs).geometries[touching]
        instances = polygons.rasterize(
            near,
            grid.transform,
            grid.shape_hw,
            values=np.arange(1, len(near) + 1),
            dtype=np.int32,
        )
        labelled = np.ones(grid.shape_hw, bool)
        if self._area is not None:
            placed = self._area.at(grid.crs)
            inside = placed.geometries[placed.query(shapely.box(*grid.bounds))]
            labelled = polygons.rasterize(inside, grid.transform, grid.shape_hw) > 0
        classes = np.concatenate([[0], self.numbers[touching]])[instances]
        return Truth(instances, classes, labelled)

    def why_outside(self, images: Sequence[Bounds], *, images_crs: CRS | str = "OGC:CRS84") -> str:
        """Explain that no label touches an image.

        Args:
            images: Bounds of the images in longitude and latitude.
            images_crs: CRS of the images: perhaps the labels are in it.

        Returns:
            Both extents, and what would bring them together.
        """
        boxes = gpd.GeoSeries([shapely.box(*bounds) for bounds in images], crs="OGC:CRS84")
        moved = boxes.to_crs(images_crs).bounds.to_numpy()
        footprints = [shapely.box(*bounds) for bounds in moved]
        apart = overlap(self.shapes, footprints, images_crs=images_crs)
        return apart.message(str(self.path), "the image" if len(images) == 1 else "the images")


def _classes(
    path: Path, frame: gpd.GeoDataFrame, column: str | None, wanted: Sequence[str]
) -> tuple[tuple[str, ...], Int[np.ndarray, " n"]]:
    """Names of the classes and the number of each feature, from 1; 0 is of none of them."""
    if column is None:
        return tuple(wanted[:1]), np.ones(len(frame), np.int64)
    if column not in frame.columns:
        columns = ", ".join(name for name in frame.columns if name != frame.geometry.name)
        raise VectorError(f"{path} has no column {column!r}, it has: {columns or 'none'}")
    named = frame[column]
    texts = np.where(named.isna(), "", named.astype(str).to_numpy(object))
    names = tuple(wanted) or tuple(sorted(set(texts) - {""}))
    number = {name: position for position, name in enumerate(names, 1)}
    return names, np.array([number.get(text, 0) for text in texts], np.int64)


class _Placed:
    """Polygons in one CRS, and on demand in others."""

    def __init__(self, geometries: np.ndarray, crs: CRS) -> None:
        self.geometries = geometries
        self.crs = crs
        self._elsewhere: dict[str, _Placed] = {}

    def at(self, crs: CRS | None) -> "_Placed":
        if crs is None:
            raise VectorError("labels cannot be laid over an image without CRS")
        if crs == self.crs:
            return self
        key = crs.to_wkt()
        if key not in self._elsewhere:
            moved = gpd.GeoSeries(self.geometries, crs=self.crs).to_crs(crs).to_numpy()
            lost = ~np.isfinite(shapely.bounds(moved)).all(axis=1)
            moved[lost] = shapely.Polygon()  # the CRS ends before: far from any image in it
            self._elsewhere[key] = _Placed(moved, crs)
        return self._elsewhere[key]

    @cached_property
    def tree(self) -> shapely.STRtree:
        return shapely.STRtree(self.geometries)

    def query(self, area: shapely.Geometry) -> Int[np.ndarray, " n"]:
        return np.sort(self.tree.query(area, predicate="intersects"))

    def __getstate__(self) -> dict[str, object]:
        return {k: v for k, v in self.__dict__.items() if k != "tree"}
