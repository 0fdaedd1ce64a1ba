"""Writing one HDF5 file of a metric log."""

import contextlib
import os
import re
import resource
import secrets
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Shaped

from gv_train.metric_log.files import LogFile
from gv_train.metric_log.hdf5_format import DATASETS, MATRIX, ROW, SUFFIX, h5py_module
from gv_train.metric_log.rows import NAME_BYTES, Matrix, Row

if TYPE_CHECKING:
    import h5py

_writing: "weakref.WeakValueDictionary[tuple[int, int], Hdf5Part]" = weakref.WeakValueDictionary()


class Hdf5Part:
    """Writes one file.

    Args:
        folder: ``metrics`` folder of the run.
        attempt: Attempt of the run.
        number: Part of the attempt.
        starts: First rows.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
        RunError: If h5py is missing.
    """

    full = False

    def __init__(self, folder: Path, attempt: int, number: int, starts: Sequence[Row]) -> None:
        from gv_data import atomic

        h5py = h5py_module()
        self.number, self.used = number, False
        self._key = (0, 0)
        self.path = folder / LogFile("attempt", attempt, number, SUFFIX).name
        if self.path.exists():
            raise FileExistsError(f"{self.path} exists")
        # A reader cannot open a file that is not yet in SWMR mode.
        owner = f"{atomic.owner()}.{secrets.token_hex(4)}"
        part = self.path.with_name(f".{self.path.stem}.{owner}.part.{SUFFIX}")
        atomic.sweep(folder)
        self.counts = dict.fromkeys(DATASETS, 0)
        self._names: dict[str, int] = {}
        self._datasets: dict[str, h5py.Dataset] = {}
        self._types: dict[str, h5py.h5t.TypeID] = {}
        try:
            with _as_os_error():
                self._file = h5py.File(part, "x", libver="latest", locking=False)
            self._fill(starts)
            part.rename(self.path)
        except OSError:
            part.unlink(missing_ok=True)
            raise
        self.used = False  # by more than the rows that open it
        self._key = _key(self.path)
        _writing[self._key] = self

    def add_rows(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Args:
            rows: One or more.

        Raises:
            OSError: If they cannot be written; the file must not be written again.
        """
        numbers = self._numbers([row.name for row in rows])
        records = np.array(
            [
                (r.time, r.step, r.epoch, r.split, r.kind, number, r.value, r.attempt)
                for r, number in zip(rows, numbers, strict=True)
            ],
            ROW,
        )
        self._append("rows", records)
        self.used = True

    def add_matrices(self, matrices: Sequence[Matrix]) -> None:
        """Append matrices.

        Args:
            matrices: One or more.

        Raises:
            OSError: If they cannot be written; the file must not be written again.
        """
        numbers = self._numbers([matrix.name for matrix in matrices])
        classes = [self._numbers(matrix.classes) for matrix in matrices]
        sizes = np.array([len(matrix.classes) for matrix in matrices])
        starts = self.counts["counts"] + np.cumsum(sizes**2) - sizes**2
        firsts = self.counts["classes"] + np.cumsum(sizes) - sizes
        records = [
            (m.time, m.step, m.epoch, m.split, number, size, start, first, m.attempt)
            for m, number, size, start, first in zip(
                matrices, numbers, sizes, starts, firsts, strict=True
            )
        ]
        self._append("classes", np.concatenate(classes))
        self._append("counts", np.concatenate([matrix.counts.ravel() for matrix in matrices]))
        self._append("matrices", np.array(records, MATRIX))
        self.used = True

    def dataset(self, name: str) -> "h5py.Dataset":
        """A dataset of the open file, for readers in this process."""
        return self._datasets[name]

    def close(self) -> None:
        """Close the file; other programs can open it plainly then.

        Raises:
            OSError: If it cannot be written.
        """
        _writing.pop(self._key, None)
        try:
            with _as_os_error():
                self._file.close()
        except OSError:
            self.abandon()
            raise

    def abandon(self) -> None:
        """Close without writing: the file stays as it is.

        At closing HDF5 writes what it still holds. After a failed write that adds wrong records
        if there is space again, and ends the process with a segmentation fault if there is not;
        so its descriptor is turned to a copy in memory first.
        """
        _writing.pop(self._key, None)
        if not self._file.id.valid:
            return
        descriptor = self._file.id.get_vfd_handle()
        size = os.fstat(descriptor).st_size
        copy = os.memfd_create("metric-log")
        offset = 0
        while offset < size:
            offset += os.sendfile(copy, descriptor, offset, size - offset)
        os.dup2(copy, descriptor, inheritable=False)
        os.close(copy)
        limit, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # it holds for memory as well
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        try:
            with contextlib.suppress(OSError, RuntimeError):
                self._file.close()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    def remove(self) -> None:
        """Remove an abandoned file that holds nothing."""
        self.path.unlink(missing_ok=True)

    def _fill(self, starts: Sequence[Row]) -> None:
        """Make all datasets, then let others read."""
        try:
            with _as_os_error():
                text = h5py_module().string_dtype("utf-8", NAME_BYTES)
                for name, (kind, chunk) in DATASETS.items():
                    kind = text if name == "names" else kind
                    self._datasets[name] = self._file.create_dataset(
                        name, (0,), kind, chunks=(chunk,), maxshape=(None,)
                    )
                self._file.swmr_mode = True
            self.add_rows(starts)
        except OSError:
            self.abandon()
            raise

    def _numbers(self, names: Sequence[str]) -> list[int]:
        """Places of names in ``names``, where new ones are added first."""
        new = [name for name in dict.fromkeys(names) if name not in self._names]
        if new:
            first = self.counts["names"]
            kind = self._datasets["names"].dtype  # which says that it is UTF-8
            self._append("names", np.array([name.encode() for name in new], kind))
            self._names |= {name: first + place for place, name in enumerate(new)}
        return [self._names[name] for name in names]

    def _append(self, name: str, records: Shaped[np.ndarray, " n"]) -> None:
        """Write records behind those that were acknowledged."""
        h5py, first, dataset = h5py_module(), self.counts[name], self._datasets[name].id
        if name not in self._types:
            self._types[name] = dataset.get_type()
        records = np.ascontiguousarray(records, DATASETS[name][0])
        with _as_os_error():  # ``dataset[first:] = records`` takes three times as long
            dataset.set_extent((first + len(records),))
            place = dataset.get_space()
            place.select_hyperslab((first,), (len(records),))
            size = h5py.h5s.create_simple((len(records),))
            dataset.write(size, place, records, self._types[name])
            dataset.flush()
        self.counts[name] = first + len(records)


def being_written(path: Path) -> Hdf5Part | None:
    """The writer of a file in this process, which HDF5 cannot open a second time to read.

    Args:
        path: A file.

    Raises:
        FileNotFoundError: If there is none.
    """
    return _writing.get(_key(path))


def _key(path: Path) -> tuple[int, int]:
    """Identity of a file, whatever way leads to it."""
    status = path.stat()
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """HDF5 reports a full disk as RuntimeError or ValueError, with the number in the text."""
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        number = re.search(r"errno = (\d+)", str(error))
        if number is None:
            raise OSError(str(error)) from error
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error
