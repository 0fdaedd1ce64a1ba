"""Outputs that are there whole or not at all.

A file is written beside its final name, flushed to the disk, then renamed over it. A reader sees the
old file or the new one, also after a kill or on a full disk. Left-over parts begin with a dot, carry
the process id and are swept by the next writer of the same folder once that process is gone.
"""

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gv_data.errors import DataError


@contextmanager
def replacing(
    path: Path, *, verify: Callable[[Path], None] | None = None, overwrite: bool = True
) -> Iterator[Path]:
    """Give a temporary path in the folder of ``path``; on leaving, rename it to ``path``.

    Args:
        path: Final name of a file or a folder; its parent is made if missing.
        verify: Called with the finished temporary path; raises if the file is not whole. GDAL may
            lose data on a full disk without an error, so rasters need it.
        overwrite: Whether an existing ``path`` may be replaced. An existing folder never is.

    Yields:
        The path to write to, ending as ``path`` does (writers choose formats by it).

    Raises:
        FileExistsError: If ``path`` exists and may not be replaced.
        DataError: If the disk is full.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "answer.txt"
        >>> with replacing(target) as part:
        ...     _ = part.write_text("42")
        >>> target.read_text()
        '42'
    """
    if path.exists() and (not overwrite or path.is_dir()):
        raise FileExistsError(f"{path} exists already")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    part = path.parent / f".{path.stem}.{os.getpid()}.{secrets.token_hex(4)}.part{path.suffix}"
    try:
        yield part
        if verify is not None:
            verify(part)
        _flush(part)
        os.replace(part, path)  # noqa: PTH105  the one call the tests make fail
        _flush_entry(path.parent)
    except OSError as error:
        if shutil.disk_usage(path.parent).free < 1_000_000:
            raise DataError(f"no space left to write {path}: free the disk and run again") from error
        raise
    finally:
        _remove(part)
        for sidecar in part.parent.glob(f"{part.name}*"):
            _remove(sidecar)


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one piece.

    Args:
        path: File to make or replace.
        text: Its content, stored as UTF-8.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove the parts that killed processes left in a folder.

    Args:
        folder: Folder to look in; parts of running processes stay.
    """
    for part in folder.glob(".*.part*"):
        fields = part.name.split(".")
        marker = next((n for n, field in enumerate(fields) if field.startswith("part")), 0)
        owner = fields[marker - 2] if marker >= 2 else ""
        if owner.isdigit() and not Path("/proc", owner).exists() and Path("/proc").exists():
            _remove(part)


def _flush(path: Path) -> None:
    """Force a file, or all files of a folder, to the disk."""
    for file in [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _flush_entry(folder: Path) -> None:
    """Force the renaming itself to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
