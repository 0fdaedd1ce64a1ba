"""Descriptor 2 written to a file for a while: C libraries and child processes are heard too.

The file itself stands on the descriptor, not a pipe with a reader: what was said is in the file
whatever ends the process. It is open for appending, so that each write of each process lands whole
behind the last one.
"""

import errno
import io
import os
import sys
from collections.abc import Buffer, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TextIO, override

from gv_data.terminal.console import narrating_to, standard_error
from gv_train.errors import RunError
from gv_train.redaction import redact

MOST_BYTES = 16 * 2**20
"""Size at which the middle of a file of raw text is taken out."""
KEPT_BYTES = 2**20
"""What stays then at either end."""


@contextmanager
def written_to(path: Path) -> Iterator[TextIO]:
    """Write standard error of this process and its children to a file; consoles are not affected.

    Inside, ``sys.stderr`` writes to the descriptor, hides secrets and never raises: a full disk
    does not end the work. May be nested; two threads may not use it at once.

    Args:
        path: The file, appended to.

    Yields:
        What standard error was before; consoles narrate to it.

    Raises:
        RunError: If the file cannot be opened, for any reason but a full disk.
    """
    before: TextIO | None = sys.stderr
    seen: TextIO | None = standard_error()
    with ExitStack() as undo:
        if before is not None:
            before.flush()
        elif not _is_open(2):  # a daemon's
            point_to(Path(os.devnull))
            undo.callback(os.close, 2)
        saved, inheritable = os.dup(2), os.get_inheritable(2)
        undo.callback(os.close, saved)
        point_to(path)
        undo.callback(os.dup2, saved, 2, inheritable)
        if seen is None or (seen is before and _on_descriptor_2(seen)):
            raw = io.FileIO(saved, "w", closefd=False)
            encoding = "utf-8" if seen is None else seen.encoding
            seen = io.TextIOWrapper(
                io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=True
            )
            undo.callback(seen.flush)
        sys.stderr = unfailing()
        undo.callback(setattr, sys, "stderr", before)
        undo.callback(sys.stderr.flush)
        if sys.stdout is before:  # commands send prints to standard error
            sys.stdout = sys.stderr
            undo.callback(setattr, sys, "stdout", before)
        undo.enter_context(narrating_to(seen))
        yield seen


def point_to(path: Path) -> None:
    """Let descriptor 2 be a file, for good.

    Args:
        path: The file, appended to.
    """
    descriptor = append_to(path)
    os.dup2(descriptor, 2)
    os.set_inheritable(2, True)
    if descriptor != 2:
        os.close(descriptor)


def append_to(path: Path) -> int:
    """Open a file for appending.

    Args:
        path: The file; its folder is made.

    Returns:
        A descriptor that other programs do not inherit; of nothing when the disk is full.

    Raises:
        RunError: If the file cannot be opened for another reason.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return os.open(os.devnull, os.O_WRONLY)
        raise RunError(
            f"warnings cannot be written to {path} ({error.strerror}): "
            "make the folder of the run writable"
        ) from error


def unfailing() -> TextIO:
    """A text stream on descriptor 2 that hides secrets and never raises; a write is whole lines."""
    raw = _Descriptor2()
    return io.TextIOWrapper(raw, "utf-8", errors="backslashreplace", line_buffering=True)  # pyrefly: ignore


def trim(path: Path, most: int = MOST_BYTES, kept: int = KEPT_BYTES) -> None:
    """Take the middle out of a file that has become too long; others may go on appending.

    Args:
        path: The file.
        most: Size in bytes up to which nothing happens.
        kept: Bytes that stay at either end, cut at lines.
    """
    if not path.is_file():
        return
    with suppress(OSError), path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if size <= most:
            return
        file.seek(size - kept)
        end = file.read(kept).partition(b"\n")[2]
        file.seek(0)
        start = file.read(kept).rpartition(b"\n")[0] + b"\n"
        file.truncate(len(start))
        out = size - len(start) - len(end)
        with path.open("ab") as appending:
            appending.write(f"[{out:,} bytes taken out here]\n".encode() + end)


def hide_secrets(path: Path, start: int = 0) -> None:
    """Overwrite the secrets in a file of raw text, which the system wrote as it came.

    Lines keep their length, so that others may go on appending.

    Args:
        path: The file.
        start: Byte from which on it is read.
    """
    if not path.is_file():
        return
    with suppress(OSError), path.open("r+b") as file:
        file.seek(start)
        for line in iter(file.readline, b""):
            text = line.decode(errors="surrogateescape").rstrip("\n")
            safe = redact(text)
            if safe == text:
                continue
            room = len(line.rstrip(b"\n"))
            said = safe.encode(errors="surrogateescape")
            after = file.tell()
            file.seek(after - len(line))
            file.write(said.ljust(room) if len(said) <= room else b"*" * room)
            file.seek(after)


class _Descriptor2(io.RawIOBase):
    @override
    def writable(self) -> bool:
        return True

    @override
    def fileno(self) -> int:
        return 2

    @override
    def write(self, data: Buffer, /) -> int:
        said = bytes(data)
        text = redact(said.decode(errors="surrogateescape"))
        with suppress(OSError):  # a full disk: there is no better place to say so
            os.write(2, text.encode(errors="surrogateescape"))
        return len(said)


def _on_descriptor_2(stream: TextIO) -> bool:
    """False for the streams of notebooks and of pytest, which are not on the descriptor."""
    try:
        return stream.fileno() == 2
    except (OSError, ValueError):
        return False


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
