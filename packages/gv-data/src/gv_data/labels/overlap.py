"""Do labels lie on the images? Facts and a message; whoever asks decides what to do.

The usual reasons why not are tried: x and y swapped, or another CRS than the file says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import geopandas as gpd
import numpy as np
import shapely
from jaxtyping import Float
from pyproj import CRS, Transformer

_COMMON_CRS = ("EPSG:4326", "EPSG:3857")


@dataclass(frozen=True)
class Overlap:
    """How labels and images lie to each other."""

    labels: int
    """Labels that have a place."""

    inside: int
    """Labels whose centre lies on an image."""

    inside_swapped: int
    """Labels that would, were x and y swapped."""

    fitting_crs: str | None
    """CRS in which most labels would lie inside, when none does as given."""

    labels_bounds: tuple[float, float, float, float]
    """(west, south, east, north) in degrees, NaN where there are none."""

    images_bounds: tuple[float, float, float, float]
    """(west, south, east, north) in degrees."""

    labels_crs: str
    images_crs: str

    @property
    def share(self) -> float:
        """Share of labels inside, in [0, 1]; NaN without labels."""
        return self.inside / self.labels if self.labels else float("nan")

    def message(self, labels: str, images: str) -> str:
        """Say that they do not overlap, with both places and a way out if one was found.

        Args:
            labels: What the user calls the labels, e.g. a file name.
            images: What the user calls the image or images.

        Returns:
            Some lines, the first of which is a whole sentence.
        """
        lines = [
            f"{labels} and {images} do not overlap.",
            f"  labels  {_place(self.labels_bounds)}   ({self.labels_crs})",
            f"  image   {_place(self.images_bounds)}   ({self.images_crs})",
        ]
        if self.inside_swapped:
            lines += [
                f"  x and y of the labels look swapped: swapped, {self.inside_swapped:,} of "
                f"{self.labels:,} polygons would lie inside.",
                "  try: --swap-xy",
            ]
        elif self.fitting_crs:
            lines += [
                f"  taken as {self.fitting_crs}, labels would lie inside.",
                f"  try: --labels-crs {self.fitting_crs}",
            ]
        return "\n".join(lines)


def overlap(
    labels: gpd.GeoSeries, footprints: Sequence[shapely.Polygon], *, images_crs: CRS | str
) -> Overlap:
    """Compare where labels and images lie.

    Args:
        labels: Labels with their CRS; missing and empty ones do not count.
        footprints: Outline of each image.
        images_crs: CRS of the footprints.

    Returns:
        The facts; a label is taken for the centre of its bounding box.
    """
    boxes = labels.bounds.to_numpy()
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    labels_crs, images_crs = CRS.from_user_input(labels.crs), CRS.from_user_input(images_crs)
    images = shapely.STRtree(np.asarray(footprints, dtype=object))

    def inside(xy: Float[np.ndarray, "n 2"], crs: CRS | str) -> int:
        x, y = Transformer.from_crs(crs, images_crs, always_xy=True).transform(*xy.T)
        found = np.isfinite(x) & np.isfinite(y)
        points = shapely.points(np.asarray(x)[found], np.asarray(y)[found])
        return len(np.unique(images.query(points, predicate="intersects")[0]))

    as_given = inside(centres, labels_crs)
    others = {crs: inside(centres, crs) for crs in (images_crs.to_string(), *_COMMON_CRS)}
    best = max(others, key=lambda crs: others[crs])
    return Overlap(
        labels=len(centres),
        inside=as_given,
        inside_swapped=inside(centres[:, ::-1], labels_crs),
        fitting_crs=best if others[best] > 0 and not as_given else None,
        labels_bounds=_bounds_deg(boxes, labels_crs),
        images_bounds=_bounds_deg(shapely.bounds(images.geometries), images_crs),
        labels_crs=labels_crs.to_string(),
        images_crs=images_crs.to_string(),
    )


def _bounds_deg(boxes: Float[np.ndarray, "n 4"], crs: CRS) -> tuple[float, float, float, float]:
    """Bounds of all boxes in longitude and latitude."""
    if not len(boxes):
        return (float("nan"),) * 4
    to_degrees = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    west, south = boxes[:, :2].min(axis=0)
    east, north = boxes[:, 2:].max(axis=0)
    return to_degrees.transform_bounds(west, south, east, north)


def _place(bounds: tuple[float, float, float, float]) -> str:
    west, south, east, north = bounds
    return f"{west:.4f} .. {east:.4f} E, {south:.4f} .. {north:.4f} N"
