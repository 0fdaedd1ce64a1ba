"""Rules that read every pixel of a catalog again.

Decoding alone finds little: GDAL gives damaged blocks of deflate and JPEG without an error, as it
does not compare their checksums, and other blocks have none. So images are measured again, the
classes of masks are counted again, and both are compared with what the tables say.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

import numpy as np

from gv_data.catalog import Catalog
from gv_data.checks.file_rules import Track
from gv_data.engine import mapped
from gv_data.errors import DataError
from gv_data.findings import Findings, counted, some
from gv_data.images import Image
from gv_data.labels import label_table
from gv_data.labels.truth import Truths
from gv_data.measure.measuring import measure, pieces
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.rasters.raster import Scene
from gv_data.store.stamps import Stamp, stamps

TOLERANCE = 1e-9
"""Figures of the same values differ by rounding at most; relative to the largest."""

type Known = Mapping[str, tuple[Stamp, list[float]]]
"""By id: which file figures were taken from, and the figures."""


@dataclass(frozen=True)
class Reading:
    """What reading an image and the rasters beside it showed.

    Attributes:
        unreadable: Why one of them cannot be read; empty if all can.
        damaged: What is not as it was measured; empty if all is.
    """

    unreadable: str = ""
    damaged: str = ""


def read_data(findings: Findings, view: Catalog, *, workers: int, track: Track) -> None:
    """All rasters should be readable to the last block, and hold what was measured.

    Args:
        findings: Where to note it.
        view: The images; masks and further rasters are read too.
        workers: Images at once.
        track: Shows progress.
    """
    findings.apply("readable")
    findings.apply("damaged-images")
    work = partial(_read, measured=_measured(view), classes=_classes(view))
    damaged: dict[str, str] = {}
    for image, reading in track(mapped(work, view.images, workers=workers), "reading", len(view)):
        if reading.unreadable:
            findings.unreadable(reading.unreadable)
        elif reading.damaged:
            damaged[image.id] = reading.damaged
    if damaged:
        findings.fail(
            "damaged-images",
            f"{len(damaged):,} of {counted(len(view), 'image')} hold other values than were "
            f"measured, though nobody wrote to their files ({some(list(damaged))}): "
            f"{next(iter(damaged.values()))}",
            f"fetch the files again; or gv-data measure {view.path} --again, if they are right",
            tuple(damaged),
        )


def _measured(view: Catalog) -> Known:
    """Number of pixels with data, then mean and squares of each band."""
    return _known(
        view,
        "SELECT id, any_value(s.bytes) AS bytes, any_value(s.modified_ns) AS modified_ns, "
        "[any_value(s.valid)::DOUBLE] || list(s.mean ORDER BY s.position) "
        "|| list(s.m2 ORDER BY s.position) AS figures "
        "FROM statistics s SEMI JOIN images USING (id) WHERE s.asset = 'image' GROUP BY id",
    )


def _classes(view: Catalog) -> Known:
    """Number of pixels of each class."""
    return _known(
        view,
        "SELECT id, any_value(l.bytes) AS bytes, any_value(l.modified_ns) AS modified_ns, "
        "list(l.pixels::DOUBLE ORDER BY l.number) AS figures "
        "FROM labels l SEMI JOIN (FROM images WHERE mask IS NOT NULL) USING (id) GROUP BY id",
    )


def _known(view: Catalog, query: str) -> Known:
    columns = view.sql(query).to_pydict().values()
    return {id: ((size, time), figures) for id, size, time, figures in zip(*columns, strict=True)}


def _read(image: Image, *, measured: Known, classes: Known) -> Reading:
    try:
        with Scene(image.path, driver=image.driver, source=image.source) as scene:
            found = measure(scene, (*image.origin, *image.grid.shape_hw))
        figures = [found.valid, *found.moments.mean, *found.moments.comoments.diagonal()]
        if not _as_known(figures, measured.get(image.id), str(image.path)):
            return Reading(damaged=f"{image.path.name} as a whole")
        for raster in image.assets.values():
            with Scene(raster) as scene:
                for piece in pieces(scene, (0, 0, *scene.grid.shape_hw)):
                    scene.stored(*piece)
        if image.mask is not None:
            with closing(OpenScenes()) as scenes:
                counts = label_table.rows(image, Truths(scenes))["pixels"].to_pylist()
            if not _as_known(counts, classes.get(image.id), str(image.mask)):
                return Reading(damaged=f"the classes of {image.mask.name}")
    except (DataError, OSError) as error:
        return Reading(unreadable=str(error))
    return Reading()


def _as_known(found: list[float], known: tuple[Stamp, list[float]] | None, file: str) -> bool:
    """Whether figures are those that are known; what changed since is told by another rule."""
    if known is None or stamps([file])[file] != known[0]:
        return True
    now, then = np.array(found, float), np.array(known[1], float)
    return now.shape == then.shape and bool(
        (np.abs(now - then) <= TOLERANCE * np.maximum(np.abs(now), np.abs(then))).all()
    )
