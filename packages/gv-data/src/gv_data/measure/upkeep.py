"""A table about images brought up to date: rows of images that are new or have changed are made.

Results go to a journal in the catalog's folder as they come, and into the table at the end: after a
kill the next start takes over the journals of processes that are gone, so that at most the images
in progress are done again.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from gv_data import atomic
from gv_data.catalog import Catalog
from gv_data.engine import Engine, mapped
from gv_data.errors import DataError
from gv_data.images import Image
from gv_data.locations import is_remote
from gv_data.store import table_files
from gv_data.store.stamps import stamps
from gv_data.terminal.command import cache_folder

type Track = Callable[[Iterable[str], int], Iterable[str]]
"""Wraps ids as they are done, of a known number, to show progress."""


@dataclass(frozen=True)
class Upkept:
    """A table that has rows for each image.

    Attributes:
        name: Of the table: ``statistics`` for ``statistics.parquet``.
        schema: Its columns: ``id``, and ``bytes`` and ``modified_ns`` of the file that counts.
        assets: What of an image its rows come from: the first of these that it has; an image that
            has none has no rows. In a table with the column ``asset``, the one of these rows.
        work: Makes the rows of an image, or says why there are none.
        needed: Whether an image without rows cannot be used.
    """

    name: str
    schema: pa.Schema
    assets: tuple[str, ...]
    work: Callable[[Image], "pa.Table | str"]
    needed: bool = True

    def __post_init__(self) -> None:
        assert len(self.assets) == 1 or "asset" not in self.schema.names

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that say which rows belong together."""
        return tuple(name for name in ("id", "asset") if name in self.schema.names)

    @property
    def rows(self) -> str:
        """The SQL condition for those rows of the table that are meant."""
        return f"asset = '{self.assets[0]}'" if "asset" in self.key else "true"

    @property
    def journal(self) -> str:
        """What journals of these rows are called."""
        return f"{self.name}.{self.assets[0]}" if "asset" in self.key else self.name


@dataclass(frozen=True)
class Outcome:
    """What was done.

    Attributes:
        done: Number of images whose rows were made now.
        taken_over: Number of images whose rows a killed process had made.
        known: Number of images whose rows were there and whose file has not changed.
        failed: Images that have no rows, with the reason.
    """

    done: int
    taken_over: int
    known: int
    failed: Mapping[str, str]


def bring_up_to_date(
    catalog: Catalog, table: Upkept, *, engine: Engine, workers: int, again: bool, track: Track
) -> Outcome:
    """Make the rows that are missing.

    Args:
        catalog: The view whose images are looked at.
        table: What is made.
        engine: Where.
        workers: Images at once.
        again: Whether to make rows that are there too.
        track: Shows progress.

    Returns:
        What was done. Rows of images that are no longer listed and of what failed are dropped;
        images that failed are ``errors`` from now on if the table is needed, and keep the rows that
        they have of other assets and in other tables.

    Raises:
        DataError: If the catalog cannot be read or written.
    """
    taken_over = _take_over(catalog.path, table)
    files = _files(catalog, table)
    known = set() if again else _known(catalog, table, files)
    rows = {id: row for row, id in enumerate(catalog.images.ids)}
    wanted = [id for id in files if id not in known]
    if not wanted:
        return Outcome(0, taken_over, len(known), {})
    images = (catalog.images[rows[id]] for id in wanted)
    failed: dict[str, str] = {}
    with _journal(catalog.path, table) as write:
        try:
            results = mapped(table.work, images, engine=engine, workers=workers)
            for _ in track(_kept(results, write, failed), len(wanted)):
                pass
        finally:
            _conclude(catalog.path, table, failed)
    return Outcome(len(wanted) - len(failed), taken_over, len(known), failed)


def _kept(
    results: Iterator[tuple[Image, pa.Table | str]],
    write: Callable[[pa.Table], None],
    failed: dict[str, str],
) -> Iterator[str]:
    """Write each result down; the ids of the images."""
    for image, result in results:
        if isinstance(result, str):
            failed[image.id] = result
        else:
            write(result)
        yield image.id


def _files(catalog: Catalog, table: Upkept) -> dict[str, str]:
    """The file that the rows of an image come from, by id of those that have one."""
    named = zip(*(catalog.images.named(asset) for asset in table.assets), strict=True)
    files = (next(filter(None, names), None) for names in named)
    return {id: file for id, file in zip(catalog.images.ids, files, strict=True) if file}


def _known(catalog: Catalog, table: Upkept, files: Mapping[str, str]) -> set[str]:
    """Images whose file is still the one that the rows come from."""
    rows = catalog.sql(
        f"SELECT DISTINCT id, bytes, modified_ns FROM {table.name} SEMI JOIN images USING (id) "
        f"WHERE {table.rows}"
    )
    recorded = {id: (size, time) for id, size, time in zip(*rows.to_pydict().values(), strict=True)}
    seen = stamps(files.values())
    return {id for id, file in files.items() if seen[file] and recorded.get(id) == seen[file]}


def _path(folder: Path, table: Upkept) -> Path:
    return _journals(folder) / f".{table.journal}.{atomic.owner()}.arrows"


def _journals(folder: Path) -> Path:
    """Where journals lie: those of a remote catalog on this machine, as nothing is added there."""
    if not is_remote(folder):
        return folder
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    journals = cache_folder() / "journals" / name
    journals.mkdir(parents=True, exist_ok=True)
    return journals


@contextmanager
def _journal(folder: Path, table: Upkept) -> Iterator[Callable[[pa.Table], None]]:
    """A file to which rows are added; those of one image are whole in it or missing."""
    path = _path(folder, table)
    try:
        # Arrow's own file keeps nothing back, and writes all of a piece or raises
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            yield stream.write_table
    except OSError as error:
        if atomic.is_disk_full(error, path.parent):
            raise DataError(
                f"no space left in {path.parent}: free the disk and run again; what is done is kept"
            ) from error
        raise


def _take_over(folder: Path, table: Upkept) -> int:
    """Put into the table what killed processes made; the number of their images."""
    named = re.compile(rf"\.{table.journal}\.(?P<owner>\d+-[0-9a-f]{{8}})\.arrows")
    left = [
        path
        for path in _journals(folder).glob(f".{table.journal}.*.arrows")
        if (owner := named.fullmatch(path.name)) and not atomic.is_alive(owner["owner"])
    ]
    if not left:
        return 0
    with atomic.locked(folder):
        found = [rows for path in left for rows in _read(path)]
        _merge(folder, table, found)
        for path in left:
            path.unlink(missing_ok=True)
    return len({id for rows in found for id in rows["id"].to_pylist()})


def _conclude(folder: Path, table: Upkept, failed: Mapping[str, str]) -> None:
    """Put what this process made into the table, and what failed into the images'."""
    path = _path(folder, table)
    with atomic.locked(folder):
        _merge(folder, table, list(_read(path)), failed)
        if failed and table.needed:
            table_files.mark_errors(folder, failed)
    path.unlink()


def _read(path: Path) -> Iterator[pa.Table]:
    """The rows of a journal, up to where a kill has cut it."""
    with path.open("rb") as file, suppress(pa.ArrowInvalid, OSError, EOFError):
        for batch in pa.ipc.open_stream(file):
            yield pa.Table.from_batches([batch])


def _merge(
    folder: Path, table: Upkept, found: Sequence[pa.Table], failed: Collection[str] = ()
) -> None:
    """Let new rows take the place of old ones of the same images, and drop those of what failed."""
    if not found and not failed:
        return
    new = pa.concat_tables([table.schema.empty_table(), *found])
    gone = pa.table({"id": pa.array(failed, pa.string())})
    catalog = Catalog.open(folder).where("true", fresh=new.select(table.key), gone=gone)
    kept = catalog.sql(
        f"SELECT t.* FROM {table.name} t "
        "SEMI JOIN (SELECT id FROM images UNION ALL SELECT id FROM errors) USING (id) "
        f"ANTI JOIN fresh USING ({', '.join(table.key)}) "
        f"WHERE NOT ({table.rows} AND id IN (SELECT id FROM gone))"
    )
    table_files.write_table(folder, table.name, table.schema, [kept, new])
