"""STAC items from files of others: tables in the stac-geoparquet layout, JSON, static catalogs.

Nothing that is read is trusted. Links are followed only below the folder of the file that was
given; addresses of images must be those of files below a root; geometry is not even looked at,
because files of others have crashed programs by nesting it and the images say where they lie.
"""

import datetime as dt
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from gv_data.errors import CatalogError
from gv_data.stac.stac import ITEM_FIELDS, TABLES

JSON_BYTES_MAX = 512 * 2**20
"""Largest JSON file that is read: it becomes some times as many bytes of objects."""

ID_MAX = 500
"""Longest name of an item."""

PROPERTIES_MAX = 500
"""Most properties that items of one import may have: each becomes a column."""

_SCHEME = re.compile(r"([^/]*?):")
"""What stands before a colon: of an address, a drive or one of GDAL's own names of data sets."""

_ROWS = 1_000


@dataclass(frozen=True)
class Asset:
    """A file of an item.

    Attributes:
        href: Its address as the item has it.
        media: Media type, or nothing.
        roles: What it is for.
    """

    href: str
    media: str
    roles: tuple[str, ...]

    @property
    def is_image(self) -> bool:
        """Whether it is a picture of the ground, not one for people to look at."""
        return self.media.startswith("image/") and not {"thumbnail", "overview"} & {*self.roles}


@dataclass(frozen=True)
class Item:
    """One item.

    Attributes:
        id: Its name.
        home: Folder of the file that was given.
        folder: What its addresses are relative to.
        assets: Its files by name.
        properties: What is said of it; geometry and the like are left out.
    """

    id: str
    home: Path
    folder: Path
    assets: Mapping[str, Asset]
    properties: Mapping[str, Any]

    def image(self, wanted: str | None) -> str:
        """The name of the asset that is the image.

        Args:
            wanted: Its name, if it is known.

        Raises:
            CatalogError: If there is no such asset, or several could be meant.
        """
        there = ", ".join(self.assets) or "none"
        if wanted is not None:
            if wanted not in self.assets:
                raise CatalogError(f"item {self.id} has no asset {wanted!r}; it has: {there}")
            return wanted
        if "image" in self.assets:
            return "image"
        data = [name for name, asset in self.assets.items() if "data" in asset.roles]
        images = [name for name, asset in self.assets.items() if asset.is_image]
        for names in (data, images):
            if len(names) == 1:
                return names[0]
        raise CatalogError(f"item {self.id} has the assets {there}: say which with --asset NAME")

    def file(self, asset: str, root: Path | None) -> Path:
        """Where an asset is, whether it is there or not.

        Raises:
            CatalogError: If it is no file below the root.
        """
        return local(self.assets[asset].href, self.folder, root or self.home)


@dataclass
class Found:
    """What was read.

    Attributes:
        items: The items.
        refused: What could not be read, with the reason.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, given: Sequence[Path]) -> Self:
        """Read items.

        Args:
            given: Tables in the stac-geoparquet layout, items, item collections, and collections or
                catalogs, whose links are followed.

        Raises:
            CatalogError: If a given file is none of these.
        """
        found = cls()
        for path in given:
            if path.suffix.lower() in TABLES:
                found.take(path, _rows(path), path.parent, path.parent)
            else:
                found.follow(path)
        return found

    def follow(self, given: Path) -> None:
        """Read a JSON file and those it links to.

        Raises:
            CatalogError: If the given file is no STAC.
        """
        home = given.parent.resolve()
        waiting, seen = [given.resolve()], set()
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            try:
                data = _json(path)
                match data.get("type"):
                    case "Feature":
                        self.take(path, [data], home, path.parent)
                    case "FeatureCollection":
                        self.take(path, _list(data, "features"), home, path.parent)
                    case "Collection" | "Catalog":
                        waiting += reversed(list(self._linked(path, data, home)))
                    case kind:
                        raise CatalogError(f"{path} is no STAC: its type is {kind!r}")
            except CatalogError as error:
                if path == given.resolve():
                    raise
                self.refused.append((str(path), str(error)))

    def _linked(self, path: Path, data: Mapping[str, Any], home: Path) -> Iterator[Path]:
        """The items and catalogs that a catalog links to."""
        for link in _list(data, "links"):
            if not isinstance(link, dict) or link.get("rel") not in ("item", "child"):
                continue
            href = link.get("href")
            try:
                yield local(href if isinstance(href, str) else "", path.parent, home)
            except CatalogError as error:
                self.refused.append((str(href), f"{path} links to an item, but {error}"))

    def take(self, path: Path, rows: Iterator[Any] | list[Any], home: Path, folder: Path) -> None:
        """Keep what are items."""
        for row in rows:
            try:
                self.items.append(_item(row, home, folder))
            except CatalogError as error:
                self.refused.append((str(path), f"{path}: {error}"))


def local(href: str, folder: Path, root: Path) -> Path:
    """The file that an address means.

    Args:
        href: A path, relative to the folder or not; as an address its letters may be encoded.
        folder: What it is relative to.
        root: Folder that it may not leave, links of the file system included.

    Returns:
        Its path without links; it need not be there.

    Raises:
        CatalogError: If it is an address elsewhere, or lies outside the root.
    """
    if scheme := _SCHEME.match(href):
        raise CatalogError(
            f"{href[:200]!r} cannot be imported: {scheme[1][:20]}: is not read, only files on disk "
            "are: fetch it first"
        )
    plain = _below(href, folder, root)
    return plain if plain.is_file() else _below(unquote(href), folder, root)


def _below(name: str, folder: Path, root: Path) -> Path:
    """A path in a folder, refused if it leaves the root."""
    said = f"{name[:200]!r}"
    if not name or not name.isprintable() or "\\" in name or name.startswith(("~", "/vsi", "<")):
        raise CatalogError(f"{said} cannot be imported: it is no path of a file")
    try:
        path = (folder / name).resolve()
        path.with_name(f"{path.name}.msk.ovr").is_file()  # what GDAL will look for
    except (OSError, RuntimeError, ValueError) as error:  # too long, links in a circle, a root
        raise CatalogError(f"{said} cannot be imported: it is no path of a file") from error
    if not path.is_relative_to(root.resolve()):
        raise CatalogError(
            f"{said} lies outside {root}\n  try: --root FOLDER, one that holds all images"
        )
    return path


def _item(row: object, home: Path, folder: Path) -> Item:
    match row if isinstance(row, dict) else {}:
        case {"id": str(id), "assets": dict(assets), "properties": dict(properties), **top}:
            whose = top.get("collection")
        case _:
            raise CatalogError("no item: one has an id, assets and properties")
    if not id or len(id) > ID_MAX or not id.isprintable():
        raise CatalogError(f"an item is called {id[:50]!r}: no name of an image")
    kept: dict[str, Asset] = {}
    for name, asset in assets.items():
        match asset:
            case {"href": str(href)}:
                roles = asset.get("roles")
                media = asset.get("type")
                kept[name] = Asset(
                    href,
                    media if isinstance(media, str) else "",
                    tuple(map(str, roles)) if isinstance(roles, list) else (),
                )
    said = {"collection": whose} if isinstance(whose, str) else {}
    return Item(id, home, folder, kept, {**properties, **said})


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > JSON_BYTES_MAX:
            raise CatalogError(f"{path} is larger than {JSON_BYTES_MAX // 2**20} MiB of JSON")
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else error
        raise CatalogError(f"{path} cannot be read as JSON: {reason}") from error
    if not isinstance(data, dict):
        raise CatalogError(f"{path} is no STAC: it holds no object")
    return data


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    found = data.get(name)
    return found if isinstance(found, list) else []


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table as items; geometry, boxes and links are not read.

    Raises:
        CatalogError: If it cannot be read or is no such table.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            if not {"id", "assets"} <= set(schema.names):
                raise CatalogError(f"{path} is no stac-geoparquet: it lacks id or assets")
            if len(schema) > PROPERTIES_MAX:
                raise CatalogError(f"{path} has {len(schema)} columns, at most {PROPERTIES_MAX}")
            left_out = {*ITEM_FIELDS} - {"id", "assets", "collection"}
            columns = [
                column.name
                for column in schema
                if column.name not in left_out and not pa.types.is_binary(column.type)
            ]
            for batch in file.iter_batches(_ROWS, columns=columns):
                for row in batch.to_pylist():
                    yield _nested(row)
    except (OSError, pa.ArrowException, ValueError, OverflowError) as error:
        raise CatalogError(f"{path} cannot be read as a table: {error}") from error


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """A row as the item it was."""
    top = {name: row.pop(name) for name in ("id", "assets", "collection") if name in row}
    return {**top, "properties": {k: v for k, v in row.items() if v is not None}}


def moment(value: object) -> dt.datetime | None:
    """A time in UTC, from text as RFC 3339 has it or from a table.

    Raises:
        CatalogError: If it is something else.
    """
    match value:
        case None:
            return None
        case str():
            try:
                value = dt.datetime.fromisoformat(value)
            except ValueError as error:
                raise CatalogError(f"{value[:50]!r} is no time") from error
        case dt.datetime():
            pass
        case _:
            raise CatalogError(f"{str(value)[:50]!r} is no time")
    try:
        return value.replace(tzinfo=value.tzinfo or dt.UTC).astimezone(dt.UTC)
    except OverflowError as error:
        raise CatalogError(f"{value} is no time") from error
