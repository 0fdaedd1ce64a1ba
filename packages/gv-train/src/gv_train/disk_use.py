"""How much of the disk a run takes, by part."""

import os
import stat
from pathlib import Path

PARTS = ("checkpoints", "figures", "package", "data", "metrics", "logs")
"""Folders of a run that are counted apart; all else is ``other``."""
OTHER = "other"
_BLOCK = 512
"""Bytes of a block in ``st_blocks``, whatever the file system's own are (POSIX)."""


def by_part(folder: Path) -> dict[str, int]:
    """Bytes on the disk of each part of a run, as ``du`` counts them.

    A file of several names counts once. What vanishes while it is counted counts nothing.

    Args:
        folder: Folder of the run.

    Returns:
        Bytes of each of `PARTS` and of ``other``; 0 where there is nothing.
    """
    sizes = dict.fromkeys([*PARTS, OTHER], 0)
    seen: set[tuple[int, int]] = set()
    try:
        sizes[OTHER] = folder.lstat().st_blocks * _BLOCK
        paths = list(folder.iterdir())
    except FileNotFoundError:
        return sizes
    for path in paths:
        sizes[path.name if path.name in PARTS else OTHER] += _taken(path, seen)
    return sizes


def on_disk(path: Path) -> int:
    """Bytes on the disk of a file, or of a folder with all that is in it.

    Args:
        path: A file or a folder; one that is not there has 0.
    """
    return _taken(path, set())


def _taken(path: str | Path, seen: set[tuple[int, int]]) -> int:
    """Bytes of what has not been seen before; links are not followed."""
    try:
        about = os.lstat(path)
        is_folder = stat.S_ISDIR(about.st_mode)
        entries = list(os.scandir(path)) if is_folder else []
    except FileNotFoundError:
        return 0
    if about.st_nlink > 1 and not is_folder:
        key = (about.st_dev, about.st_ino)
        if key in seen:
            return 0
        seen.add(key)
    return about.st_blocks * _BLOCK + sum(_taken(entry.path, seen) for entry in entries)
