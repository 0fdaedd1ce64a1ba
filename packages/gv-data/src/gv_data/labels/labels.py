"""Polygons that say what an image shows, held in memory and found by place.

A label file is read once. Its polygons are brought into the CRS of each image that asks and indexed
there, so that a window costs a look-up and a rasterisation, not another reading.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Bool, Float, Int
from pyproj import CRS

from gv_data.errors import VectorError
from gv_data.grid import Bounds, Grid, corners
from gv_data.images import Image
from gv_data.labels import coco, lines
from gv_data.labels.overlap import overlap
from gv_data.labels.placed import Placed, frames
from gv_data.store.grids import Grids
from gv_data.vectors import polygons, vector


@dataclass(frozen=True)
class Truth:
    """Labels on the pixels of a grid.

    Attributes:
        instances: Number of the polygon that covers each pixel's centre, from 1; 0 is none.
        classes: Class of that polygon, from 1; 0 is none.
        labelled: Where labels are complete; elsewhere nothing is known.
        features: Of each number in ``instances``, the feature in its file, counted from 1; 0 for
            none. Empty where labels are a mask.
    """

    instances: Int[np.ndarray, "h w"]
    classes: Int[np.ndarray, "h w"]
    labelled: Bool[np.ndarray, "h w"]
    features: Int[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Label polygons and the area in which they are complete.

    Attributes:
        path: The file.
        classes: Names of the classes, in the order of their numbers; empty where there is one.
        numbers: Class of each polygon, from 1.
        features: Its feature in the file, counted from 1.
        repaired: Number of polygons whose outline crossed itself and was mended.
        dropped: Number of features that are no polygon (lines, points, empty ones) or of no class.
        lines: How many of these are lines without a width.
        placed: The polygons.
        widened: How many were lines that a width made polygons.
        area: Where they are complete; None: everywhere.
        unclear: Regions in it in which objects were not told apart: there only polygons are known.
    """

    path: Path
    classes: tuple[str, ...]
    numbers: Int[np.ndarray, " n"]
    features: Int[np.ndarray, " n"]
    repaired: int
    dropped: int
    lines: int
    placed: Placed
    widened: int = 0
    area: Placed | None = None
    unclear: Placed | None = None

    @classmethod
    def from_frame(
        cls,
        path: Path,
        frame: gpd.GeoDataFrame,
        area: gpd.GeoDataFrame | None = None,
        *,
        column: str | None = None,
        classes: Sequence[str] = (),
    ) -> "Labels":
        """Labels from features.

        Args:
            path: Their file, for errors.
            frame: The features.
            area: Inside these polygons labels are complete; None means everywhere.
            column: As in `read`.
            classes: As in `read`.

        Raises:
            VectorError: If the column is missing or there is no polygon.
        """
        names, numbers = _classes(path, frame, column, classes)
        given = frame.geometry.to_numpy()
        mended = polygons.repair(given[numbers > 0])
        unwidened = int(np.count_nonzero(lines.are_lines(given[numbers > 0])))
        if not len(mended.geometries):
            hint = (
                f": its {unwidened:,} lines have no width\n  try: --line-width M"
                if unwidened
                else ""
            )
            raise VectorError(f"{path} holds no polygon to learn from{hint}")
        complete = None
        if area is not None:
            inside = polygons.repair(area.geometry.to_numpy()).geometries
            if not len(inside):
                raise VectorError("the labelled area holds no polygon")
            complete = Placed(inside, CRS(area.crs))
        used = np.flatnonzero(numbers > 0)[mended.index]
        return cls(
            path,
            names,
            numbers[used],
            used + 1,
            repaired=mended.repaired,
            dropped=len(frame) - len(mended.geometries),
            lines=unwidened,
            placed=Placed(mended.geometries, CRS(frame.crs)),
            area=complete,
        )

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
        line_width_m: float | None = None,
        line_width_column: str | None = None,
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
            line_width_m: Width of lines on the ground, which makes them polygons.
            line_width_column: Attribute that says it for each line, in metres; where it does not,
                ``line_width_m`` does.

        Raises:
            VectorError: If a file cannot be read, lacks a column or holds no polygon.
        """
        files = [path] if labelled_area is None else [path, labelled_area]
        frames = [vector.read(file, crs_override=crs, swap_xy=swap_xy) for file in files]
        area = frames[1] if labelled_area else None
        frame, widened = lines.with_width(path, frames[0], line_width_m, line_width_column)
        labels = cls.from_frame(path, frame, area, column=column, classes=classes)
        return replace(labels, widened=widened)

    @classmethod
    def in_pixels(
        cls, path: Path, image: Path, grid: Grid, *, classes: Sequence[str] = ()
    ) -> "Labels":
        """The labels of one image in a COCO file, which is parsed once a process.

        Args:
            path: The file.
            image: The image, found in the file by its name.
            grid: Its first pixel is that of the image.
            classes: The categories wanted, in the order of their numbers. None given: all, in the
                order of their ids.

        Returns:
            Polygons in the CRS of the grid, none if the image shows none; crowds are `unclear`.

        Raises:
            VectorError: If the file cannot be read, does not name the image or has none of the
                classes.
        """
        file = coco.read(path)
        entry = file.entry_of(image)
        if entry is None:
            raise VectorError(f"{path} does not name the image {image.name}")
        names, number_of = file.numbered(classes)
        objects = file.objects(entry.number)
        numbers = number_of[objects.categories]
        transform = np.array(grid.transform[:6])
        geometries = shapely.transform(
            objects.geometries, lambda xy: np.stack(corners(transform, *xy.T), axis=1)
        )
        wanted = (numbers > 0) & ~objects.crowd
        mended = polygons.repair(geometries[wanted])
        crowd = polygons.repair(geometries[(numbers > 0) & objects.crowd]).geometries
        used = np.flatnonzero(wanted)[mended.index]
        return cls(
            path,
            names,
            numbers[used],
            objects.numbers[used] + 1,
            repaired=mended.repaired,
            dropped=int(np.count_nonzero(~objects.crowd)) - len(used),
            lines=0,
            placed=Placed(mended.geometries, grid.crs),
            unclear=Placed(crowd, grid.crs) if len(crowd) else None,
        )

    @classmethod
    def of(cls, image: Image) -> "Labels":
        """Read the labels of an image of a catalog.

        Raises:
            VectorError: If it has none or they cannot be read.
        """
        if image.vectors is None:
            raise VectorError(f"{image.id} has no labels\n  try: gv-data index ... --labels FILE")
        source = image.source
        match source.labels_format:
            case "vector":
                return cls.read(
                    image.vectors,
                    labelled_area=image.labelled_area,
                    crs=source.labels_crs,
                    swap_xy=source.labels_swapped,
                    column=source.label_column,
                    classes=source.classes,
                    line_width_m=source.line_width_m,
                    line_width_column=source.line_width_column,
                )
            case "coco":
                (row, column), shape_hw = image.origin, image.grid.shape_hw
                first = image.grid.part(-row, -column, *shape_hw)
                return cls.in_pixels(image.vectors, image.path, first, classes=source.classes)

    def __len__(self) -> int:
        return len(self.placed.geometries)

    @property
    def shapes(self) -> gpd.GeoSeries:
        """The polygons in their own CRS."""
        return gpd.GeoSeries(self.placed.geometries, crs=self.placed.crs)

    def reach(self, grid: Grid) -> bool:
        """Whether labels are complete anywhere on a grid's ground."""
        ground = shapely.box(*grid.bounds)
        return self.area is None or len(self.area.at(grid.crs, grid.bounds).query(ground)) > 0

    def touching(self, grid: Grid) -> Int[np.ndarray, " n"]:
        """Numbers of the polygons that touch a grid's ground."""
        return self.placed.at(grid.crs, grid.bounds).query(shapely.box(*grid.bounds))

    def polygons(self, grid: Grid) -> np.ndarray:
        """The polygons that touch a grid's ground, in its CRS."""
        return self.placed.at(grid.crs, grid.bounds).geometries[self.touching(grid)]

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
            bounds = grids.bounds[rows]
            _, frame = np.unique(frames(crs, bounds), axis=0, return_inverse=True)
            for alike in (np.flatnonzero(frame == n) for n in range(frame.max() + 1)):
                placed = self.placed.at(crs, tuple(bounds[alike[0]].tolist()))
                image, number = placed.tree.query(
                    shapely.box(*bounds[alike].T), predicate="intersects"
                )
                centres = shapely.get_coordinates(shapely.centroid(placed.geometries[number]))
                found.append((rows[alike[image]], number, centres))
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
        near = self.placed.at(grid.crs, grid.bounds).geometries[touching]
        instances = polygons.rasterize(
            near,
            grid.transform,
            grid.shape_hw,
            values=np.arange(1, len(near) + 1),
            dtype=np.int32,
        )
        labelled = np.ones(grid.shape_hw, bool)
        if self.area is not None:
            placed = self.area.at(grid.crs, grid.bounds)
            inside = placed.geometries[placed.query(shapely.box(*grid.bounds))]
            labelled = polygons.rasterize(inside, grid.transform, grid.shape_hw) > 0
        if self.unclear is not None:
            crowds = self.unclear.geometries[self.unclear.query(shapely.box(*grid.bounds))]
            crowd = polygons.rasterize(crowds, grid.transform, grid.shape_hw) > 0
            labelled &= ~crowd | (instances > 0)
        classes = np.concatenate([[0], self.numbers[touching]])[instances]
        return Truth(instances, classes, labelled, np.concatenate([[0], self.features[touching]]))

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
