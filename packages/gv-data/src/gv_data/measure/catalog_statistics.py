"""``statistics.parquet`` and ``labels.parquet`` brought up to date by reading what they count."""

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import pyarrow as pa
from pyproj import Transformer

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.engine import Engine
from gv_data.errors import DataError, RasterError
from gv_data.images import Image
from gv_data.labels import label_table
from gv_data.labels.truth import Truths
from gv_data.measure.measuring import measure
from gv_data.measure.upkeep import Outcome, Track, Upkept, bring_up_to_date
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.rasters.raster import Scene
from gv_data.store import statistics_table, table_files, tables


@dataclass(frozen=True)
class Measured:
    """What measuring did.

    Attributes:
        images: About the statistics of images.
        assets: About those of further rasters of their ground, by the name of the column.
        labels: About the counts of their labels.
    """

    images: Outcome
    assets: Mapping[str, Outcome]
    labels: Outcome

    @property
    def failed(self) -> Mapping[str, str]:
        """Images that cannot be measured, with the reason; they are ``errors`` now."""
        parts = (self.images, *self.assets.values(), self.labels)
        return {id: reason for part in parts for id, reason in part.failed.items()}


def measure_catalog(
    catalog: Catalog,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    again: bool = False,
    track: Track = lambda ids, total: ids,
) -> Measured:
    """Measure the images of a view and further rasters of their ground, and count their labels.

    What is known of a file that has not changed since is left as it is.

    Args:
        catalog: The view.
        engine: Where the work is done.
        workers: Images at once; None: as many as this process has cores.
        again: Whether to measure what is known too.
        track: Wraps the ids as they are done, of a known number, to show progress.

    Returns:
        What was done. Figures of images that are no longer listed are dropped; ``objects`` of
        images are as many as their labels now.

    Raises:
        DataError: If the catalog cannot be read or written.
    """
    workers = workers or len(os.sched_getaffinity(0))

    def outcome(table: Upkept) -> Outcome:
        view = replace(catalog)  # asked anew: images that failed before are not listed any more
        return bring_up_to_date(
            view, table, engine=engine, workers=workers, again=again, track=track
        )

    measured = Measured(
        images=outcome(_statistics_of("image")),
        assets={name: outcome(_statistics_of(name)) for name in catalog.assets},
        labels=outcome(LABELS),
    )
    _correct_objects(catalog)
    return measured


def _correct_objects(catalog: Catalog) -> None:
    """Let the images of a view have as many ``objects`` as were counted on them."""

    def wrong() -> dict[str, int]:
        table = replace(catalog).sql(
            "SELECT id, n FROM images JOIN (SELECT id, sum(objects)::INT AS n FROM labels "
            "GROUP BY id) USING (id) WHERE vectors IS NOT NULL AND objects IS DISTINCT FROM n "
            "AND n IS NOT NULL"
        )
        return dict(zip(*table.to_pydict().values(), strict=True))

    if wrong():
        with atomic.locked(catalog.path):
            table_files.set_objects(catalog.path, wrong())  # as they are now


def ground_of(image: Image, scene: Scene) -> tuple[int, int, int, int]:
    """The part of another raster that shows the ground of an image, or of a part of one.

    Its pixels are those whose centres lie within the image's bounds, brought into the CRS of the
    raster where that is another one: with the grid of the image these are its own rows and columns,
    and parts that share no ground share no pixel. A raster too coarse for that gives the one pixel
    under the middle. Without georeference rasters are alike pixel by pixel.

    Args:
        image: The image.
        scene: The other raster, open.

    Returns:
        First row, first column, rows and columns.

    Raises:
        RasterError: If it shows nothing of this ground.
    """
    own, other = image.grid, scene.grid
    if own.crs is None or other.crs is None:
        top, left = image.origin
        bottom, right = top + own.height_px, left + own.width_px
    else:
        bounds = own.bounds
        if own.crs != other.crs:
            bounds = _transformer(own.crs, other.crs).transform_bounds(*bounds)
        top, left, bottom, right = other.rows_columns(bounds)
    (row, height), (column, width) = (
        _centres(first, last, size)
        for first, last, size in ((top, bottom, other.height_px), (left, right, other.width_px))
    )
    if height < 1 or width < 1:
        raise RasterError(f"{scene.path} shows nothing of the ground of {image.id}")
    return row, column, height, width


def _centres(first: float, last: float, size: int) -> tuple[int, int]:
    """The first, and the number, of ``size`` pixels whose centres lie between two corners."""
    if not math.isfinite(first) or not math.isfinite(last):  # of bounds that PROJ cannot bring over
        return 0, 0
    begin, end = (math.ceil(edge - 0.5 - 1e-5) for edge in (first, last))
    if begin == end:
        begin = math.floor((first + last) / 2)
        end = begin + 1
    begin, end = max(begin, 0), min(end, size)
    return begin, end - begin


_transformer = lru_cache(partial(Transformer.from_crs, always_xy=True))


def _statistics(image: Image, *, asset: str) -> pa.Table | str:
    """The rows of one raster of an image, or why there are none."""
    try:
        if asset == "image":
            path = image.path
            with Scene(path, driver=image.driver, source=image.source) as scene:
                (row, column), (height, width) = image.origin, image.grid.shape_hw
                if row + height > scene.grid.height_px or column + width > scene.grid.width_px:
                    raise RasterError(f"{path} is smaller than when it was indexed")
                found = measure(scene, (row, column, height, width))
        else:
            path = image.assets[asset]
            with Scene(path) as scene:  # what a source says of bands and values is about images
                found = measure(scene, ground_of(image, scene))
        return statistics_table.rows(image.id, asset, path, found)
    except (DataError, OSError) as error:
        reason = str(error).splitlines()[0]
        return reason if asset == "image" else f"{asset}: {reason}"


def _labels(image: Image) -> pa.Table | str:
    """The rows of an image, or why there are none."""
    scenes = OpenScenes()
    try:
        files = filter(None, (image.vectors, image.labelled_area))
        if image.mask is None:
            truths = _truths_of(*((file, file.stat().st_mtime_ns) for file in files))
            with _READING:  # one thread reads the file, the others wait for it
                truths.labels(image)
        else:
            truths = Truths(scenes)
        return label_table.rows(image, truths)
    except (DataError, OSError) as error:
        return str(error).splitlines()[0]
    finally:
        scenes.close()


def _statistics_of(asset: str) -> Upkept:
    work = partial(_statistics, asset=asset)
    return Upkept("statistics", statistics_table.SCHEMA, (asset,), work)


LABELS = Upkept("labels", tables.LABELS, ("mask", "vectors"), _labels)

_READING = threading.Lock()


@lru_cache(maxsize=16)
def _truths_of(*files: tuple[Path, int]) -> Truths:
    """The polygons of some files as they are now, read once by this process."""
    del files
    return Truths(OpenScenes())
