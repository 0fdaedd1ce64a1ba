"""Where files are: on this machine or on object storage, named by ``s3://bucket/key``.

Everything in this package takes both. A remote place is a ``UPath`` of universal_pathlib, which
behaves as a ``pathlib.Path``; credentials and the endpoint are those of the environment and of
``~/.aws`` (``AWS_PROFILE``, ``AWS_ENDPOINT_URL`` and so on), never part of a name.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from gv_data.errors import DataError

CONNECT_S = 5
"""Seconds after which object storage that cannot be connected to is given up."""

SILENCE_S = 10
"""Seconds without a byte after which a request is given up."""

_REQUEST_S = 300
"""Seconds after which GDAL gives up a request that trickles."""

_ATTEMPTS = 3
"""How often botocore asks, unless ``AWS_MAX_ATTEMPTS`` says otherwise."""

_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/+")


def located(place: str | os.PathLike[str]) -> Path:
    """A place by its name.

    Args:
        place: A local path or ``s3://bucket/key``; a ``Path`` that was made of the latter, which
            has lost a slash, is understood too.

    Returns:
        A path, or for object storage something that behaves as one.

    Raises:
        DataError: If the scheme is another one, or what object storage needs is not installed.
    """
    if not isinstance(place, str | Path):
        return cast("Path", place)  # one already
    scheme = _SCHEME.match(str(place))
    if scheme is None or len(scheme["scheme"]) == 1:
        return Path(place)
    if scheme["scheme"] != "s3":
        raise DataError(f"{place} is neither a local path nor on s3://")
    try:
        from gv_data.object_paths import ObjectPath
    except ImportError:
        raise DataError(f'{place} needs what reads object storage: uv add "gv-data[s3]"') from None
    settings: dict[str, Any] = {"connect_timeout": CONNECT_S, "read_timeout": SILENCE_S}
    if "AWS_MAX_ATTEMPTS" not in os.environ:
        settings["retries"] = {"total_max_attempts": _ATTEMPTS}
    name = f"s3://{str(place)[scheme.end() :]}"
    # a listing that is kept would not show what others write
    remote = ObjectPath(name, use_listings_cache=False, config_kwargs=settings)
    return cast("Path", remote)


def is_remote(place: Path) -> bool:
    """Whether a place is on object storage."""
    return not isinstance(place, Path)


def storage(place: Path) -> tuple[Any, str]:
    """The file system of fsspec that a remote place is on, and its name there."""
    remote = cast("Any", place)
    return remote.fs, remote.path


def is_file(place: Path) -> bool:
    """Whether there is a file.

    Raises:
        DataError: If the object storage cannot be asked.
    """
    if not is_remote(place):
        return place.is_file()
    system, name = storage(place)
    with explained(place):
        try:
            return system.info(name)["type"] == "file"
        except FileNotFoundError:
            return False


def is_folder(place: Path) -> bool:
    """Whether there is a folder.

    Raises:
        DataError: If the object storage cannot be asked.
    """
    with explained(place):
        return place.is_dir()


def files_below(folder: Path) -> Iterator[Path]:
    """All files in a folder and in those inside it.

    Raises:
        DataError: If the object storage cannot be asked.
    """
    if not is_remote(folder):
        yield from (file for file in sorted(folder.rglob("*")) if file.is_file())
        return
    system, name = storage(folder)
    with explained(folder):
        found = system.find(name)
    yield from (located(f"s3://{name}") for name in found)


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """One error for all that goes wrong on the way to object storage.

    Raises:
        DataError: With the place and the first line of the reason.
    """
    try:
        yield
    except (DataError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:  # fsspec, botocore and aiohttp raise their own, which vary
        if not is_remote(place):
            raise
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DataError(f"{place} cannot be reached: {reason}") from error


@contextmanager
def local_copy(place: Path) -> Iterator[Path]:
    """A file on this machine: the file itself, or a copy that is gone afterwards.

    Raises:
        DataError: If a remote file cannot be fetched.
    """
    if not is_remote(place):
        yield place
        return
    with tempfile.TemporaryDirectory(prefix="gv-data-") as folder, explained(place):
        copy = Path(folder, place.name)
        copy.write_bytes(place.read_bytes())
        yield copy


def beyond(place: Path, root: Path) -> str:
    """The name of a place below a root, with slashes."""
    return str(place).removeprefix(str(root)).replace(os.sep, "/").lstrip("/")


def common_folder(files: list[Path]) -> Path:
    """The deepest folder that holds all files.

    Raises:
        DataError: If they have none, as files on two storages have.
    """
    names = [str(file.resolve().parent) for file in files]
    kinds = {match["scheme"] if (match := _SCHEME.match(name)) else "" for name in names}
    if len(kinds) > 1:
        raise DataError("images and what belongs to them must lie on one storage: copy some")
    (kind,) = kinds
    if not kind:
        return Path(os.path.commonpath(names))
    parts = [_SCHEME.sub("", name).split("/") for name in names]
    same = takewhile(lambda level: len(set(level)) == 1, zip(*parts, strict=False))
    shared = [level[0] for level in same]
    if not shared:
        raise DataError("images and what belongs to them must lie in one bucket: copy some")
    return located(f"{kind}://{'/'.join(shared)}")


def gdal_name(place: Path) -> str:
    """The name by which GDAL opens a file."""
    return f"/vsis3/{_SCHEME.sub('', str(place))}" if is_remote(place) else str(place)


def gdal_settings() -> dict[str, Any]:
    """GDAL's settings for object storage: the endpoint of the environment, and few requests."""
    settings: dict[str, Any] = {
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        "GDAL_HTTP_CONNECTTIMEOUT": str(CONNECT_S),
        "GDAL_HTTP_LOW_SPEED_LIMIT": "1",  # bytes a second: a slow download goes on, silence ends
        "GDAL_HTTP_LOW_SPEED_TIME": str(SILENCE_S),
        "GDAL_HTTP_TIMEOUT": str(_REQUEST_S),
        "GDAL_HTTP_MAX_RETRY": "4",
        "GDAL_HTTP_RETRY_DELAY": "0.5",
        "VSI_CACHE": True,
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        parts = urlsplit(endpoint)
        settings |= {
            "AWS_S3_ENDPOINT": parts.netloc + parts.path.rstrip("/"),
            "AWS_HTTPS": "YES" if parts.scheme == "https" else "NO",
            "AWS_VIRTUAL_HOSTING": False,
        }
    return settings
