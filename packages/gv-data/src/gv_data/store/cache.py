"""What lies in the cache folder, and clearing it.

Only what is known to be ours is removed: somebody may have set ``GEOVISION_CACHE`` to a folder that
holds more. Folders are walked by their open descriptors and links are never followed, so that
nothing outside is reached, whatever changes meanwhile.
"""

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gv_data.atomic import is_alive

KINDS = {
    "logs": "what happened when a command failed",
    "journals": "measurements of catalogs on object storage that were not finished",
}
"""Folders that are ours, and what is in them."""

_JOURNAL = re.compile(r"\.\w+\.(?P<owner>\d+-[0-9a-f]{8})\.arrows")


@dataclass(frozen=True)
class Holding:
    """What a folder of the cache holds.

    Attributes:
        kind: Name of the folder.
        said: What is in it.
        files: Number of files.
        bytes: Their size.
        newest_s: Age of the newest in seconds.
        oldest_s: Age of the oldest.
    """

    kind: str
    said: str
    files: int
    bytes: int
    newest_s: float
    oldest_s: float


@dataclass(frozen=True)
class Cleared:
    """What was removed from the cache.

    Attributes:
        files: Number of files.
        bytes: Their size.
        failed: Files that could not be removed, with the reason.
    """

    files: int
    bytes: int
    failed: tuple[str, ...]


def holdings(folder: Path) -> list[Holding]:
    """What of ours lies in the cache, by kind.

    Args:
        folder: The cache; it need not be there.
    """
    found = []
    for kind, said in KINDS.items():
        seen = [file for _, _, file in _files(folder / kind)]
        ages = [time.time() - file.st_mtime for file in seen]
        size = sum(file.st_size for file in seen)
        if seen:
            found.append(Holding(kind, said, len(seen), size, min(ages), max(ages)))
    return found


def others(folder: Path) -> list[str]:
    """What lies in the cache and is not ours, or is a link: nothing of it is removed."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if path.name not in KINDS or path.is_symlink()
    )


def clear(folder: Path, *, older_than_s: float = 0.0) -> Cleared:
    """Remove what can be made or fetched again.

    Args:
        folder: The cache.
        older_than_s: Files changed since are left.
    """
    latest = time.time() - older_than_s
    files, freed, failed = 0, 0, []
    for kind in KINDS:
        for directory, name, seen in _files(folder / kind):
            if seen.st_mtime > latest or _is_in_use(name):
                continue
            try:
                os.unlink(name, dir_fd=directory)
            except OSError as error:
                failed.append(f"{name}: {error.strerror}")
            else:
                files, freed = files + 1, freed + seen.st_size
        _remove_empty_folders(folder / kind)
    return Cleared(files, freed, tuple(failed))


def _files(folder: Path) -> Iterator[tuple[int, str, os.stat_result]]:
    """Descriptor of its folder, name and lstat of each file, and of each link, below a folder."""
    with _opened(folder) as top:
        if top is None:
            return
        for _, folders, names, directory in os.fwalk(".", dir_fd=top, follow_symlinks=False):
            for name in [*folders, *names]:
                with suppress(FileNotFoundError):  # somebody else was quicker
                    seen = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    if not stat.S_ISDIR(seen.st_mode):
                        yield directory, name, seen


def _remove_empty_folders(folder: Path) -> None:
    with _opened(folder) as top:
        if top is None:
            return
        for _, folders, _, directory in os.fwalk(
            ".", topdown=False, dir_fd=top, follow_symlinks=False
        ):
            for name in folders:
                with suppress(OSError):  # it holds what was left, or is a link
                    os.rmdir(name, dir_fd=directory)


@contextmanager
def _opened(folder: Path) -> Iterator[int | None]:
    """A descriptor of a folder; None if it is not there, no folder, or a link to one."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_in_use(name: str) -> bool:
    """Whether a journal is being written."""
    journal = _JOURNAL.fullmatch(name)
    return journal is not None and is_alive(journal["owner"])
