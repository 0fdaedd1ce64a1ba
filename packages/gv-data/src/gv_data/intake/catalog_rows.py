"""Rows that a catalog has already: looking at them, adding others, removing some."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.errors import CatalogError
from gv_data.locations import explained, is_remote
from gv_data.sources import Source
from gv_data.store import table_files


def existing(out: Path, *, append: bool) -> Catalog | None:
    """The catalog of a folder, or None.

    Raises:
        CatalogError: If there is one and ``append`` is not set.
        DataError: If the object storage cannot be asked.
    """
    with explained(out):
        there = (out / "images.parquet").exists()
    if not there:
        return None
    if not append:
        raise CatalogError(
            f"{out} is a catalog already\n  try: --append to add to it, or another --out"
        )
    return Catalog.open(out)


def known_files(catalog: Catalog) -> dict[str, tuple[int, int] | None]:
    """Size and time of the files as they were indexed, by id; None where that failed."""
    table = catalog.sql(
        "SELECT id, bytes, modified_ns, true AS usable FROM images "
        "UNION ALL SELECT id, bytes, modified_ns, false FROM errors"
    )
    return {
        id: (size, time) if usable else None
        for id, size, time, usable in zip(*table.to_pydict().values(), strict=True)
    }


def stamp(file: Path) -> tuple[int, int] | None:
    """Size and time of a file; None where there is none that may be seen."""
    try:
        seen = file.stat()
    except OSError:  # told where it is opened
        return None
    return seen.st_size, seen.st_mtime_ns


def add(
    out: Path,
    new: table_files.Rows,
    statistics: Sequence[pa.Table],
    sources: Sequence[Source],
    *,
    append: bool,
    update: bool,
) -> int:
    """Add rows to a catalog, all or none.

    Args:
        out: Folder of the catalog.
        new: The rows; their ``source`` counts ``sources`` from 0.
        statistics: Rows for them.
        sources: What their files do not say themselves.
        append: Whether the catalog may be there already.
        update: Whether rows may take the place of others with their ids.

    Returns:
        The number of the first of the sources in the catalog.

    Raises:
        CatalogError: If the catalog is there and may not be, has an image of the same id, or
            columns of other kinds under the same names.
    """
    if not is_remote(out):
        out.mkdir(parents=True, exist_ok=True)
    with atomic.locked(out):
        old = existing(out, append=append)  # as it is now: another process may have added to it
        known = old.sources if old else []
        ids = set(new.columns["id"].to_pylist())
        taken = ids & set(known_files(old)) if old else set()
        if taken and not update:
            raise CatalogError(f"{min(taken)} is in {out} already\n  try: another --place")
        table_files.write_description(out, [*known, *sources])
        numbers = pa.array(new.columns["source"].to_numpy() + len(known))
        try:
            table_files.replace_rows(out, ids, new.with_column("source", numbers), statistics)
        except (pa.ArrowTypeError, pa.ArrowInvalid) as error:
            raise CatalogError(
                f"the columns of {out} are of other kinds: {error}\n  try: another --out"
            ) from error
    return len(known)


def withdraw(out: Path, ids: set[str]) -> None:
    """Take back a catalog that was made just now, or its images where others were added since.

    Args:
        out: Folder of the catalog.
        ids: Of the images.
    """
    with atomic.locked(out):
        if set(known_files(Catalog.open(out))) <= ids:
            table_files.discard(out)
        else:
            table_files.replace_rows(out, ids, None, [])


def remove(view: Catalog) -> int:
    """Remove the images of a view from their catalog; the files stay.

    Args:
        view: What to remove.

    Returns:
        The number of images removed.

    Raises:
        CatalogError: If the catalog cannot be read or written.
    """
    ids = set(view.sql("SELECT id FROM images")["id"].to_pylist())
    with atomic.locked(view.path):
        table_files.replace_rows(view.path, ids, None, [])
    return len(ids)
