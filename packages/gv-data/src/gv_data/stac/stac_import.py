"""STAC items become rows of a catalog.

What STAC says of the pixels is not believed: each image is opened and says itself where it lies and
what it holds. Items whose image cannot be used become ``errors``, the rest goes on.
"""

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gv_data.catalog import Catalog
from gv_data.engine import mapped
from gv_data.errors import CatalogError, DataError, RasterError
from gv_data.intake.catalog_rows import add, existing
from gv_data.intake.image_row import Part, check_beside, describe
from gv_data.labels.labels import Labels
from gv_data.locations import is_remote, located
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.rasters.raster import Scene
from gv_data.sources import Source, check_sample_name
from gv_data.stac import stac_columns
from gv_data.stac.stac import LABELS
from gv_data.stac.stac_items import Found, Item
from gv_data.store import table_files
from gv_data.store.tables import IMAGES

_SETTINGS: dict[str, type | tuple[type, ...]] = {
    "labels_format": str,
    "labels_crs": str,
    "labels_swapped": bool,
    "label_column": str,
    "line_width_m": (int, float),
    "line_width_column": str,
    "classes": str,
    "mask_values": int,
    "ignore": int,
    "bands": str,
    "scale": (int, float),
    "offset": (int, float),
    "nodata": (int, float),
    "assets": str,
}
"""What a `Source` may say, and the type of each value."""

_SINGLE = (
    *("labels_format", "labels_crs", "labels_swapped", "label_column"),
    *("line_width_m", "line_width_column", "nodata"),
)


@dataclass(frozen=True)
class Imported:
    """What was imported.

    Attributes:
        catalog: The catalog, with the new rows.
        new: A view of the new rows.
        added: Number of images that can be used.
        refused: What cannot, with the reason: items by name, and files that hold none.
    """

    catalog: Catalog
    new: Catalog
    added: int
    refused: tuple[tuple[str, str], ...]


@dataclass(frozen=True, eq=False)
class _Entry:
    """An item whose files are known.

    Attributes:
        item: The item.
        files: The image and what belongs to it, by the names of columns.
        source: What the files do not say, without a root.
        window: First row and column, rows and columns; None: the whole file.
    """

    item: Item
    files: dict[str, Path]
    source: Source
    window: tuple[int, int, int, int] | None

    @property
    def labels(self) -> tuple[object, ...]:
        """What entries with the same labels have in common."""
        return self.files.get("vectors"), self.files.get("labelled_area"), self.source


def import_stac(
    given: Sequence[Path],
    out: Path,
    *,
    asset: str | None = None,
    root: Path | None = None,
    append: bool = False,
    measured: bool = True,
    track: Callable[[Iterator[Any], int], Iterable[Any]] = lambda found, total: found,
) -> Imported:
    """Make or extend a catalog from STAC.

    Args:
        given: Tables in the stac-geoparquet layout, items, item collections, collections, catalogs.
        out: Folder of the catalog.
        asset: Which asset of an item is the image; None: ``image``, or the only one that can be.
        root: Folder that no image may lie outside of; None: that of each given file.
        append: Whether to add to an existing catalog.
        measured: Whether to read all pixels for their statistics.
        track: Wraps what is found in the images, of a known number, to show progress.

    Returns:
        The catalog and what could not be used.

    Raises:
        CatalogError: If nothing can be used, two items have one name or one that is taken, or
            ``out`` exists and ``append`` is not set. Nothing is written then.
    """
    for path in (*given, *filter(None, (root,))):
        if is_remote(located(path)):
            raise CatalogError(f"{path} is not on this disk: fetch items and images first")
    out = located(out)
    old = existing(out, append=append)
    found = Found.read(given)
    _check_names(found.items, old)
    entries: dict[str, _Entry | str] = {}
    for item in found.items:
        try:
            entries[item.id] = _entry(item, asset, root)
        except CatalogError as error:
            entries[item.id] = str(error)
    usable = [entry for entry in entries.values() if isinstance(entry, _Entry)]
    labels = _labels(usable)

    def read(entry: _Entry) -> dict[str, Any] | str:
        try:
            return _row(entry, labels[entry.labels])
        except (DataError, OSError) as error:
            return str(error)

    workers = len(os.sched_getaffinity(0))
    results = dict(track(mapped(read, usable, workers=workers), len(usable)))
    folder = Path(os.path.commonpath([f.parent for e in usable for f in e.files.values()] or "/"))
    sources = list(dict.fromkeys(replace(e.source, root=str(folder)) for e in usable))
    rows: list[dict[str, Any]] = []
    refused = list(found.refused)
    for id, entry in entries.items():
        result = results[entry] if isinstance(entry, _Entry) else entry
        row: dict[str, Any] = {"id": id, "source": 0}
        if isinstance(entry, _Entry):
            row |= dict.fromkeys(entry.source.assets)  # columns, also where no item has the asset
            row |= {name: f.relative_to(folder).as_posix() for name, f in entry.files.items()}
            row["source"] = sources.index(replace(entry.source, root=str(folder)))
            row |= _said(entry.item)
        if isinstance(result, str):
            refused.append((id, result))
            row["error"] = result.splitlines()[0]
        else:
            row |= result
        rows.append(row)
    added = sum("error" not in row for row in rows)
    if not added:
        reasons = "\n".join(reason for _, reason in refused[:3])
        raise CatalogError(f"none of {len(rows)} items can be used:\n{reasons}")
    own = sorted({name for source in sources for name in source.assets})
    new = table_files.Rows.of(rows)
    kept = [
        entry.item.properties if isinstance(entry, _Entry) else {} for entry in entries.values()
    ]
    for name, column in stac_columns.columns(kept, own).items():
        new = new.with_column(name, column)
    number = add(out, new, [], sources, append=append, update=False)
    catalog = Catalog.open(out)
    view = catalog.where(f"source >= {number} AND source < {number + len(sources)}")
    if measured:
        failed = measure_catalog(view).failed
        refused += failed.items()
        added -= len(failed)
    return Imported(catalog, view, added, tuple(refused))


def _check_names(items: Sequence[Item], old: Catalog | None) -> None:
    query = "SELECT id FROM images UNION ALL SELECT id FROM errors"
    taken = set(old.sql(query)["id"].to_pylist()) if old else set()
    seen: set[str] = set()
    for item in items:
        if item.id in taken:
            raise CatalogError(f"{item.id} is in the catalog already: import to another --out")
        if item.id in seen:
            raise CatalogError(f"two items are called {item.id}: import one collection at a time")
        seen.add(item.id)
    if not items:
        raise CatalogError("there is no item to import")


def _entry(item: Item, asset: str | None, root: Path | None) -> _Entry:
    """The files of an item, all below the root.

    Raises:
        CatalogError: If one is not, nothing says which is the image, or a date is no time.
    """
    stac_columns.span(item.properties)
    source = _source(item.properties.get("gv:source"))
    named = {name: name for name in (*LABELS, *source.assets) if name in item.assets}
    files = {"image": item.image(asset), **named}
    window = item.properties.get("gv:window")
    match window:
        case [int(row), int(column), int(height), int(width)]:
            window = row, column, height, width
        case _:
            window = None
    return _Entry(item, {n: item.file(a, root) for n, a in files.items()}, source, window)


def _source(said: object) -> Source:
    """What a catalog of ours said of the files, its types checked.

    Raises:
        CatalogError: If it is no such thing.
    """
    if said is None:
        return Source("")
    try:
        settings = json.loads(said) if isinstance(said, str) else said
    except (ValueError, RecursionError) as error:
        raise CatalogError(f"gv:source is no JSON: {error}") from error
    if not isinstance(settings, dict) or not settings.keys() <= _SETTINGS.keys():
        raise CatalogError(f"gv:source says more than a catalog does: {str(said)[:100]}")
    for name, value in settings.items():
        values = [value] if name in _SINGLE else value
        kind = _SETTINGS[name]
        if not isinstance(values, list) or not all(_is_a(one, kind) for one in values):
            raise CatalogError(f"gv:source says {str(value)[:50]!r} of {name}")
    for name in settings.get("assets", ()):
        if not name.isidentifier() or name in (*IMAGES.names, "geometry", "bbox"):
            raise CatalogError(f"gv:source names the asset {name[:50]!r}: no name of a column")
        check_sample_name(name, "an asset of gv:source")
    return Source.from_json({"root": "", **settings})


def _is_a(value: object, kind: type | tuple[type, ...]) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _labels(entries: Sequence[_Entry]) -> dict[tuple[object, ...], Labels | DataError | None]:
    """Polygons on the ground that entries share, each file read once; failures are told to each."""
    found: dict[tuple[object, ...], Labels | DataError | None] = {}
    for entry in entries:
        if entry.labels in found:
            continue
        found[entry.labels] = None
        said = entry.source
        file = entry.files.get("vectors")
        if file is not None and said.labels_format == "vector":
            try:
                found[entry.labels] = Labels.read(
                    file,
                    labelled_area=entry.files.get("labelled_area"),
                    crs=said.labels_crs,
                    swap_xy=said.labels_swapped,
                    column=said.label_column,
                    classes=said.classes,
                    line_width_m=said.line_width_m,
                    line_width_column=said.line_width_column,
                )
            except DataError as error:
                found[entry.labels] = error
    return found


def _row(entry: _Entry, labels: Labels | DataError | None) -> dict[str, Any]:
    """What the files of an entry say.

    Raises:
        DataError: If they cannot be used.
    """
    if isinstance(labels, DataError):
        raise labels
    with Scene(entry.files["image"], source=entry.source) as scene:
        beside = {n: f for n, f in entry.files.items() if n == "mask" or n in entry.source.assets}
        check_beside(scene, beside)
        height, width = scene.grid.shape_hw
        row, column, rows, columns = entry.window or (0, 0, height, width)
        if min(row, column, rows - 1, columns - 1) < 0 or (
            row + rows > height or column + columns > width
        ):
            raise RasterError(f"{scene.path} is smaller than when it was exported: import it anew")
        vectors = entry.files.get("vectors")
        if vectors is not None and entry.source.labels_format == "coco":
            labels = Labels.in_pixels(vectors, scene.path, scene.grid, classes=entry.source.classes)
        part = Part("", row, column, rows, columns)
        described, _, _ = describe(scene, part, labels, entry.item.id, measured=False)
    return {name: value for name, value in described.items() if name not in ("id", "split")}


def _said(item: Item) -> Mapping[str, str]:
    """What a catalog of ours said of an image."""
    said = {name: item.properties.get(f"gv:{name}") for name in ("place", "split", "label")}
    return {name: value for name, value in said.items() if isinstance(value, str)}
