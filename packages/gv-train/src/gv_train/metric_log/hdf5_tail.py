"""Reading one HDF5 file of a metric log, also while it is written."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from gv_train.errors import RunError
from gv_train.metric_log.hdf5_format import DATASETS, h5py_module
from gv_train.metric_log.hdf5_part import being_written
from gv_train.metric_log.rows import Matrix, matrices_schema, rows_schema

if TYPE_CHECKING:
    import h5py
    import pyarrow as pa

_SETTLED_S = 1.0
"""Seconds after which a file of the same size and time of change was not changed meanwhile."""


class Hdf5Tail:
    """Reads what was added to a file since it was last asked.

    Args:
        path: A file of this format.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = self._matrices = 0
        self._looks: tuple[int, int] | None = None
        self._since = 0.0
        self._settled = False

    def poll(self) -> "tuple[pa.Table, pa.Table] | None":
        """New rows and matrices.

        Returns:
            Columns of ``rows_schema(coded=True)`` and of ``matrices_schema()``; None if nothing is
            new.

        Raises:
            RunError: If the file is damaged, not a metric log, or h5py is missing.
            FileNotFoundError: If the file is gone.
        """
        part = being_written(self._path)
        if part is not None:
            return self._read({name: part.dataset(name) for name in DATASETS}, part.counts)
        if self._is_settled():
            return None
        h5py = h5py_module()
        try:
            with h5py.File(self._path, "r", swmr=True, locking=False) as file:
                return self._read({name: _own(file, name) for name in DATASETS}, None)
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError, LookupError, ValueError) as error:
            raise RunError(
                f"{self._path} cannot be read ({error}): restore it or remove it"
            ) from error

    def _is_settled(self) -> bool:
        """Whether the file was read since it last changed; opening costs more than asking."""
        status, now = self._path.stat(), time.monotonic()
        looks = (status.st_size, status.st_mtime_ns)
        if looks != self._looks:
            self._looks, self._since, self._settled = looks, now, False
            return False
        if not self._settled:
            self._settled = now - self._since > _SETTLED_S  # it is read once more
            return False
        return True

    def _read(
        self, datasets: "dict[str, h5py.Dataset]", counts: dict[str, int] | None
    ) -> "tuple[pa.Table, pa.Table] | None":
        # What refers to others is read first: they were written before it.
        end = counts or {name: len(dataset) for name, dataset in datasets.items()}
        rows = _whole(datasets["rows"][self._rows : end["rows"]])
        matrices = _whole(datasets["matrices"][self._matrices : end["matrices"]])
        if len(rows) + len(matrices) == 0:
            return None
        if counts is None:
            for name in ("names", "classes", "counts"):
                datasets[name].refresh()
        names = [name.decode() for name in datasets["names"][:]]
        found = _rows_table(rows, names), _matrices_table(matrices, names, datasets)
        self._rows += len(rows)
        self._matrices += len(matrices)
        return found


def _own(file: "h5py.File", name: str) -> "h5py.Dataset":
    """A dataset that lies in this file, as its parts are declared; a log may come from anywhere."""
    h5py = h5py_module()
    link = file.get(name, getlink=True)
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if (
        not isinstance(dataset, h5py.Dataset)
        or dataset.dtype != DATASETS[name][0]
        or dataset.ndim != 1
        or dataset.external
        or dataset.is_virtual
        or dataset.id.get_create_plist().get_nfilters()
        or dataset.nbytes > 2 * Path(file.filename).stat().st_size + 1_000_000
    ):
        raise RunError(
            f"{file.filename} does not have {name!r} as this version writes it: it is no metric "
            "log, or update gv-train"
        )
    return dataset


def _whole(records: Shaped[np.ndarray, " n"]) -> Shaped[np.ndarray, " m"]:
    """Records up to the first that was not written to its end."""
    cut = np.flatnonzero(records["attempt"] == 0)
    return records[: cut[0]] if len(cut) else records


def _rows_table(records: Shaped[np.ndarray, " n"], names: list[str]) -> "pa.Table":
    import pyarrow as pa

    schema = rows_schema(coded=True)
    columns = {
        name: records[name] for name in schema.names if name not in ("split", "kind", "name")
    }
    for name in ("split", "kind"):
        words, codes = np.unique(records[name], return_inverse=True)
        columns[name] = _coded(codes, [word.decode() for word in words])
    columns["name"] = _coded(records["name"], names)
    return pa.table([pa.array(columns[field.name], field.type) for field in schema], schema)


def _coded(codes: Shaped[np.ndarray, " n"], words: list[str]) -> "pa.DictionaryArray":
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype("i4")), pa.array(words, pa.string())
    )


def _matrices_table(
    records: Shaped[np.ndarray, " n"], names: list[str], datasets: "dict[str, h5py.Dataset]"
) -> "pa.Table":
    import pyarrow as pa

    found = []
    for record in records:
        size, start, first = (int(record[name]) for name in ("size", "start", "first_class"))
        counts = datasets["counts"][start : start + size * size].reshape(size, size)
        classes = [names[place] for place in datasets["classes"][first : first + size]]
        moment = [record[name].item() for name in ("attempt", "time", "step", "epoch")]
        words = record["split"].decode(), names[record["name"]]
        found.append((*moment, *words, classes, counts.tolist()))
    columns = zip(*found, strict=True) if found else [()] * len(Matrix._fields)
    schema = matrices_schema()
    arrays = [pa.array(c, kind) for c, kind in zip(columns, schema.types, strict=True)]
    return pa.table(arrays, schema)
