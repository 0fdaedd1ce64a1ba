"""``statistics.parquet`` and ``labels.parquet`` brought up to date by reading images and labels."""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

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
from gv_data.store import statistics_table, tables


@dataclass(frozen=True)
class Measured:
    """What measuring did.

    Attributes:
        images: About the statistics of images.
        labels: About the counts of their labels.
    """

    images: Outcome
    labels: Outcome

    @property
    def failed(self) -> Mapping[str, str]:
        """Images that cannot be measured, with the reason; they are ``errors`` now."""
        return {**self.images.failed, **self.labels.failed}


def measure_catalog(
    catalog: Catalog,
    *,
    engine: Engine = "local",
    workers: int | None = None,
    again: bool = False,
    track: Track = lambda ids, total: ids,
) -> Measured:
    """Measure the images of a view, and count their labels, where that is not known.

    Args:
        catalog: The view.
        engine: Where the work is done.
        workers: Images at once; None: as many as this process has cores.
        again: Whether to measure what is known too.
        track: Wraps the ids as they are done, of a known number, to show progress.

    Returns:
        What was done. Figures of images that are no longer listed are dropped.

    Raises:
        DataError: If the catalog cannot be read or written.
    """
    workers = workers or len(os.sched_getaffinity(0))
    images, labels = (
        bring_up_to_date(view, table, engine=engine, workers=workers, again=again, track=track)
        for view, table in ((catalog, STATISTICS), (catalog, LABELS))
    )
    return Measured(images, labels)


def _statistics(image: Image) -> pa.Table | str:
    """The rows of an image, or why there are none."""
    try:
        with Scene(image.path, driver=image.driver, source=image.source) as scene:
            (row, column), (height, width) = image.origin, image.grid.shape_hw
            if row + height > scene.grid.height_px or column + width > scene.grid.width_px:
                raise RasterError(f"{image.path} is smaller than when it was indexed")
            found = measure(scene, (row, column, height, width))
        return statistics_table.rows(image.id, "image", image.path, found)
    except (DataError, OSError) as error:
        return str(error).splitlines()[0]


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


STATISTICS = Upkept("statistics", statistics_table.SCHEMA, ("image",), _statistics)
LABELS = Upkept("labels", tables.LABELS, ("mask", "vectors"), _labels)

_READING = threading.Lock()


@lru_cache(maxsize=16)
def _truths_of(*files: tuple[Path, int]) -> Truths:
    """The polygons of some files as they are now, read once by this process."""
    del files
    return Truths(OpenScenes())
