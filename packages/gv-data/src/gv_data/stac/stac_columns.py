"""What STAC says of images beside the pixels, as columns of a catalog.

The names stay as they are (``eo:cloud_cover``); what describes the pixels is left out, since the
files say it themselves.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain, count
from typing import Any

import pyarrow as pa

from gv_data.errors import CatalogError
from gv_data.stac.stac import ANY_TIME, DATES, ITEM_FIELDS
from gv_data.stac.stac_items import PROPERTIES_MAX, moment
from gv_data.store.tables import IMAGES

NAME_MAX = 100
"""Longest name of a column."""

TIMES = ("datetime", "created", "updated", "published", "expires", "unpublished")
"""Properties that are times, in JSON too."""

_OF_PIXELS = ("proj:", "raster:", "gv:")
_OF_IMAGES = {"gsd", "bands", "eo:bands", "data_type", "nodata", "statistics", "unit"}


def span(properties: Mapping[str, Any]) -> dict[str, dt.datetime | None]:
    """When an image was taken: the columns ``start`` and ``end``.

    Raises:
        CatalogError: If a date is no time.
    """
    at, first, last = (moment(properties.get(name)) for name in DATES)
    if (first, last) == ANY_TIME:
        first = last = None
    return {"start": first or at or last, "end": last or at or first}


def columns(properties: Sequence[Mapping[str, Any]], taken: Sequence[str]) -> dict[str, pa.Array]:
    """Columns of some images, and what they hold.

    Args:
        properties: Of each image, in order.
        taken: Names of columns that the catalog has beside its usual ones.

    Returns:
        The columns by name. A property whose name a column of ours has gets ``stac_`` before it;
        one that holds objects, or values of several kinds, becomes JSON text.

    Raises:
        CatalogError: If there are too many, or a name cannot be that of a column.
    """
    names = dict.fromkeys(name for row in properties for name in row)
    wanted = [name for name in names if not _describes(name)]
    if len(wanted) > PROPERTIES_MAX:
        raise CatalogError(f"the items have {len(wanted):,} properties, at most {PROPERTIES_MAX}")
    spans = [span(row) for row in properties]
    ours = {
        name: pa.array([one[name] for one in spans], pa.timestamp("us", "UTC"))
        for name in ("start", "end")
    }
    found = {name: column for name, column in ours.items() if column.null_count < len(column)}
    # DuckDB sees no difference between small and capital letters
    used = {name.casefold() for name in (*IMAGES.names, *ITEM_FIELDS, *ours, *taken)}
    used -= {"collection"}
    for name in wanted:
        column = _column(name, [row.get(name) for row in properties])
        tried = chain([name, f"stac_{name}"], (f"stac_{name}_{n}" for n in count(2)))
        called = next(one for one in tried if one.casefold() not in used)
        if not (name and name.isprintable()) or len(called) > NAME_MAX:
            raise CatalogError(f"a property is called {name[:50]!r}: no name of a column")
        if column.null_count < len(column):
            used.add(called.casefold())
            found[called] = column
    return found


def _describes(name: str) -> bool:
    """Whether a property describes pixels or belongs to the dates."""
    return name.startswith(_OF_PIXELS) or name in _OF_IMAGES or name in DATES[1:]


def _column(name: str, values: list[Any]) -> pa.Array:
    if name in TIMES:
        with suppress(CatalogError):  # text, then
            return pa.array([moment(value) for value in values], pa.timestamp("us", "UTC"))
    nested = (dict, list)
    deep = any(
        isinstance(value, dict)
        or (isinstance(value, list) and any(isinstance(one, nested) for one in value))
        for value in values
    )
    if not deep:
        with suppress(pa.ArrowException, OverflowError, TypeError):  # of several kinds
            return pa.array(values)
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, default=str)
    except RecursionError as error:
        raise CatalogError("a property is too deeply nested") from error
