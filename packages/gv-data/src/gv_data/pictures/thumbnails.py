"""Images small enough for a sheet: read at the size at which they are shown, with their labels.

What cannot be read is told, not raised: a sheet shows the rest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from jaxtyping import Bool, Float, Int

from gv_data.errors import DataError
from gv_data.images import Image
from gv_data.labels import masks
from gv_data.labels.labels import Labels
from gv_data.labels.masks import ClassTable
from gv_data.rasters.raster import Scene
from gv_data.sources import IGNORE, Source
from gv_data.vectors.polygons import polygonize_labels

COLOURS = ("red", "green", "blue")
"""Names of the bands that are shown as what they are."""

_SENTINEL_2 = ("b04", "b03", "b02")
WHOLE_PX = 2**25
"""A larger file without overviews would take long to decode: its middle is shown."""

_MIDDLE_PX = 4096
_STRIP_PX = 2**23
"""Pixels of a mask that are decoded at once."""

type Ring = Float[np.ndarray, "v 2"]


@dataclass(frozen=True)
class Thumbnail:
    """What is shown of an image.

    Attributes:
        image: The image, or its middle.
        bands: Names of the bands shown: three as red, green and blue, or one.
        values: Their values, or None if they cannot be read.
        valid: Where they are data.
        outlines: Rings around the labels of each class, as columns and rows in pixels of the image;
            a class without a name is called "".
        problem: Why the image, or its labels, cannot be read.
    """

    image: Image
    bands: tuple[str, ...]
    values: Float[np.ndarray, "c h w"] | None = None
    valid: Bool[np.ndarray, "h w"] | None = None
    outlines: Mapping[str, Sequence[Ring]] = field(default_factory=dict)
    problem: str | None = None
    middle_only: bool = False
    """Whether the image is too large to be shown whole."""


class LabelFiles:
    """Label files, each read once; one that cannot be read says why to each of its images."""

    def __init__(self) -> None:
        """Nothing is read yet."""
        self._known: dict[object, Labels | DataError] = {}

    def of(self, image: Image) -> Labels:
        """The polygons of an image.

        Raises:
            VectorError: If they cannot be read.
        """
        key = image.label_files
        if key not in self._known:
            try:
                self._known[key] = Labels.of(image)
            except DataError as error:
                self._known[key] = error
        known = self._known[key]
        if isinstance(known, DataError):
            raise known
        return known


def shown_bands(bands: Sequence[str]) -> tuple[str, ...]:
    """Choose the bands that show an image: three as red, green and blue, or one as grey.

    Args:
        bands: Names of all bands; ``B04``, ``B03`` and ``B02`` are Sentinel-2's colours.

    Examples:
        >>> shown_bands(("blue", "green", "red", "nir"))
        ('red', 'green', 'blue')
        >>> shown_bands(("vv", "vh"))
        ('vv',)
    """
    named = {band.lower(): band for band in bands}
    for colours in (COLOURS, _SENTINEL_2):
        if set(colours) <= set(named):
            return tuple(named[colour] for colour in colours)
    return tuple(bands[:3]) if len(bands) >= 3 else tuple(bands[:1])


def size_px(image: Image, side: int) -> tuple[int, int]:
    """Width and height of a thumbnail: as the image lies on the ground, its longer side full."""
    height, width = map(float, image.grid.shape_hw)
    if image.grid.crs is not None:  # pixels of degrees are no squares
        height, width = height * image.grid.pixel_m[0], width * image.grid.pixel_m[1]
    longer = max(height, width)
    return max(1, round(side * width / longer)), max(1, round(side * height / longer))


def thumbnail(image: Image, side: int, files: LabelFiles) -> Thumbnail:
    """Read an image and its labels.

    Args:
        image: An image of a catalog.
        side: Pixels of the longer side.
        files: The label files read so far.
    """
    bands = shown_bands(image.bands)
    height_px, width_px = image.grid.shape_hw
    try:
        with Scene(image.path, driver=image.driver, source=image.source) as scene:
            middle_only = height_px * width_px > WHOLE_PX and not scene.overviews
            if middle_only:
                image = _middle(image)
            width, height = size_px(image, side)
            shape_hw = min(height, image.grid.height_px), min(width, image.grid.width_px)
            values, valid = scene.read(_window(image), shape_hw, bands=bands)
    except DataError as error:
        return Thumbnail(image, bands, problem=str(error))
    made = Thumbnail(image, bands, values, valid, middle_only=middle_only)
    try:
        return replace(made, outlines=_outlines(image, shape_hw, files))
    except DataError as error:
        return replace(made, problem=str(error))


def _middle(image: Image) -> Image:
    """The central part of an image, as an image."""
    sizes = [min(size, _MIDDLE_PX) for size in image.grid.shape_hw]
    row, column = ((size - s) // 2 for size, s in zip(image.grid.shape_hw, sizes, strict=True))
    origin = image.origin[0] + row, image.origin[1] + column
    return replace(image, grid=image.grid.part(row, column, *sizes), origin=origin)


def _window(image: Image) -> tuple[int, int, int, int]:
    """First row, first column, last row, last column of an image in its file."""
    row, column = image.origin
    return row, column, row + image.grid.height_px, column + image.grid.width_px


def _outlines(image: Image, shape_hw: tuple[int, int], files: LabelFiles) -> dict[str, list[Ring]]:
    """Rings around the labels of each class; a mask is outlined as the thumbnail shows it."""
    if image.mask is not None:
        height, width = shape_hw
        pixels = Affine.scale(image.grid.width_px / width, image.grid.height_px / height)
        shapes, numbers = polygonize_labels(_classes(image, image.mask, shape_hw), pixels)
        names = image.source.classes
    elif image.vectors is not None:
        labels = files.of(image)
        shapes = shapely.transform(labels.polygons(image.grid), image.grid.pixels)
        numbers = labels.numbers[labels.touching(image.grid)]
        names = ("none", *labels.classes)
    else:
        return {}
    polygons, shape = shapely.get_parts(shapes, return_index=True)
    rings, polygon = shapely.get_rings(polygons, return_index=True)
    if not len(rings):
        return {}
    corners, ring = shapely.get_coordinates(rings, return_index=True)
    parts = np.split(corners, np.searchsorted(ring, range(1, len(rings))))
    found: dict[str, list[Ring]] = {}
    for part, number in zip(parts, numbers[shape[polygon]].tolist(), strict=True):
        name = names[number] if number < len(names) else ""
        found.setdefault(name, []).append(part)
    return found


def _classes(image: Image, mask: Path, shape_hw: tuple[int, int]) -> Int[np.ndarray, "h w"]:
    """Classes of a mask at the centres of a thumbnail's pixels, 0 where unknown."""
    table = ClassTable(image.source)
    top, left, bottom, right = _window(image)
    step = (bottom - top) / shape_hw[0]
    rows = max(1, int(_STRIP_PX / (step * (right - left))))
    strips = []
    with Scene(mask, source=Source(image.source.root)) as scene:
        for row in range(0, shape_hw[0], rows):
            last = min(row + rows, shape_hw[0])
            window = (top + row * step, left, top + last * step, right)
            values, there = masks.read(scene, window, (last - row, shape_hw[1]))
            classes = table.of(values)
            strips.append(np.where(there & (classes != IGNORE), classes, 0))
    return np.concatenate(strips).astype(np.int32)
