"""Size and time of files: whether they are still what they were when somebody looked at them."""

from collections.abc import Iterable
from pathlib import Path

from gv_data.engine import mapped
from gv_data.locations import explained, is_remote, located

type Stamp = tuple[int, int]
"""Bytes, and the time of the last change in nanoseconds."""

_REQUESTS = 16
"""Files on object storage that are asked for at once."""


def stamps(files: Iterable[str]) -> dict[str, Stamp | None]:
    """The stamps of files, each asked for once.

    Args:
        files: Local paths or ``s3://bucket/key``.

    Returns:
        By file; None where there is none, or none that may be seen.

    Raises:
        DataError: If an object storage cannot be reached.
    """
    places = {file: located(file) for file in set(files)}
    far = [file for file, place in places.items() if is_remote(place)]
    found = {file: _stamp(place) for file, place in places.items() if not is_remote(place)}
    return found | dict(mapped(lambda file: _stamp(places[file]), far, workers=_REQUESTS))


def _stamp(place: Path) -> Stamp | None:
    try:
        with explained(place):
            seen = place.stat()
    except OSError:
        return None
    return seen.st_size, seen.st_mtime_ns
