"""Paths on object storage that bear forks, such as of a loader's workers, and other writers."""

import os
from typing import Any, Self, cast, override

from upath.implementations.cloud import S3Path

_RETRIES = 2
"""How often s3fs begins anew, each time with all attempts of botocore."""


class ObjectPath(S3Path):
    """``s3://bucket/key``, with a connection of the process that asks.

    A path keeps the file system it has used, and hands it to the paths made of it. fsspec refuses
    the one of a parent process ("This class is not fork-safe"), as its event loop stayed there.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:  # noqa: ANN401  as universal_pathlib's
        """Make one of this class; universal_pathlib would choose its own by the scheme."""
        del args, kwargs
        return object.__new__(cls)

    @property
    @override
    def fs(self) -> Any:
        """The file system."""
        system = cast("Any", super().fs)
        if system._pid != os.getpid():
            del self._fs_cached
            system = super().fs
        system.retries = _RETRIES
        return system

    @override
    def read_bytes(self) -> bytes:
        """All of it in one request: what opens a file asks twice, and somebody may write between.

        Raises:
            FileNotFoundError: If it is not there.
        """
        return self.fs.cat_file(self.path)

    @override
    def read_text(
        self, encoding: str | None = None, errors: str | None = None, newline: str | None = None
    ) -> str:
        """The same as text, in UTF-8 unless said; line ends stay as they are.

        Raises:
            FileNotFoundError: If it is not there.
        """
        del newline
        return self.read_bytes().decode(encoding or "utf-8", errors or "strict")
