"""Outputs that are there whole or not at all.

A file is written beside its final name, flushed to the disk, then renamed over it. A reader sees
the old file or the new one, also after a kill or on a full disk. Left-over parts begin with a dot,
name their process and machine, and are swept by the next writer of the folder once that process is
gone.
"""

import errno
import fcntl
import glob
import os
import random
import re
import secrets
import shutil
import socket
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gv_data.errors import DataError
from gv_data.locations import explained, is_remote, storage

_HOST = f"{zlib.crc32(socket.gethostname().encode()):08x}"
_PART = re.compile(r"\..*\.(?P<pid>\d+)(-(?P<host>[0-9a-f]{8}))?\.[0-9a-f]{8}\.part")
_PATIENCE_S = 60
"""How long a lock on object storage is waited for."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    if is_remote(path):
        with _uploading(path, verify) as part:
            yield part
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    part = path.parent / f".{path.stem}.{owner()}.{secrets.token_hex(4)}.part{path.suffix}"
    try:
        yield part
        if verify is not None:
            verify(part)
        _flush(part)
        os.replace(part, path)  # noqa: PTH105  the one call the tests make fail
        _flush_entry(path.parent)
    except (DataError, FileExistsError):
        raise
    except Exception as error:  # GDAL and Arrow have errors of their own for a full disk
        if is_disk_full(error, path.parent):
            raise DataError(
                f"no space left to write {path}: free the disk and run again"
            ) from error
        raise
    finally:
        for left in part.parent.glob(f"{glob.escape(part.name)}*"):  # sidecars of GDAL too
            _remove(left)


@contextmanager
def _uploading(path: Path, verify: Callable[[Path], None] | None) -> Iterator[Path]:
    """A local file that becomes an object: storing one is all or nothing."""
    with tempfile.TemporaryDirectory(prefix="gv-data-") as folder:
        part = Path(folder, path.name)
        yield part
        if verify is not None:
            verify(part)
        with explained(path):
            path.write_bytes(part.read_bytes())


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Whether writing failed for want of space; ask before anything is cleaned up.

    Args:
        error: What was raised.
        folder: Where the file was written.
    """
    number = error.errno if isinstance(error, OSError) else None
    return number in _NO_SPACE or shutil.disk_usage(folder).free < 1_000_000


def write_text(path: Path, text: str) -> None:
    """Write a small text file in one piece.

    Args:
        path: File to make or replace.
        text: Its content, stored as UTF-8.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def owner() -> str:
    """This process, as the names of unfinished files tell it."""
    return f"{os.getpid()}-{_HOST}"


def is_alive(name: str) -> bool:
    """Whether the process that `owner` named so still runs; on another machine it may.

    Args:
        name: Process and machine.
    """
    pid, _, host = name.partition("-")
    return host != _HOST or _is_running(int(pid))


def sweep(folder: Path) -> None:
    """Remove the parts that killed processes of this machine left in a folder.

    Args:
        folder: Folder to look in; parts of running processes and of other machines stay.
    """
    for part in folder.glob(".*.part*"):
        named = _PART.match(part.name)
        if named and named["host"] in (None, _HOST) and not _is_running(int(named["pid"])):
            _remove(part)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # signal 0 only asks
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's, but there
        pass
    return True


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock: what is read, changed and replaced inside meets no other writer.

    Waits for the process that holds it; the system frees the lock of a killed one. On object
    storage the lock is an object, which a killed process leaves: after a minute of waiting the
    error says whose it is.

    Args:
        folder: An existing folder; its file ``.lock`` stays.

    Raises:
        DataError: If a remote folder stays locked.
    """
    if is_remote(folder):
        with _locked_far_away(folder / ".lock"):
            yield
        return
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _locked_far_away(lock: Path) -> Iterator[None]:
    """Hold an object that only one process can make."""
    said = f"{socket.gethostname()}, process {os.getpid()}, since {time.strftime('%F %T')}"
    waited = time.monotonic() + _PATIENCE_S
    system, name = storage(lock)
    while True:
        try:
            with explained(lock):
                system.pipe_file(name, said.encode(), mode="create")
            break
        except FileExistsError:
            if time.monotonic() > waited:
                raise DataError(
                    f"{lock.parent} is being changed by {lock.read_text()}\n  try: wait, or, if "
                    f"that process is gone, remove {lock}"
                ) from None
            time.sleep(0.2 + random.random())
    try:
        yield
    finally:
        lock.unlink()


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
