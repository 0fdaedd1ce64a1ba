"""Which images of a view are a series: the dates of one ground, in their order.

An order needs the column ``start``, the time from which an image shows the ground.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely
from jaxtyping import Bool, Int

from gv_data import antimeridian
from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.images import Images
from gv_data.sources import Source
from gv_data.store.grids import Grids
from gv_data.store.query import one_statement

if TYPE_CHECKING:
    from gv_data.catalog import Catalog

_INSET = 1e-6
"""Share of a window's side that it is made smaller by: neighbours only touch it."""


@dataclass(frozen=True, eq=False)
class Dated:
    """The images of a view, each with its date.

    Attributes:
        images: In the order of the view.
        times: When each begins, in UTC; every one is known.
    """

    images: Images
    times: pd.DatetimeIndex

    @classmethod
    def of(cls, catalog: "Catalog") -> "Dated":
        """The images of a view.

        Raises:
            CatalogError: If one has no ``start``.
        """
        way = "\n  try: gv-data index ... --dates FORMAT, where file names tell the date"
        if "start" not in catalog.sql("SELECT * FROM images LIMIT 0").column_names:
            raise CatalogError(
                f"a series is ordered by the column start, which {catalog.said} lacks{way}"
            )
        times = starts(catalog, "start")
        missing = np.flatnonzero(times.isna())
        if len(missing):
            raise CatalogError(
                f"a series is ordered by the column start, which {len(missing):,} of {len(times):,}"
                f" images in {catalog.said} lack, {catalog.images.ids[missing[0]]} for one{way}"
            )
        return cls(catalog.images, times)

    @cached_property
    def days(self) -> Int[np.ndarray, " n"]:
        """Of each image, since 1970-01-01 UTC; of what is earlier, below 0."""
        return self.times.to_numpy("datetime64[D]").astype(np.int64)

    def ordered(self, rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " m"]:
        """Positions of images in the order of their times, of one time in that of the view."""
        rows = np.sort(rows)
        return rows[np.argsort(self.times.to_numpy()[rows], kind="stable")]

    def over(self, grid: Grid) -> Int[np.ndarray, " m"]:
        """Positions of the images that show some of a grid's ground, in their order.

        Raises:
            CatalogError: If the grid is not georeferenced.
        """
        if grid.crs is None:
            raise CatalogError("a window without georeference lies under no other view's images")
        ring = Grids.of([grid]).outlines_lonlat()
        ring[..., 0] = antimeridian.unwrapped(ring[..., 0])
        inner = ring + _INSET * (ring.mean(axis=1, keepdims=True) - ring)
        (outline,) = antimeridian.polygons(inner)
        return self.ordered(self._tree.query(outline, predicate="intersects"))

    @cached_property
    def _tree(self) -> shapely.STRtree:
        outlines = self.images.grids.outlines_lonlat()
        placed = np.isfinite(outlines).all(axis=(1, 2))
        shapes = np.full(len(outlines), None)
        shapes[placed] = antimeridian.polygons(outlines[placed])
        return shapely.STRtree(shapes)


@dataclass(frozen=True, eq=False)
class Stack:
    """The items of a view: images that belong together, as one series each.

    Attributes:
        dated: All images of the view.
        members: Positions of the images of each item, in the order of their times.
        leads: Position of the image whose grid and labels are those of the item: the first one with
            labels, or the first.
    """

    dated: Dated
    members: tuple[Int[np.ndarray, " m"], ...]
    leads: Int[np.ndarray, " n"]

    @classmethod
    def of(cls, catalog: "Catalog", by: str) -> "Stack":
        """Group the images of a view.

        Args:
            catalog: The view.
            by: SQL expression over ``images``; images that share its value are an item. Items are
                in the order of the values.

        Raises:
            CatalogError: If it is not one expression or has no value for an image; or if images of
                an item have no date, other bands, other labels or no ground in common.
        """
        for text in (f"SELECT {by}", f"SELECT (\n{by}\n)"):
            one_statement(text, f"stack {by!r}")
        table = catalog.sql(
            "SELECT dense_rank() OVER (ORDER BY item) - 1 AS number, item IS NULL AS alone, bands "
            f"FROM (SELECT id, bands, (\n{by}\n) AS item FROM images) ORDER BY id"
        )
        alone = np.flatnonzero(table["alone"].to_numpy())
        if len(alone):
            raise CatalogError(
                f"{len(alone):,} of {len(table):,} images in {catalog.said} belong to no item, "
                f"{catalog.images.ids[alone[0]]} for one\n  try: the condition ({by}) IS NOT NULL"
            )
        dated = Dated.of(catalog)
        numbers = table["number"].to_numpy()
        order = np.argsort(numbers, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        members = tuple(dated.ordered(rows) for rows in groups if len(rows))
        labels = _labels(catalog)
        leads = [next((row for row in rows if labels[row]), rows[0]) for rows in members]
        stack = cls(dated, members, np.array(leads, np.int64))
        stack._check(table["bands"].to_pylist(), labels)
        return stack

    def _check(self, bands: Sequence[list[str]], labels: Sequence[object]) -> None:
        """Refuse images that cannot be one item."""
        ids, shown = self.dated.images.ids, _on_one_ground(self.dated.images.grids, self._pairs)
        for lead, rows in zip(self.leads.tolist(), self.members, strict=True):
            for row in rows.tolist():
                both = f"{ids[row]} and {ids[lead]} are stacked"
                if bands[row] != bands[lead]:
                    raise CatalogError(
                        f"{both} and have other bands, {'+'.join(bands[row])} and "
                        f"{'+'.join(bands[lead])}\n  try: a condition such as len(bands) = "
                        f"{len(bands[lead])}, or a stack by the sensor as well"
                    )
                if labels[row] and labels[row] != labels[lead]:
                    raise CatalogError(
                        f"{both} and have other labels: an item has one truth, {labels[lead]} or "
                        f"{labels[row]}\n  try: a stack that keeps them apart, or labels of one of "
                        "them only"
                    )
                if not shown[row]:
                    raise CatalogError(
                        f"{both} and share no ground (or, without georeference, differ in size)\n"
                        "  try: a stack that tells places apart, such as the name of the tile"
                    )

    @property
    def _pairs(self) -> Int[np.ndarray, " n"]:
        """The leading image of the item of each image."""
        lead = np.empty(len(self.dated.images), np.int64)
        for first, rows in zip(self.leads, self.members, strict=True):
            lead[rows] = first
        return lead

    @property
    def counts(self) -> Int[np.ndarray, " n"]:
        """Number of dates of each item."""
        return np.array([len(rows) for rows in self.members])

    def summed(self, values: np.ndarray) -> np.ndarray:
        """Of each item, the sum over its images."""
        return np.array([values[rows].sum() for rows in self.members])


def starts(catalog: "Catalog", column: str) -> pd.DatetimeIndex:
    """A column of times of each image, in UTC; NaT where it says nothing.

    Raises:
        CatalogError: If it holds what is no time.
    """
    table = catalog.sql(f'SELECT "{column}" AS time FROM images ORDER BY id')
    try:
        times = pd.to_datetime(table["time"].to_pandas(), utc=True)
    except (ValueError, TypeError) as error:
        raise CatalogError(f"the column {column} of {catalog.said} is no time: {error}") from error
    return pd.DatetimeIndex(times).tz_localize(None).as_unit("ns")


def _labels(catalog: "Catalog") -> list[str]:
    """What the labels of each image are, in words that differ when they do; empty for none."""
    table = catalog.sql("SELECT label, source FROM images ORDER BY id")
    columns = [catalog.images.named(name) for name in ("vectors", "mask", "labelled_area")]
    settings = [_settings(source) for source in catalog.sources]
    found = []
    for vectors, mask, area, name, source in zip(
        *columns, *(table[key].to_pylist() for key in ("label", "source")), strict=True
    ):
        said = [vectors, mask, area and f"inside {area}", name]
        words = [word for word in said if word]
        found.append(" ".join([*words, settings[source]]).strip() if words else "")
    return found


def _settings(source: Source) -> str:
    """How a source reads its labels, where it is not the usual way."""
    usual, names = Source(""), ("labels_crs", "labels_swapped", "label_column")
    found = {name: getattr(source, name) for name in (*names, "classes", "mask_values", "ignore")}
    return " ".join(f"{k}={v}" for k, v in found.items() if v != getattr(usual, k))


def _on_one_ground(grids: Grids, lead: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Whether each grid shares ground with another one."""
    shown = _meet(grids.bounds, grids.bounds[lead])
    unplaced = np.array([crs is None for crs in grids.systems])[grids.crs]
    shown[unplaced] = (grids.shapes_hw == grids.shapes_hw[lead]).all(axis=1)[unplaced]
    other = grids.crs != grids.crs[lead]
    if other.any():
        outlines = grids.outlines_lonlat()  # NaN meets nothing
        degrees = np.concatenate([outlines.min(axis=1), outlines.max(axis=1)], axis=1)
        shown[other] = _meet(degrees[other], degrees[lead[other]])
    return shown


def _meet(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Whether rectangles of west, south, east, north have an area in common."""
    return ((one[:, :2] < other[:, 2:]) & (other[:, :2] < one[:, 2:])).all(axis=1)
