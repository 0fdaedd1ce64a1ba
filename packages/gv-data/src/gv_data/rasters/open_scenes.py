"""Rasters kept open between windows, as many as the process may have.

Opening a file takes longer than reading a window from it, but the system gives a process a limited
number of file descriptors, which its sockets, pipes and logs share, and GDAL keeps a block of every
open TIFF in memory, decoded and as it is on disk.
"""

import os
import resource
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gv_data.rasters.raster import Scene
from gv_data.sources import Source

_MOST = 1024
"""Scenes kept open at most."""

_BYTES = 512 * 2**20
"""Memory they may take, about."""

_BYTES_EACH = 64 * 2**10
"""Memory of a scene without its blocks (47 KiB measured)."""

_SPARE = 16
"""Descriptors that are left to others."""


class OpenScenes:
    """The open rasters of one process; the least recently used are closed first.

    A scene is lent to one thread at a time. A forked process begins with none, since positions in
    the parent's files are shared with it.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._scenes: OrderedDict[tuple[Path, str | None, Source], Scene] = OrderedDict()
        self._process = os.getpid()

    @contextmanager
    def lent(self, path: Path, driver: str | None, source: Source) -> Iterator[Scene]:
        """An open raster, for this thread alone.

        Args:
            path: The file.
            driver: Its format, if it is known.
            source: What the file does not say itself.

        Raises:
            RasterError: If it cannot be opened.
        """
        if self._process != os.getpid():
            self._scenes, self._process = OrderedDict(), os.getpid()
        key = (path, driver, source)
        scene = self._scenes.pop(key, None)
        if scene is None:
            self._make_room()
            scene = Scene(path, driver=driver, source=source)
        try:
            yield scene
        except BaseException:
            scene.close()
            raise
        other = self._scenes.pop(key, None)  # of another thread
        if other is not None:
            other.close()
        self._scenes[key] = scene

    def _make_room(self) -> None:
        """Close scenes until one more may be opened."""
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        limit = sys.maxsize if soft == resource.RLIM_INFINITY else soft
        while self._scenes and (
            len(self._scenes) >= _MOST
            or self.bytes >= _BYTES
            or self.descriptors >= limit // 2
            or _in_use() + _SPARE > limit
        ):
            with suppress(KeyError):  # another thread took the last one
                self._scenes.popitem(last=False)[1].close()

    @property
    def descriptors(self) -> int:
        """Files that the scenes may hold open."""
        return sum(scene.descriptors for scene in list(self._scenes.values()))

    @property
    def bytes(self) -> int:
        """Memory that the scenes take, about."""
        return sum(_BYTES_EACH + 2 * scene.block_bytes for scene in list(self._scenes.values()))

    def __len__(self) -> int:
        return len(self._scenes)

    def close(self) -> None:
        """Close all."""
        while self._scenes:
            with suppress(KeyError):
                self._scenes.popitem()[1].close()


def _in_use() -> int:
    """Descriptors that this process has."""
    return sum(1 for _ in Path("/dev/fd").iterdir())
