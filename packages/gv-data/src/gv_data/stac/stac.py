"""What STAC says of images: items and their collection, from the rows of a catalog.

STAC 1.1 (https://github.com/radiantearth/stac-spec/tree/v1.1.0) with the extensions projection 2.0,
eo 2.0 and file 2.1. What STAC has no word for stands in properties that begin with ``gv:``, so that
a catalog of ours comes back as it was. No image is opened.
"""

import datetime as dt
import decimal
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import shapely

from gv_data import antimeridian
from gv_data.antimeridian import Outline
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.sources import Source
from gv_data.store.tables import IMAGES

type Item = dict[str, Any]
"""A STAC item; its geometry is a shapely outline or None, its dates are datetimes."""

type Row = Mapping[str, Any]
"""A row of ``images.parquet``."""

VERSION = "1.1.0"

TABLES = (".parquet", ".geoparquet")
"""Endings of a table in the stac-geoparquet layout."""

PROJECTION = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"
EO = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"

ANY_TIME = (
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
)
"""The interval of an image of which nobody said when it was taken: STAC has no items without."""

LABELS = {
    "vectors": ["labels", "labels-vector"],
    "labelled_area": ["metadata"],
    "mask": ["labels", "labels-raster"],
}
"""Roles of the assets that hold labels; other assets are data."""

DATES = ("datetime", "start_datetime", "end_datetime")

ITEM_FIELDS = (
    *("type", "stac_version", "stac_extensions", "id", "geometry", "bbox"),
    *("collection", "links", "assets"),
)
"""What stands at the top of an item; no property may be called so."""

_MEDIA = {
    ".tif": "image/tiff; application=geotiff",
    ".tiff": "image/tiff; application=geotiff",
    ".jp2": "image/jp2",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gpkg": "application/geopackage+sqlite3",
    ".geojson": "application/geo+json",
    ".json": "application/geo+json",
    ".parquet": "application/vnd.apache.parquet",
    ".geoparquet": "application/vnd.apache.parquet",
    ".fgb": "application/vnd.flatgeobuf",
}

_COMMON_NAMES = {
    *("pan", "coastal", "blue", "green", "green05", "yellow", "red"),
    *("rededge", "rededge071", "rededge075", "rededge078", "nir", "nir08", "nir09"),
    *("cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12"),
}
"""Names of bands that the eo extension knows."""

_GENERATED = {*DATES, "start", "end", "gsd", "figures"}

_FIGURES = ("minimum", "maximum", "mean", "m2", "valid", "invalid")

_ROWS = 2_000
"""Rows that are Python objects at a time."""


@dataclass
class Extent:
    """Where and when the items seen so far lie."""

    spans: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    heights: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    items: int = 0
    undated: int = 0

    def add(self, item: Item) -> None:
        """See one more."""
        self.items += 1
        moment, start, end = (item["properties"].get(name) for name in DATES)
        start, end = start or moment, end or moment
        if (start, end) == ANY_TIME:
            self.undated += 1
            return
        self.first = min(filter(None, (self.first, start)))
        self.last = max(filter(None, (self.last, end)))

    def cover(self, footprints: np.ndarray) -> None:
        """Reach around the footprints of some items, or None."""
        bounds = shapely.bounds(shapely.get_parts(footprints))
        bounds = bounds[np.isfinite(bounds).all(axis=1)]
        self.spans = antimeridian.merged(np.concatenate([self.spans, bounds[:, [0, 2]]]))
        self.heights = np.concatenate([self.heights, bounds[:, [1, 3]]])
        if len(self.heights):
            self.heights = np.stack([self.heights.min(axis=0), self.heights.max(axis=0)])

    @property
    def box(self) -> list[float]:
        """West, south, east, north; west lies above east where it crosses the antimeridian."""
        if not len(self.spans):
            return [-180, -90, 180, 90]  # without any footprint: somewhere on the Earth
        west, east = antimeridian.shortest(self.spans)
        return [west, float(self.heights[:, 0].min()), east, float(self.heights[:, 1].max())]


class Items:
    """The items of a view, in the order of its rows.

    Attributes:
        collection: What the collection is called.
        assets: Names of the assets that occur; ``image`` is always one.
        has_nodata: Whether a value means no data in any image.
        own: Columns of the set's own, which become properties.
        extent: Of the items that were iterated over.
    """

    def __init__(self, view: Catalog, folder: Path, collection: str) -> None:
        """Ask for all rows.

        Args:
            view: The images.
            folder: Where what is made of the items will lie: addresses are relative to it.
            collection: What the collection is called.

        Raises:
            CatalogError: If the view holds no image or cannot be read.
        """
        figures = ", ".join(f"'{name}': {name}" for name in _FIGURES)
        self._rows = view.sql(
            "SELECT images.* REPLACE (ST_AsWKB(geometry) AS geometry), figures FROM images "
            f"LEFT JOIN (SELECT id, list({{{figures}}} ORDER BY position) AS figures "
            "FROM statistics WHERE asset = 'image' GROUP BY id) USING (id) ORDER BY id"
        )
        if not len(self._rows):
            raise CatalogError(f"{view.said} holds no image: there is nothing to export")
        images = view.images
        if images.ids != self._rows["id"].to_pylist():
            raise CatalogError(f"{view.path} was changed while it was read: run again")
        self._grids = images.grids
        self._roots = images.folders
        self._folder = str(folder.resolve())
        self.collection = collection
        self.extent = Extent()
        self._said = [_settings(source) for source in view.sources]
        self._formats = [source.labels_format for source in view.sources]
        pairs = sorted({name for source in view.sources for name in source.assets})
        there = [name for name in (*LABELS, *pairs) if self._rows[name].null_count < len(self)]
        self.assets = ("image", *there)
        self.has_nodata = self._rows["nodata"].null_count < len(self)
        self.own = pa.schema(
            [
                column
                for column in self._rows.schema
                if column.name not in {*IMAGES.names, *pairs, *ITEM_FIELDS, *_GENERATED}
                and not pa.types.is_binary(column.type)
            ]
        )

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Item]:
        self.extent = Extent()
        for start in range(0, len(self), _ROWS):
            part = self._rows.slice(start, _ROWS)
            # RFC 7946 wants outer rings counterclockwise
            footprints = shapely.orient_polygons(
                shapely.from_wkb(part["geometry"].to_numpy(zero_copy_only=False))
            )
            self.extent.cover(footprints)
            rows = zip(
                part.drop_columns(["geometry"]).to_pylist(),
                footprints,
                antimeridian.boxes(footprints).tolist(),
                strict=True,
            )
            for number, (row, footprint, box) in enumerate(rows, start):
                item = self._item(number, row, footprint, box)
                self.extent.add(item)
                yield item

    def _item(self, number: int, row: Row, footprint: Outline | None, box: list[float]) -> Item:
        assets = {name: self._asset(row, name) for name in self.assets if row[name] is not None}
        extensions = [PROJECTION, FILE]
        if any("eo:common_name" in band for band in assets["image"]["bands"]):
            extensions.append(EO)
        grids, source = self._grids, row["source"]
        crs = grids.systems[grids.crs[number]]
        placed = {} if crs is None else {"proj:bbox": grids.bounds[number].tolist()}
        return {
            "type": "Feature",
            "stac_version": VERSION,
            "stac_extensions": extensions,
            "id": row["id"],
            "collection": self.collection,
            "geometry": footprint,
            **({} if footprint is None else {"bbox": box}),
            "properties": {
                **{name: row[name] for name in self.own.names},
                **_dates(row),
                **_properties(row),
                **placed,
                "gv:source": self._said[source],
            },
            "links": [],
            "assets": assets,
        }

    def _asset(self, row: Row, name: str) -> dict[str, Any]:
        """One file of an image."""
        path = f"{self._roots[row['source']].rstrip('/')}/{row[name]}"
        href = path if "://" in path else os.path.relpath(path, self._folder)
        asset: dict[str, Any] = {"href": quote(href, safe="/:" if href is path else "/")}
        if media := _MEDIA.get(os.path.splitext(path)[1].lower()):  # noqa: PTH122  ten times as fast
            asset["type"] = media
        if name == "vectors" and self._formats[row["source"]] == "coco":
            asset["type"] = "application/json"
        asset["roles"] = LABELS.get(name, ["data"])
        if name == "image":
            asset |= {"file:size": row["bytes"], "data_type": row["dtype"]}
            if row["nodata"] is not None:
                asset["nodata"] = row["nodata"]
            asset["bands"] = _bands(row["bands"], row["figures"] or [])
        return asset


def collection(items: Items, licence: str) -> dict[str, Any]:
    """The collection of some items that were iterated over; its links are for the caller to add.

    Args:
        items: The items.
        licence: An SPDX identifier, or ``other``.
    """
    extent = items.extent
    between = [None if moment is None else _text(moment) for moment in (extent.first, extent.last)]
    return {
        "type": "Collection",
        "stac_version": VERSION,
        "stac_extensions": [],
        "id": items.collection,
        "description": f"{extent.items:,} images of the catalog {items.collection}",
        "license": licence,
        "extent": {
            "spatial": {"bbox": [extent.box]},
            "temporal": {"interval": [between]},
        },
        "links": [],
    }


def to_json(item: Mapping[str, Any]) -> str:
    """An item or a collection as JSON; properties without a value are left out."""
    whole = dict(item)
    if "properties" in whole:
        kept = {k: v for k, v in whole["properties"].items() if v is not None}
        dated = {"datetime": whole["properties"]["datetime"]}
        whole["properties"] = dated | kept
        footprint = whole["geometry"]
        whole["geometry"] = None if footprint is None else json.loads(shapely.to_geojson(footprint))
        image = whole["assets"]["image"]
        if not math.isfinite(image.get("nodata", 0)):
            whole["assets"] |= {"image": image | {"nodata": str(image["nodata"])}}
    return json.dumps(_plain(whole), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _dates(row: Row) -> dict[str, dt.datetime | None]:
    """When an image was taken, from its columns ``start``, ``end`` and ``datetime``."""
    start, end, moment = (_utc(row.get(name)) for name in ("start", "end", "datetime"))
    start, end = start or end, end or start
    if start == end:  # one moment, or nothing known
        moment = moment or start
        start = end = None
    if moment is None and start is None:
        start, end = ANY_TIME
    return {"datetime": moment, "start_datetime": start, "end_datetime": end}


def _utc(value: object) -> dt.datetime | None:
    """A time in UTC, which one without a zone is in already."""
    if not isinstance(value, dt.date):
        return None
    if not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    return value.astimezone(dt.UTC) if value.tzinfo else value.replace(tzinfo=dt.UTC)


def _properties(row: Row) -> dict[str, Any]:
    """What is known of an image, and how it was indexed."""
    shape = [row["height_px"], row["width_px"]]
    crs = row["crs"]
    named = crs is None or "[" not in crs  # such as EPSG:32637, not WKT
    return {
        "gsd": row["gsd_m"],
        "proj:shape": shape,
        "proj:transform": row["transform"],
        **({"proj:code": crs} if named else {"proj:wkt2": crs}),
        "gv:place": row["place"],
        "gv:split": row["split"],
        "gv:label": row["label"],
        "gv:window": [row["row"], row["column"], *shape],
    }


def _settings(source: Source) -> str | None:
    """What the files of a source do not say themselves, as JSON; None if they say it all."""
    said = {name: value for name, value in source.to_json().items() if name != "root"}
    return json.dumps(said) if said else None


def _bands(names: Sequence[str], figures: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bands of an image, with their statistics where it was measured."""
    known = [_statistics(band) for band in figures] or [None] * len(names)
    return [
        {"name": name}
        | ({"eo:common_name": name} if name in _COMMON_NAMES else {})
        | ({"statistics": figure} if figure else {})
        for name, figure in zip(names, known, strict=True)
    ]


def _statistics(band: Mapping[str, Any]) -> dict[str, Any]:
    valid, invalid = band["valid"], band["invalid"]
    share = {"count": valid, "valid_percent": 100 * valid / max(valid + invalid, 1)}
    if not valid:
        return share
    spread = {"stddev": math.sqrt(band["m2"] / valid)}
    return {name: band[name] for name in ("minimum", "maximum", "mean")} | spread | share


def _plain(value: object) -> object:
    """A value that JSON has."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dt.datetime():
            return _text(value)
        case dt.date():
            return value.isoformat()
        case decimal.Decimal():
            return float(value)
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case list() | tuple():
            return [_plain(one) for one in value]
        case str() | int() | None:
            return value
    return str(value)


def _text(moment: dt.datetime) -> str:
    """A moment as RFC 3339 has it, in UTC."""
    zoned = _utc(moment) or moment
    return zoned.isoformat().replace("+00:00", "Z")
