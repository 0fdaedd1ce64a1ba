"""From files as people have them to a catalog.

Each image is opened once and read once, in blocks: its place on the ground, its bands and the exact
moments of its values are kept, so that nothing needs to be opened again to choose, count or
normalise. Broken files are recorded and left out; the rest goes on.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from gv_data import atomic, vector
from gv_data.catalog import IMAGES, SCHEMA, STATISTICS, Catalog
from gv_data.errors import CatalogError, DataError
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
        new: A view of the new rows.
        added: Number of new rows.
        refused: The files that could not be used, with the reason.
        objects: Number of labels that lie on the new images.
        outside: Number of labels that lie on none of them.
        repaired: Number of labels whose outline crossed itself and was mended.
        dropped: Number of features of the label file that are no polygon, and were left out.
        unlabelled: Number of new images without a single label.
    """

    catalog: Catalog
    new: Catalog
    added: int
    refused: tuple[tuple[Path, str], ...]
    objects: int
    outside: int
    repaired: int
    dropped: int
    unlabelled: int

    @property
    def labels_said(self) -> str:
        """How many labels lie where, and what had to be done to them, for people."""
        parts = [f"{self.objects:,} on images"]
        if self.outside:
            parts.append(f"{self.outside:,} outside all of them")
        if self.repaired:
            parts.append(f"{self.repaired:,} crossed themselves and were repaired")
        if self.dropped:
            parts.append(f"{self.dropped:,} left out because they are no polygons")
        if self.unlabelled:
            parts.append(f"{self.unlabelled:,} images without a label")
        return ", ".join(parts)


def index(
    inputs: Sequence[Path],
    out: Path,
    *,
    labels: Path | None = None,
    labelled_area: Path | None = None,
    labels_crs: str | None = None,
    swap_xy: bool = False,
    place: str | None = None,
    append: bool = False,
    georeference: bool = True,
    parts: Callable[[Scene, Labels | None], Sequence[Part]] | None = None,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> Indexed:
    """Make or extend a catalog.

    Args:
        inputs: Images, or folders that are searched for them. An image is called after its file,
            with the folders between it and the given one.
        out: Folder of the catalog.
        labels: Polygons, in any CRS; they stay where they are and are rasterised on reading.
        labelled_area: Polygons inside which the labels are complete; elsewhere nothing is learnt
            and nothing counted. None means everywhere.
        labels_crs: CRS that the label files are in, whatever they say; None believes them.
        swap_xy: Whether the label files hold y before x.
        place: Name of the place; it begins the ids.
        append: Whether to add to an existing catalog.
        georeference: Whether images without CRS are refused (they can hold no labels).
        parts: Cuts an open image into rows of their own; None makes one row of it. Parts without
            any data are left out.
        track: Wraps the list of images, to show progress.

    Returns:
        The catalog and what was odd.

    Raises:
        CatalogError: If there is nothing to index, an id is taken, or ``out`` exists and ``append``
            is not set. Nothing is written then.
        DataError: If the labels cannot be read, are empty, or touch none of the images.
    """
    if labels is None and (labelled_area or labels_crs or swap_xy):
        raise CatalogError("a labelled area, a CRS of labels and swapped labels need labels")
    old = _existing(out, append=append)
    files = _named(inputs, place, {image.id for image in old.images} if old else set())
    known = None
    if labels is not None:
        known = Labels.read(labels, labelled_area=labelled_area, crs=labels_crs, swap_xy=swap_xy)
    root = _root([*files, *filter(None, (labels, labelled_area))])
    assets = {
        "vectors": None if labels is None else _relative(labels, root),
        "labelled_area": None if labelled_area is None else _relative(labelled_area, root),
    }
    rows, statistics, refused = [], [], []
    touched: set[int] = set()
    reached = known is None
    for file in track(list(files)):
        try:
            with _open(file, georeferenced=georeference or known is not None) as scene:
                measured = [
                    _measure(scene, part, known, files[file])
                    for part in (parts(scene, known) if parts else [_whole(scene)])
                ]
                reached = reached or (known is not None and known.reach(scene.grid))
            measured = [found for found in measured if found[1].valid]
            if not measured:
                raise CatalogError(f"{file} holds no data: every pixel is nodata")
        except DataError as error:
            refused.append((file, str(error)))
            continue
        for row, moments, on_it in measured:
            touched |= on_it
            rows.append({**row, "image": _relative(file, root), **assets, "place": place})
            statistics += _statistics_rows(row, moments)
    if not rows:
        reasons = "\n".join(reason for _, reason in refused[:3])
        raise CatalogError(f"none of {len(files)} images can be used:\n{reasons}")
    if known and not touched:
        bounds = [row["geometry"].bounds for row in rows]
        raise CatalogError(known.why_outside(bounds, images_crs=rows[0]["crs"]))
    if not reached:
        raise CatalogError(f"{labelled_area} and the images do not overlap")
    source = {"root": str(root), "labels_crs": labels_crs, "labels_swapped": swap_xy}
    number = _write(out, rows, statistics, source, append=append)
    catalog = Catalog.open(out)
    return Indexed(
        catalog,
        catalog.where(f"source = {number}"),
        added=len(rows),
        refused=tuple(refused),
        objects=len(touched),
        outside=len(known) - len(touched) if known else 0,
        repaired=known.repaired if known else 0,
        dropped=known.dropped if known else 0,
        unlabelled=sum(row["objects"] == 0 for row in rows) if known else 0,
    )


def _existing(out: Path, *, append: bool) -> Catalog | None:
    if not (out / "images.parquet").exists():
        return None
    if not append:
        raise CatalogError(
            f"{out} is a catalog already\n  try: --append to add to it, or another --out"
        )
    return Catalog.open(out)


def _named(inputs: Sequence[Path], place: str | None, taken: set[str]) -> dict[Path, str]:
    """All images of some files and folders in order, with their ids.

    Raises:
        CatalogError: If there is none, or two would have the same id.
    """
    named: dict[Path, str] = {}
    taken = set(taken)
    for file, name in _find(inputs):
        called = f"{place}/{name}" if place else name
        if file in named:
            continue
        if called in taken:
            raise CatalogError(
                f"two images would be called {called}: {file} and one that is there already\n"
                "  try: another --place"
            )
        named[file] = called
        taken.add(called)
    if not named:
        raise CatalogError(
            f"no image in {', '.join(map(str, inputs))}; looked for {', '.join(SUFFIXES)}"
        )
    return named


def _find(inputs: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Images and their names, sorted, hidden files left out."""
    for given in inputs:
        if given.is_dir():
            for file in sorted(given.rglob("*")):
                inside = file.relative_to(given)
                hidden = any(name.startswith(".") for name in inside.parts)
                if file.suffix.lower() in SUFFIXES and file.is_file() and not hidden:
                    yield file.resolve(), inside.with_suffix("").as_posix()
        elif given.exists():
            yield given.resolve(), given.stem
        else:
            raise CatalogError(f"{given} is not there")


def _root(files: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([file.resolve().parent for file in files]))


def _relative(file: Path, root: Path) -> str:
    return file.resolve().relative_to(root).as_posix()


def _open(file: Path, *, georeferenced: bool) -> Scene:
    scene = Scene(file)
    if scene.grid.crs is None and georeferenced:
        scene.close()
        raise CatalogError(
            f"{file} has no CRS or transform, so nothing says where it lies\n"
            "  try: rio edit-info --crs EPSG:... --transform ..., or, without labels, "
            "--no-georeference"
        )
    return scene


def _whole(scene: Scene) -> Part:
    return Part("", 0, 0, *scene.grid.shape_hw)


def _measure(
    scene: Scene, part: Part, labels: Labels | None, name: str
) -> tuple[dict[str, Any], Moments, set[int]]:
    """The row of one part, its moments, and the numbers of the labels on it."""
    grid = scene.grid.part(part.row, part.column, part.height_px, part.width_px)
    moments = Moments.none(len(scene.bands))
    for row in range(part.row, part.row + part.height_px, 512):
        end = min(row + 512, part.row + part.height_px)
        moments += Moments.of(*scene.read((row, part.column, end, part.column + part.width_px)))
    on_it = set(labels.touching(grid)) if labels else set()
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
        "objects": len(on_it),
        "bytes": scene.path.stat().st_size,
        "modified_ns": scene.path.stat().st_mtime_ns,
        "geometry": grid.footprint() if placed else None,
    }
    return row, moments, on_it


def _crs_text(crs: CRS) -> str:
    """A short name where it says the same, else all of it."""
    named = crs.to_authority()
    short = ":".join(named) if named else None
    return short if short and CRS(short) == crs else crs.to_wkt()


def _statistics_rows(row: Mapping[str, Any], moments: Moments) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"],
            "asset": "image",
            "band": band,
            "position": position,
            "valid": moments.valid,
            "invalid": moments.invalid,
            "mean": moments.mean[position],
            "m2": moments.m2[position],
            "minimum": moments.minimum[position],
            "maximum": moments.maximum[position],
        }
        for position, band in enumerate(row["bands"])
    ]


def _write(
    out: Path,
    rows: list[dict[str, Any]],
    statistics: list[dict[str, Any]],
    source: dict[str, Any],
    *,
    append: bool,
) -> int:
    """Write all tables, the one that names the rows last.

    Returns:
        The number of the source.
    """
    out.mkdir(parents=True, exist_ok=True)
    with atomic.locked(out):
        old = _existing(out, append=append)  # as it is now: another process may have added to it
        sources = [*old.description["sources"], source] if old else [source]
        number = len(sources) - 1
        frame = gpd.GeoDataFrame(rows, geometry="geometry", crs="OGC:CRS84").assign(source=number)
        measured = pa.Table.from_pylist(statistics, schema=STATISTICS)
        schema, batches = IMAGES, [frame]
        if old is not None:
            taken = set(old.sql("SELECT id FROM images")["id"].to_pylist()) & set(frame["id"])
            if taken:
                raise CatalogError(f"{min(taken)} is in {out} already\n  try: another --place")
            before = vector.read(out / "images.parquet")
            stored = pq.read_schema(out / "images.parquet").remove_metadata()
            schema = pa.schema([f for f in stored if f.name not in ("geometry", "bbox")])
            own = {name: None for name in schema.names if name not in IMAGES.names}
            batches = [before, frame.assign(**own)]
            # rows of images that never came to be listed, because a kill came first, go
            kept = old.sql("SELECT * FROM statistics SEMI JOIN images USING (id)")
            measured = pa.concat_tables([kept.cast(STATISTICS), measured])
        description = {"schema": SCHEMA, "sources": sources}
        atomic.write_text(out / "catalog.json", json.dumps(description, indent=2) + "\n")
        with atomic.replacing(out / "statistics.parquet") as part:
            pq.write_table(measured, part, write_page_checksum=True)
        images = out / "images.parquet"
        with vector.writing(images, crs="OGC:CRS84", schema=schema) as writer:
            for batch in batches:
                writer.append(batch)
                writer.flush()
    return number
