"""From files as people have them to a catalog.

Each image is opened once and read once, in blocks: its place on the ground, its bands and the exact
moments of its values are kept, so that nothing needs to be opened again to choose, count or
normalise. Broken files are recorded and left out; the rest goes on.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from shapely.geometry import box

from gv_data import atomic
from gv_data.catalog import SCHEMA, Catalog
from gv_data.errors import CatalogError, DataError
from gv_data.grid import Grid
from gv_data.labels import Labels
from gv_data.raster import Scene
from gv_data.statistics import Moments

SUFFIXES = (".tif", ".tiff", ".jp2", ".png", ".jpg", ".jpeg")
"""Endings of files that are taken for images when a folder is indexed."""


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


@dataclass(frozen=True)
class Indexed:
    """What indexing found.

    Attributes:
        catalog: The catalog, with the new rows.
        added: Number of new rows.
        refused: The files that could not be used, with the reason.
        objects: Number of labels that lie on the new images.
        outside: Number of labels that lie on none of them.
        repaired: Number of labels whose outline crossed itself and was mended.
        unlabelled: Number of new images without a single label.
    """

    catalog: Catalog
    added: int
    refused: tuple[tuple[Path, str], ...]
    objects: int
    outside: int
    repaired: int
    unlabelled: int


def index(
    inputs: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    labelled_area: Path | None = None,
    labels_crs: str | None = None,
    place: str | None = None,
    append: bool = False,
    georeference: bool = True,
    parts: Callable[[Scene, Labels | None], Sequence[Part]] | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Indexed:
    """Make or extend a catalog.

    Args:
        inputs: Images, or folders that are searched for them.
        out: Folder of the catalog.
        labels: Polygons, in any CRS; they stay where they are and are rasterised on reading.
        labelled_area: Polygons inside which the labels are complete; elsewhere nothing is learnt
            and nothing counted. None means everywhere.
        labels_crs: CRS of the label files where they do not say it.
        place: Name of the place; it begins the ids.
        append: Whether to add to an existing catalog.
        georeference: Whether images without CRS are refused (they can hold no labels).
        parts: Cuts an open image into rows of their own; None makes one row of it.
        track: Wraps the list of images, to show progress.

    Returns:
        The catalog and what was odd.

    Raises:
        CatalogError: If there is nothing to index, an id is taken, or ``out`` exists and ``append``
            is not set. Nothing is written then.
        DataError: If the labels cannot be read, are empty, or touch none of the images.
    """
    if (out / "images.parquet").exists() and not append:
        raise CatalogError(
            f"{out} is a catalog already\n  try: --append to add to it, or another --out"
        )
    files = list(_find(inputs))
    known = _known_labels(labels, labelled_area, labels_crs)
    root = _root([*files, *filter(None, (labels, labelled_area))])
    old = Catalog.open(out) if append and (out / "images.parquet").exists() else None
    sources = list(old.description["sources"]) if old else []
    rows, statistics, refused = [], [], []
    touched: set[int] = set()
    for file in track(files):
        try:
            with Scene(file) as scene:
                if scene.grid.crs is None and (georeference or known):
                    raise DataError(
                        f"{file} has no CRS or transform, so nothing says where it lies\n"
                        "  try: gdal_edit -a_srs and -a_ullr, or --no-georeference without labels"
                    )
                for part in _parts(scene, known, parts):
                    row, moments, on_it = _measure(scene, part, known, place)
                    row |= {
                        "source": len(sources),
                        "image": _relative(file, root),
                        "vectors": None if labels is None else _relative(labels, root),
                        "labelled_area": (
                            None if labelled_area is None else _relative(labelled_area, root)
                        ),
                    }
                    touched |= on_it
                    rows.append(row)
                    statistics += _statistics_rows(row, moments)
        except DataError as error:
            refused.append((file, str(error)))
    if not rows:
        reasons = "\n".join(reason for _, reason in refused[:3])
        raise CatalogError(f"none of {len(files)} images can be used:\n{reasons}")
    if known and not touched:
        raise CatalogError(known.why_outside([row["geometry"].bounds for row in rows]))
    _write(out, old, rows, statistics, [*sources, {"root": str(root), "labels_crs": labels_crs}])
    return Indexed(
        Catalog.open(out),
        added=len(rows),
        refused=tuple(refused),
        objects=len(touched),
        outside=len(known) - len(touched) if known else 0,
        repaired=known.repaired if known else 0,
        unlabelled=sum(row["objects"] == 0 for row in rows) if known else 0,
    )


def _known_labels(labels: Path | None, area: Path | None, crs: str | None) -> Labels | None:
    if labels is None:
        return None
    return Labels.read(labels, labelled_area=area, crs=crs)


def _find(inputs: Sequence[Path]) -> Iterator[Path]:
    """All images of some files and folders, sorted, sidecars left out."""
    found = False
    for given in inputs:
        if given.is_dir():
            inside = sorted(
                f
                for f in given.rglob("*")
                if f.suffix.lower() in SUFFIXES and f.is_file() and not f.name.startswith(".")
            )
            found |= bool(inside)
            yield from (file.resolve() for file in inside)
        elif given.exists():
            found = True
            yield given.resolve()
        else:
            raise CatalogError(f"{given} is not there")
    if not found:
        raise CatalogError(
            f"no image in {', '.join(map(str, inputs))}; looked for {', '.join(SUFFIXES)}"
        )


def _root(files: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([file.resolve().parent for file in files]))


def _relative(file: Path, root: Path) -> str:
    return file.resolve().relative_to(root).as_posix()


def _parts(
    scene: Scene,
    labels: Labels | None,
    parts: Callable[[Scene, Labels | None], Sequence[Part]] | None,
) -> Sequence[Part]:
    if parts is None:
        return [Part("", 0, 0, *scene.grid.shape_hw)]
    return parts(scene, labels)


def _measure(
    scene: Scene, part: Part, labels: Labels | None, place: str | None
) -> tuple[dict[str, Any], Moments, set[int]]:
    """The row of one part, its moments, and the numbers of the labels on it."""
    grid = scene.grid.part(part.row, part.column, part.height_px, part.width_px)
    moments = Moments.none(len(scene.bands))
    for row in range(part.row, part.row + part.height_px, 512):
        end = min(row + 512, part.row + part.height_px)
        moments += Moments.of(*scene.read((row, part.column, end, part.column + part.width_px)))
    on_it = set(labels.touching(grid)) if labels else set()
    name = f"{scene.path.stem}{part.name}"
    placed = grid.crs is not None
    row = {
        "id": f"{place}/{name}" if place else name,
        "driver": scene.driver,
        "place": place,
        "split": part.split,
        "crs": _crs_text(grid) if placed else None,
        "transform": list(grid.transform)[:6],
        "height_px": grid.height_px,
        "width_px": grid.width_px,
        "row": part.row,
        "column": part.column,
        "gsd_m": grid.gsd_m if placed else None,
        "bands": list(scene.bands),
        "dtype": scene.dtype,
        "nodata": scene.nodata,
        "objects": len(on_it),
        "bytes": scene.path.stat().st_size,
        "modified_ns": scene.path.stat().st_mtime_ns,
        "geometry": box(*grid.lonlat_bounds()) if placed else None,
    }
    return row, moments, on_it


def _crs_text(grid: Grid) -> str:
    authority = grid.crs.to_authority() if grid.crs else None
    return ":".join(authority) if authority else grid.crs.to_wkt() if grid.crs else ""


def _statistics_rows(row: Mapping[str, Any], moments: Moments) -> list[dict[str, Any]]:
    named = asdict(moments)
    counts = {name: named.pop(name) for name in ("valid", "invalid")}
    return [
        {
            "id": row["id"],
            "asset": "image",
            "band": band,
            "position": position,
            **counts,
            **{name: float(values[position]) for name, values in named.items()},
        }
        for position, band in enumerate(row["bands"])
    ]


def _write(
    out: Path,
    old: Catalog | None,
    rows: list[dict[str, Any]],
    statistics: list[dict[str, Any]],
    sources: list[dict[str, Any]],
) -> None:
    """Write all tables; the one that names the rows comes last."""
    images = gpd.GeoDataFrame(rows, geometry="geometry", crs="OGC:CRS84")
    measured = pa.Table.from_pylist(statistics)
    if old is not None:
        before = gpd.read_parquet(old.path / "images.parquet")
        images = gpd.GeoDataFrame(
            _concatenated(before, images), geometry="geometry", crs="OGC:CRS84"
        )
        # rows of images that never came to be listed, because a kill came first, go
        kept = old.sql("SELECT * FROM statistics SEMI JOIN images USING (id)")
        measured = pa.concat_tables([kept, measured], promote_options="default")
    counts = images["id"].value_counts()
    if (counts > 1).any():
        twice = counts[counts > 1].index[0]
        raise CatalogError(
            f"two images would be called {twice}: it is in {out} already, or two files share a name\n"
            "  try: another --place"
        )
    out.mkdir(parents=True, exist_ok=True)
    description = {"schema": SCHEMA, "sources": sources}
    atomic.write_text(out / "catalog.json", json.dumps(description, indent=2) + "\n")
    with atomic.replacing(out / "statistics.parquet") as part:
        pq.write_table(measured, part, write_page_checksum=True)
    with atomic.replacing(out / "images.parquet") as part:
        images.sort_values("id").to_parquet(
            part,
            index=False,
            write_covering_bbox=True,
            schema_version="1.1.0",
            write_page_checksum=True,
        )


def _concatenated(before: gpd.GeoDataFrame, after: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Both tables under each other; columns that only one has are empty in the other."""
    columns = list(dict.fromkeys([*before.columns, *after.columns]))
    records = [*before.to_dict("records"), *after.to_dict("records")]
    return gpd.GeoDataFrame(pd.DataFrame(records, columns=columns))
