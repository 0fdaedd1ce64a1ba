"""A catalog: what images there are, where they lie and what they hold, as parquet tables.

A catalog is a folder: ``images.parquet`` (GeoParquet 1.1, one row an image or a rectangular part
of one), ``statistics.parquet`` (figures per raster and band) and ``catalog.json`` (where the files
are). Opening one reads no image. Views are lazy and immutable and speak DuckDB's SQL, which can
read nothing but their tables and write nothing.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import shapely

from gv_data.antimeridian import box_around
from gv_data.errors import CatalogError
from gv_data.images import COLUMNS, Images, Root
from gv_data.locations import beyond, common_folder, explained, is_file, located
from gv_data.sources import Source
from gv_data.statistics import Histogram, Statistics
from gv_data.store.query import answer, one_statement
from gv_data.store.statistics_table import PLAIN, pooled
from gv_data.store.tables import NAMES, SCHEMA, stored

if TYPE_CHECKING:
    from gv_data.stac.stac_export import Exported
    from gv_data.windows.dataset import CatalogDataset, Label, Sample


@dataclass(frozen=True)
class Catalog:
    """A catalog, or a view of some of its images.

    Attributes:
        path: The folder.
        conditions: SQL conditions that all must hold for an image to belong to the view.
        tables: The user's own tables that conditions may name.
        root: Where the images are now, when they have moved since they were indexed.
    """

    path: Path
    conditions: tuple[str, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    root: Path | None = None

    @classmethod
    def open(cls, path: str | Path, *, root: str | Path | None = None) -> "Catalog":
        """Open a catalog; no image is touched.

        Args:
            path: Its folder, local or on ``s3://``.
            root: Folder that now holds the images and labels, if they moved: what was below the
                deepest folder common to all of them is looked for below this one.

        Raises:
            CatalogError: If there is none, or a newer version of gv-data wrote it.
        """
        catalog = cls(located(path), root=None if root is None else located(root))
        if not is_file(catalog.path / "images.parquet"):
            raise CatalogError(
                f"{path} is not a catalog: it holds no images.parquet\n"
                f"  try: gv-data index FOLDER --labels FILE --out {path}"
            )
        schema = catalog.description.get("schema", 0)
        if schema > SCHEMA:
            raise CatalogError(
                f"{path} was written in layout {schema}, this gv-data reads up to {SCHEMA}\n"
                "  try: uv add -U gv-data"
            )
        if schema < SCHEMA:
            raise CatalogError(
                f"{path} was written in layout {schema}, this gv-data reads layout {SCHEMA}: "
                "index its images again"
            )
        return catalog

    @property
    def description(self) -> dict[str, Any]:
        """What ``catalog.json`` says, as of now."""
        file = self.path / "catalog.json"
        try:
            with explained(file):
                found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CatalogError(f"{file} cannot be read, index again: {error}") from error
        if not isinstance(found, dict):
            raise CatalogError(f"{file} cannot be read, index again: it holds no JSON object")
        return found

    def where(self, condition: str, **tables: pa.Table | str | Path) -> "Catalog":
        """The images for which an SQL condition holds.

        Args:
            condition: A DuckDB expression over the columns of ``images``.
            **tables: Tables of your own that the condition names: Arrow tables, or CSV, text or
                parquet files. The columns of a text file without header are f0, f1, ...

        Returns:
            A view. No image is read yet, but the condition is parsed.

        Raises:
            CatalogError: If it is not one SQL expression, or a table cannot be read or its name is
                taken.
        """
        for text in (f"SELECT 1 WHERE {condition}", f"SELECT 1 WHERE (\n{condition}\n)"):
            one_statement(text, f"condition {condition!r}")
        own = dict(self.tables)
        for name, value in tables.items():
            table = _table(value)
            if not name.isidentifier() or name in NAMES:
                raise CatalogError(f"a table cannot be called {name!r}: choose another name")
            if name in own and not own[name].equals(table):
                raise CatalogError(f"another table is called {name!r} already: choose another name")
            own[name] = table
        return replace(self, conditions=(*self.conditions, condition), tables=own)

    def sql(self, query: str, *, external: bool = False) -> pa.Table:
        """Answer one SQL query over the tables of the catalog, ``images`` being those of this view.

        Args:
            query: DuckDB SQL, with the pooling functions of `gv_data.store.macros`.
            external: Whether it may also read other files and the network; if not, it can read
                nothing but these tables and cannot write.

        Returns:
            An Arrow table.

        Raises:
            CatalogError: With DuckDB's words and the columns there are.
        """
        tables = {**stored(self.path), **self.tables}
        return answer(query, tables, self.conditions, external=external)

    @cached_property
    def images(self) -> Images:
        """The rows of the view, ordered by id; each becomes an `Image` when it is asked for."""
        names = ", ".join(f'"{name}"' for name in (*COLUMNS, *self.assets))
        rows = self.sql(f"SELECT {names} FROM images ORDER BY id")
        sources = self.sources  # read again after the rows, which are written last
        return Images(rows, sources, self._roots(sources))

    @property
    def sources(self) -> list[Source]:
        """What the images of each call to ``gv-data index`` have in common."""
        return [Source.from_json(source) for source in self.description["sources"]]

    @property
    def assets(self) -> tuple[str, ...]:
        """Columns that name further rasters of the same ground, beside ``image``."""
        return tuple(sorted({name for source in self.sources for name in source.assets}))

    def _roots(self, sources: list[Source]) -> list[Root]:
        """The folder of each source, where it is now."""
        recorded = [located(source.root) for source in sources]
        if self.root is None:
            return [Root(path) for path in recorded]
        common = common_folder([path / "file" for path in recorded])
        return [Root(self.root / beyond(path, common)) for path in recorded]

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def statistics(self) -> Statistics:
        """Figures of all valid pixels of the view together, per band; see `statistics_of`."""
        return self.statistics_of("image")

    def statistics_of(self, asset: str) -> Statistics:
        """Figures of all valid pixels of one kind of raster, per band.

        Args:
            asset: ``image``, or one of `assets`, such as ``sar``: then of the images that have it,
                on their ground (see `gv_data.measure.catalog_statistics.ground_of`).

        Raises:
            CatalogError: If no image of the view has it, or they differ in bands or are not all
                measured.
        """
        if asset not in ("image", *self.assets):
            raise CatalogError(
                f"{self.path} names no rasters {asset!r} (there are: "
                f"{', '.join(('image', *self.assets))})\n"
                f"  try: gv-data index ... --pair {asset}=DIR"
            )
        chosen = f"FROM statistics s SEMI JOIN images USING (id) WHERE s.asset = '{asset}'"
        count = self.sql(f'SELECT count("{asset}") AS n FROM images')["n"][0].as_py()
        bands = self.bands if asset == "image" else self._bands_measured(asset, chosen, count)
        columns = ", ".join((*PLAIN, "comoments"))
        measured = self.sql(f"SELECT {columns} {chosen} ORDER BY id, position")
        if len(measured) != count * len(bands):
            raise self._unmeasured(asset, count - len(measured) // len(bands), count)

        def histograms() -> tuple[Histogram, ...]:
            table = self.sql(
                "SELECT position, value, sum(n)::BIGINT AS n FROM (SELECT position, "
                f"unnest(map_keys(histogram)) AS value, unnest(map_values(histogram)) AS n {chosen}"
                ") GROUP BY ALL ORDER BY ALL"
            )
            position, values, counts = (table[name].to_numpy() for name in table.column_names)
            ends = np.searchsorted(position, range(len(bands) + 1))
            return tuple(Histogram(values[a:b], counts[a:b]) for a, b in pairwise(ends))

        return pooled(bands, measured, histograms)

    def _bands_measured(self, asset: str, chosen: str, count: int) -> tuple[str, ...]:
        """The bands that the measured rasters of an asset have."""
        table = self.sql(
            "SELECT DISTINCT bands FROM "
            f"(SELECT list(band ORDER BY position) AS bands {chosen} GROUP BY id) ORDER BY bands"
        )
        kinds = [tuple(bands) for bands in table["bands"].to_pylist()]
        if not kinds and count:
            raise self._unmeasured(asset, count, count)
        return self._one_kind(kinds, f"{asset} IS NOT NULL")

    def _unmeasured(self, asset: str, missing: int, count: int) -> CatalogError:
        what = "images" if asset == "image" else f"rasters {asset}"
        return CatalogError(
            f"{missing:,} of {count:,} {what} in {self.said} are not measured\n"
            f"  try: gv-data measure {self.path}"
        )

    @property
    def class_weights(self) -> dict[str, float]:
        """Weight of each class that makes rare ones count as much as common ones.

        Of all labelled pixels of the view, by the class they are of: n / (k n_c) for k classes that
        occur (King and Zeng 2001), in the order of their numbers; 0 for one that does not occur.

        Raises:
            CatalogError: If the labels are not counted, or a class has two names.
        """
        table = self.sql(
            "SELECT number, class, sum(pixels)::BIGINT AS pixels FROM labels "
            "SEMI JOIN images USING (id) GROUP BY ALL ORDER BY number"
        )
        number, names, pixels = table.to_pydict().values()
        if not sum(pixels):
            raise CatalogError(
                f"no label is counted in {self.said}\n  try: gv-data measure {self.path}"
            )
        if len(set(number)) < len(number) or len(set(names)) < len(names):
            raise CatalogError(
                f"classes differ among the images of {self.said}: {', '.join(names)}; look at "
                "SELECT DISTINCT number, class FROM labels"
            )
        share = sum(pixels) / sum(count > 0 for count in pixels)
        return {
            name: share / count if count else 0.0 for name, count in zip(names, pixels, strict=True)
        }

    @property
    def bands(self) -> tuple[str, ...]:
        """The bands that all images of the view have.

        Raises:
            CatalogError: If the view is empty or images differ.
        """
        return self._one_kind(sorted(self.images.bands), "len(bands) = 3")

    def _one_kind(self, kinds: Sequence[tuple[str, ...]], hint: str) -> tuple[str, ...]:
        """The one set of bands there is."""
        if len(kinds) != 1:
            said = " and ".join("+".join(kind) for kind in kinds) or "no images at all"
            raise CatalogError(
                f"{self.said} holds {said}; one set of bands is needed\n"
                f'  try: a condition such as "{hint}"'
            )
        return kinds[0]

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east and north of the images in degrees; None if no image lies anywhere.

        The smallest box: west lies above east where it crosses the antimeridian (RFC 7946, section
        5.2).
        """
        table = self.sql("SELECT geometry FROM images WHERE gsd_m > 0")
        return box_around(shapely.from_wkb(table["geometry"].to_numpy())) if len(table) else None

    def dataset(
        self,
        *,
        gsd_m: float | None = None,
        labels: "bool | Sequence[Label]" = True,
        edge_px: int = 2,
        assets: Sequence[str] = (),
        stack: str | None = None,
        steps: int | None = None,
        series: "Mapping[str, Catalog] | None" = None,
        transforms: "Callable[[Sample, np.random.Generator], Sample] | None" = None,
    ) -> "CatalogDataset":
        """Windows of this view; see `gv_data.windows.dataset.CatalogDataset`."""
        from gv_data.windows.dataset import CatalogDataset

        return CatalogDataset(
            self,
            gsd_m=gsd_m,
            labels=labels,
            edge_px=edge_px,
            assets=assets,
            stack=stack,
            steps=steps,
            series=series,
            transforms=transforms,
        )

    def to_stac(
        self, out: str | Path, *, licence: str = "other", overwrite: bool = False
    ) -> "Exported":
        """Write this view as STAC; see `gv_data.stac.stac_export.export`."""
        from gv_data.stac.stac_export import export

        return export(self, Path(out), licence=licence, overwrite=overwrite)

    @property
    def said(self) -> str:
        """The view in words: its folder and conditions."""
        conditions = " and ".join(self.conditions)
        return f"{self.path} where {conditions}" if conditions else str(self.path)


def _table(value: pa.Table | str | Path) -> pa.Table:
    """A table of the user's own."""
    if isinstance(value, pa.Table):
        return value
    path = Path(value)
    if not path.is_file():
        raise CatalogError(
            f"{path} is not there: a table is an Arrow table, a CSV or a parquet file"
        )
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        plain = path.suffix != ".csv"
        options = pyarrow.csv.ReadOptions(autogenerate_column_names=plain)
        return pyarrow.csv.read_csv(path, read_options=options)
    except (OSError, pa.ArrowException) as error:
        raise CatalogError(f"{path} cannot be read as a table: {error}") from error
