"""The images of a view of a catalog: kept as columns, each made an `Image` when it is asked for.

A hundred thousand rows are some arrays; objects and paths of those that nobody looks at are never
made.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, overload, override

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyproj import CRS

from gv_data.errors import CatalogError
from gv_data.grid import Grid
from gv_data.locations import is_remote
from gv_data.sources import Source
from gv_data.store.grids import Grids

COLUMNS = (
    "id",
    "image",
    "vectors",
    "labelled_area",
    "mask",
    "label",
    "source",
    "driver",
    "place",
    "split",
    "crs",
    "transform",
    "height_px",
    "width_px",
    "row",
    "column",
    "bands",
    "dtype",
    "objects",
)
"""The columns of ``images.parquet`` that an `Image` is made of."""

_KEPT = 4096
"""Images kept once made, some megabytes: windows ask for the same ones again and again."""

_LABELS = ("vectors", "labelled_area", "source", "image")
"""Columns that decide which labels an image has; the image itself only where they lie in pixels."""


@dataclass(frozen=True)
class Image:
    """One row of ``images.parquet``, with paths resolved.

    Attributes:
        id: Unique in the catalog.
        path: The raster.
        driver: GDAL's name of its format.
        grid: Where the pixels of this row lie; a part of the file when it was split into blocks.
        origin: First row and column of the part in its file.
        bands: Names of the bands.
        dtype: Type on disk.
        vectors: The file of labels, or None.
        labelled_area: The file of polygons inside which labels are complete; None: everywhere.
        mask: The raster of classes, or None.
        label: Class of the whole image, or None.
        assets: Further rasters of the same ground, by name.
        source: What its files do not say themselves.
        place: Name of the place, as given when it was indexed.
        split: ``train``, ``val``, ``test`` or None.
        objects: Number of label polygons that touch the image; None where it has no polygons.
    """

    id: str
    path: Path
    driver: str
    grid: Grid
    origin: tuple[int, int]
    bands: tuple[str, ...]
    dtype: str
    vectors: Path | None
    labelled_area: Path | None
    mask: Path | None
    label: str | None
    assets: Mapping[str, Path]
    source: Source
    place: str | None
    split: str | None
    objects: int | None

    @property
    def label_files(self) -> Hashable:
        """What images with the same polygons have in common."""
        own = self.path if self.source.labels_format == "coco" else None
        return self.vectors, self.labelled_area, self.source, own

    def in_file(self, grid: Grid) -> tuple[float, float, float, float]:
        """Where a grid lies in the pixels of the file.

        Args:
            grid: In the CRS of the image.

        Returns:
            First row, first column, last row, last column, as pixel corners.
        """
        top, left, bottom, right = self.grid.rows_columns(grid.bounds)
        row, column = self.origin
        return top + row, left + column, bottom + row, right + column


class Images(Sequence[Image]):
    """The images of a view in the order of its rows.

    Attributes:
        grids: Where their pixels lie.
    """

    def __init__(self, table: pa.Table, sources: Sequence[Source], roots: Sequence["Root"]) -> None:
        """Keep rows of ``images.parquet``.

        Args:
            table: The columns `COLUMNS`, and those of further assets.
            sources: What ``catalog.json`` says of each source.
            roots: The folder of each source, where it is now.

        Raises:
            CatalogError: If a row lacks what says where its pixels lie.
        """
        self._columns = {name: table[name].combine_chunks() for name in table.column_names}
        self._sources = sources
        self._roots = roots
        self.grids = _grids(self._columns)
        self._made: dict[int, Image] = {}

    @override
    def __len__(self) -> int:
        return len(self._columns["id"])

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Image, ...]: ...
    @override
    def __getitem__(self, index: int | slice) -> Image | tuple[Image, ...]:
        """One image, or those of a slice.

        Raises:
            CatalogError: If the catalog names a file outside the root of its source.
        """
        if isinstance(index, slice):
            return tuple(map(self.__getitem__, range(len(self))[index]))
        row = range(len(self))[index]
        if row not in self._made:
            if len(self._made) >= _KEPT:
                self._made.clear()
            self._made[row] = self._make(row)
        return self._made[row]

    def taken(self, rows: np.ndarray) -> "Images":
        """The images of some positions, in their order."""
        columns = {name: column.take(pa.array(rows)) for name, column in self._columns.items()}
        return Images(pa.table(columns), self._sources, self._roots)

    def _make(self, row: int) -> Image:
        values = {name: column[row].as_py() for name, column in self._columns.items()}
        source, root = self._sources[values["source"]], self._roots[values["source"]]
        vectors, area, mask = (
            None if values[name] is None else root.resolve(values[name])
            for name in ("vectors", "labelled_area", "mask")
        )
        return Image(
            id=values["id"],
            path=root.resolve(values["image"]),
            driver=values["driver"],
            grid=self.grids[row],
            origin=(values["row"], values["column"]),
            bands=tuple(values["bands"]),
            dtype=values["dtype"],
            vectors=vectors,
            labelled_area=area,
            mask=mask,
            label=values["label"],
            assets={
                name: root.resolve(values[name])
                for name in source.assets
                if values[name] is not None
            },
            source=source,
            place=values["place"],
            split=values["split"],
            objects=values["objects"],
        )

    @cached_property
    def ids(self) -> list[str]:
        """The name of each."""
        return self._columns["id"].to_pylist()

    @property
    def folders(self) -> list[str]:
        """The folder of each source, where it is now."""
        return [str(root.folder) for root in self._roots]

    @property
    def files(self) -> list[str]:
        """The raster of each as the catalog names it; an `Image` is what may be opened."""
        return [file for file in self.named("image") if file is not None]

    def named(self, asset: str) -> list[str | None]:
        """The file of an asset of each as the catalog names it; None where there is none."""
        folders = [folder.rstrip("/") for folder in self.folders]  # a bucket ends in a slash
        names = zip(
            self._columns["source"].to_pylist(), self._columns[asset].to_pylist(), strict=True
        )
        return [None if name is None else f"{folders[source]}/{name}" for source, name in names]

    @property
    def dtypes(self) -> set[str]:
        """The types on disk that occur."""
        return set(self._columns["dtype"].unique().to_pylist())

    @property
    def bands(self) -> set[tuple[str, ...]]:
        """The sets of bands that occur."""
        column = self._columns["bands"]
        joined = pc.call_function("binary_join", [column, pa.scalar("\0")])
        return {tuple(names.split("\0")) for names in joined.unique().to_pylist()}

    @property
    def unlabelled(self) -> np.ndarray:
        """Positions of those without polygons, mask or class."""
        kinds = ("vectors", "mask", "label")
        bare = [self._columns[name].is_null().to_numpy(zero_copy_only=False) for name in kinds]
        return np.flatnonzero(np.logical_and.reduce(bare))

    def by_labels(self) -> Iterator[np.ndarray]:
        """Positions of the images that share polygons: their files, or one image and its parts."""
        same: dict[tuple[Any, ...], list[int]] = {}
        columns = (self._columns[name].to_pylist() for name in _LABELS)
        for row, (file, area, source, image) in enumerate(zip(*columns, strict=True)):
            own = image if self._sources[source].labels_format == "coco" else None
            same.setdefault((file, area, source, own), []).append(row)
        for (file, *_), rows in same.items():
            if file is not None:
                yield np.array(rows)


class Root:
    """A folder that paths of a catalog may not leave."""

    def __init__(self, folder: Path) -> None:
        """Take the folder as it is, links resolved."""
        self.folder = folder.resolve()
        self._remote = is_remote(folder)
        self._known: dict[str, Path] = {}

    def resolve(self, relative: str) -> Path:
        """The file of a path in the catalog.

        Raises:
            CatalogError: If it lies outside the folder.
        """
        if self._remote:
            if relative.startswith("/") or {"..", ""} & set(relative.split("/")):
                raise CatalogError(
                    f"the catalog names {relative}, which lies outside its root {self.folder}"
                )
            return self.folder / relative
        folder, _, name = relative.rpartition("/")
        path = self._real(folder) / name if folder else self.folder / name
        if path.is_symlink() or name == "..":
            path = path.resolve()
        if relative.startswith("/") or not path.is_relative_to(self.folder):
            raise CatalogError(
                f"the catalog names {relative}, which lies outside its root {self.folder}"
            )
        return path

    def _real(self, folder: str) -> Path:
        """A folder without links; thousands of images share a few."""
        if folder not in self._known:
            self._known[folder] = (self.folder / folder).resolve()
        return self._known[folder]


def _grids(columns: Mapping[str, pa.Array]) -> Grids:
    lengths = columns["transform"].value_lengths().fill_null(0).to_numpy()
    broken = np.flatnonzero(lengths != 6)
    if len(broken):
        name = columns["id"][broken[0]]
        raise CatalogError(f"{name} has no transform of six numbers: index it again")
    systems = columns["crs"].dictionary_encode(null_encoding="encode")
    return Grids(
        systems=tuple(None if s is None else _crs(s) for s in systems.dictionary.to_pylist()),
        crs=systems.indices.to_numpy(),
        transforms=columns["transform"].flatten().to_numpy().reshape(-1, 6),
        shapes_hw=np.stack(
            [columns[name].to_numpy().astype(np.int64) for name in ("height_px", "width_px")],
            axis=1,
        ),
    )


_crs = lru_cache(CRS.from_user_input)
