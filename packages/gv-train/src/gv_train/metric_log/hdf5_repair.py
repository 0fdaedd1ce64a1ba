"""Make an HDF5 file openable again that its writer left open.

A file in SWMR mode carries two flags in its superblock until it is closed, and the superblock says
an old end of the file. After a kill only SWMR readers open it. ``h5clear --status --increment`` of
the HDF Group does what is done here, but is not part of h5py.

The layout is that of the HDF5 File Format Specification 3.0, section II.A (superblock version 3).
"""

import os
import struct
from pathlib import Path

from gv_train.errors import RunError
from gv_train.metric_log.hdf5_format import h5py_module

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_SUPERBLOCK = struct.Struct("<8s4B4QI")
"""Signature; version, sizes of offsets and lengths, flags; base, extension, end, root; checksum."""
_M32 = 0xFFFFFFFF


def repair(path: Path) -> bool:
    """Clear the marks of a writer that is gone, so that any HDF5 program opens the file.

    Args:
        path: HDF5 file made with ``libver="latest"``, such as one of a metric log. Nothing may be
            writing it: the run must be locked, or known to be dead.

    Returns:
        Whether there was something to repair.

    Raises:
        RunError: If it is no such file, or its superblock is damaged; it is left as it was.
    """
    h5py = h5py_module()
    try:
        with path.open("rb") as file:
            old = file.read(_SUPERBLOCK.size)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}): give an HDF5 file") from error
    if len(old) < _SUPERBLOCK.size or not old.startswith(_SIGNATURE):
        raise RunError(f"{path} is not HDF5, or is cut: there is nothing to repair it from")
    signature, version, *sizes, flags, base, extension, end, root, checksum = _SUPERBLOCK.unpack(
        old
    )
    if version != 3 or sizes != [8, 8]:
        raise RunError(
            f"{path} has a superblock of version {version}, but only version 3 marks a writer: "
            "it was not written in SWMR mode"
        )
    if lookup3(old[:-4]) != checksum:
        raise RunError(f"{path} has a damaged superblock: restore the file")
    if flags == 0:
        return False
    new = _SUPERBLOCK.pack(signature, version, *sizes, 0, base, extension, max(end, size), root, 0)[
        :-4
    ]
    new += struct.pack("<I", lookup3(new))
    _overwrite(path, new)
    try:
        with h5py.File(path, "r+", locking=False) as file:
            for name in file:
                len(file[name])
    except (OSError, RuntimeError, LookupError) as error:
        _overwrite(path, old)
        raise RunError(f"{path} cannot be repaired ({error}): it is left as it was") from error
    return True


def lookup3(data: bytes) -> int:
    """Bob Jenkins' hash, the checksum of HDF5's metadata.

    Source: http://burtleburtle.net/bob/c/lookup3.c, ``hashlittle`` with an initial value of 0.

    Examples:
        >>> hex(lookup3(b"Four score and seven years ago"))
        '0x17770551'
    """
    a = b = c = (0xDEADBEEF + len(data)) & _M32
    blocks = max(len(data) - 1, 0) // 12
    for start in range(0, 12 * blocks, 12):
        x, y, z = struct.unpack_from("<3I", data, start)
        a, b, c = _mix((a + x) & _M32, (b + y) & _M32, (c + z) & _M32)
    last = data[12 * blocks :]
    if not last:
        return c
    x, y, z = struct.unpack("<3I", last.ljust(12, b"\0"))
    return _final((a + x) & _M32, (b + y) & _M32, (c + z) & _M32)


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for turn in (4, 6, 8, 16, 19, 4):
        a = ((a - c) & _M32) ^ _rotated(c, turn)
        c = (c + b) & _M32
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for turn in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, turn)) & _M32
        a, b, c = b, c, a
    return b


def _rotated(value: int, turn: int) -> int:
    return (value << turn | value >> (32 - turn)) & _M32


def _overwrite(path: Path, superblock: bytes) -> None:
    file = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(file, superblock, 0)
        os.fsync(file)
    finally:
        os.close(file)
