"""A view of a catalog as STAC, for programs that know nothing of ours.

One GeoParquet table in the layout of stac-geoparquet 1.1
(https://radiantearth.github.io/stac-geoparquet-spec), one row an item, the collection in its
footer; or a static catalog, a folder of JSON files. Addresses of images on this disk are relative
to where the items lie: both can be moved together. What is written appears whole or not at all.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import batched, chain, count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
from pyproj import CRS

from gv_data.atomic import replacing
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.locations import is_remote, located
from gv_data.stac.stac import DATES, ITEM_FIELDS, TABLES, Item, Items, collection, to_json
from gv_data.vectors import geoparquet

_ROW_GROUP = 10_000

_TIME = pa.timestamp("us", "UTC")

_TOP = {
    "type": pa.string(),  # not asked for, but readers make items of rows as they are
    "stac_version": pa.string(),
    "stac_extensions": pa.list_(pa.string()),
    "id": pa.string(),
    "collection": pa.string(),
    "links": pa.list_(pa.struct(dict.fromkeys(("href", "rel", "type"), pa.string()))),
}

_PROPERTIES = {
    **dict.fromkeys(DATES, _TIME),
    "gsd": pa.float64(),
    "proj:code": pa.string(),
    "proj:wkt2": pa.string(),
    "proj:shape": pa.list_(pa.int32()),
    "proj:transform": pa.list_(pa.float64()),
    "proj:bbox": pa.list_(pa.float64()),
    "gv:place": pa.string(),
    "gv:split": pa.string(),
    "gv:label": pa.string(),
    "gv:window": pa.list_(pa.int32()),
    "gv:source": pa.string(),
}

_STATISTICS = {
    **dict.fromkeys(("minimum", "maximum", "mean", "stddev"), pa.float64()),
    "count": pa.int64(),
    "valid_percent": pa.float64(),
}

_BAND = {
    "name": pa.string(),
    "eo:common_name": pa.string(),
    "statistics": pa.struct(_STATISTICS),
}

_ASSET = {"href": pa.string(), "type": pa.string(), "roles": pa.list_(pa.string())}

_IMAGE = {
    **_ASSET,
    "file:size": pa.int64(),
    "data_type": pa.string(),
    "bands": pa.list_(pa.struct(_BAND)),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: The table, or the file of the collection.
        items: Number of items.
        undated: Number of items that have no date, and say so by an interval of all time.
    """

    path: Path
    items: int
    undated: int


def export(
    view: Catalog,
    out: Path,
    *,
    licence: str = "other",
    overwrite: bool = False,
    track: Callable[[Iterable[Item], int], Iterable[Item]] = lambda items, total: items,
) -> Exported:
    """Write a view as STAC.

    Args:
        view: The images.
        out: A file ending in ``.parquet``, or a folder that is not there yet: the file
            ``collection.json`` with ``items/`` beside it. ``folder/name.json`` names the file.
        licence: SPDX identifier of the images' licence; ``other`` where there is none.
        overwrite: Whether a table that is there may be replaced; a folder never is.
        track: Wraps the items, of a known number, to show progress.

    Returns:
        What was written.

    Raises:
        CatalogError: If the view holds no image or cannot be read, or ``out`` is not on this disk.
        FileExistsError: If ``out`` is there and may not be replaced.
    """
    if is_remote(located(out)):
        raise CatalogError(f"{out} is not on this disk: export to a folder here and copy it there")
    name = view.path.resolve().name
    if out.suffix.lower() in TABLES:
        items = Items(view, out.parent, name)
        with replacing(out, overwrite=overwrite) as part:
            _write_table(items, track(items, len(items)), part, out.name, licence)
        return Exported(out, items.extent.items, items.extent.undated)
    folder, file = (out.parent, out.name) if out.suffix == ".json" else (out, "collection.json")
    items = Items(view, folder / "items", name)
    with replacing(folder) as part:
        _write_files(items, track(items, len(items)), part, file, licence)
    return Exported(folder / file, items.extent.items, items.extent.undated)


def _write_table(
    items: Items, tracked: Iterable[Item], part: Path, name: str, licence: str
) -> None:
    """One row an item; the collection is the file's own, so links lead back to it."""
    image = _IMAGE | ({"nodata": pa.float64()} if items.has_nodata else {})
    assets = {asset: pa.struct(_ASSET) for asset in items.assets} | {"image": pa.struct(image)}
    own = {column.name: column.type for column in items.own}
    schema = pa.schema({**_TOP, "assets": pa.struct(assets), **_PROPERTIES, **own})
    media = "application/vnd.apache.parquet"
    link = {"href": quote(name), "rel": "collection", "type": media}
    with geoparquet.Sink(part, CRS("OGC:CRS84"), schema) as sink:
        for batch in batched(tracked, _ROW_GROUP):
            rows = [_row(item, link) for item in batch]
            columns = pa.Table.from_pylist(rows, schema).to_pandas(types_mapper=pd.ArrowDtype)
            sink.write(columns, np.array([item["geometry"] for item in batch], object))
        described = {items.collection: collection(items, licence)}
        footer = {"version": "1.1.0", "collections": described}
        sink.finish({"stac-geoparquet": json.dumps(footer)})


def _row(item: Item, link: Mapping[str, str]) -> dict[str, Any]:
    """An item with its properties beside what stands at its top."""
    top = {name: item[name] for name in ITEM_FIELDS if name in _TOP}
    return {**item["properties"], **top, "links": [link], "assets": item["assets"]}


def _write_files(
    items: Items, tracked: Iterable[Item], folder: Path, file: str, licence: str
) -> None:
    """A collection that links to its items, which link back."""
    (folder / "items").mkdir(parents=True)
    up = [
        {"rel": rel, "href": quote(f"../{file}"), "type": "application/json"}
        for rel in ("root", "parent", "collection")
    ]
    down = [{"rel": "root", "href": quote(f"./{file}"), "type": "application/json"}]
    for item, name in _named(tracked):
        text = to_json({**item, "links": up})
        (folder / "items" / name).write_text(text, encoding="utf-8")
        down.append({"rel": "item", "href": f"./items/{name}", "type": "application/geo+json"})
    described = collection(items, licence) | {"links": down}
    (folder / file).write_text(to_json(described), encoding="utf-8")


def _named(items: Iterable[Item]) -> Iterator[tuple[Item, str]]:
    """Items and names of files for them: plain letters, different also where case is ignored."""
    taken: set[str] = set()
    for number, item in enumerate(items):
        plain = "".join(
            c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in item["id"]
        )
        tried = chain([plain[:150]], (f"{plain[:150]}_{n}" for n in count(number)))
        name = next(name for name in tried if name and name.lower() not in taken)
        taken.add(name.lower())
        yield item, f"{name}.json"
