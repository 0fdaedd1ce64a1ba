"""One image as a row of ``images.parquet``: where it lies, what it holds, what belongs to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyproj import CRS

from gv_data.errors import CatalogError, RasterError
from gv_data.labels.labels import Labels
from gv_data.measure.measuring import measure
from gv_data.rasters.raster import Scene
from gv_data.sources import Source
from gv_data.statistics import Statistics


@dataclass(frozen=True)
class Part:
    """A rectangle of an image that becomes a row of its own.

    Attributes:
        name: Added to the image's id.
        row: First row in the file.
        column: First column in the file.
        height_px: Rows.
        width_px: Columns.
        split: ``train`` or ``val``.
    """

    name: str
    row: int
    column: int
    height_px: int
    width_px: int
    split: str | None = None


def open_image(file: Path, source: Source, *, georeferenced: bool) -> Scene:
    """Open an image that is to be indexed.

    Args:
        file: Where it is.
        source: What it does not say itself.
        georeferenced: Whether it must say where it lies.

    Raises:
        DataError: If it cannot be opened, or does not say where it lies.
    """
    scene = Scene(file, source=source)
    if scene.grid.crs is None and georeferenced:
        scene.close()
        raise CatalogError(
            f"{file} has no CRS or transform, so nothing says where it lies\n"
            "  try: rio edit-info --crs EPSG:... --transform ..., or --no-georeference, where no "
            "polygons are to be laid over it"
        )
    return scene


def whole(scene: Scene) -> Part:
    """All of an image."""
    return Part("", 0, 0, *scene.grid.shape_hw)


def describe(
    scene: Scene, part: Part, labels: Labels | None, name: str, *, measured: bool
) -> tuple[dict[str, Any], Statistics | None, set[int]]:
    """What is known of a part of an image.

    Args:
        scene: The open image.
        part: The part.
        labels: Polygons that may touch it.
        name: Of the image; with that of the part it is the id.
        measured: Whether to read its pixels.

    Returns:
        Its row of ``images.parquet``, its statistics, and the numbers of the labels on it.

    Raises:
        RasterError: If it cannot be placed on the Earth or decoded.
    """
    place = (part.row, part.column, part.height_px, part.width_px)
    grid = scene.grid.part(*place)
    statistics = measure(scene, place) if measured else None
    on_it = set() if labels is None else set(labels.touching(grid).tolist())
    placed = grid.crs is not None
    row = {
        "id": f"{name}{part.name}",
        "driver": scene.driver,
        "split": part.split,
        "crs": None if grid.crs is None else _crs_text(grid.crs),
        "transform": list(grid.transform)[:6],
        "height_px": grid.height_px,
        "width_px": grid.width_px,
        "row": part.row,
        "column": part.column,
        "gsd_m": grid.gsd_m if placed else None,
        "bands": list(scene.bands),
        "dtype": scene.dtype,
        "nodata": scene.nodata,
        "objects": None if labels is None else len(on_it),
        "bytes": scene.path.stat().st_size,
        "modified_ns": scene.path.stat().st_mtime_ns,
        "geometry": grid.footprint() if placed else None,
    }
    return row, statistics, on_it


def _crs_text(crs: CRS) -> str:
    """A short name where it says the same, else all of it."""
    named = crs.to_authority()
    short = ":".join(named) if named else None
    return short if short and CRS(short) == crs else crs.to_wkt()


def check_beside(scene: Scene, files: Mapping[str, Path]) -> None:
    """Refuse rasters that do not lie where the image does.

    Args:
        scene: The open image.
        files: The rasters by the names of their assets.

    Raises:
        RasterError: If one cannot be opened, or has other pixels and nothing says where they lie.
    """
    for name, file in files.items():
        with Scene(file) as other:
            placed = other.grid.crs is not None and scene.grid.crs is not None
            if other.grid.shape_hw != scene.grid.shape_hw and (name == "mask" or not placed):
                raise RasterError(
                    f"{file} is {_size(other)} px, {scene.path.name} is {_size(scene)} px: a "
                    f"{name} has the pixels of its image"
                )


def _size(scene: Scene) -> str:
    return f"{scene.grid.width_px:,} x {scene.grid.height_px:,}"
