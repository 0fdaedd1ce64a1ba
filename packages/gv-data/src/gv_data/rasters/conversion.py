"""Any raster made a Cloud Optimized GeoTIFF, with all that the file says of itself.

GDAL's COG driver writes. Then the result is compared with the source: reference system, masks,
names, tags and every pixel (within `LOSSY_RMS_MAX` for lossy codecs). Only what agrees gets its
name.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import rasterio
from rasterio import shutil as raster_files
from rasterio.enums import ColorInterp

from gv_data.atomic import replacing
from gv_data.errors import RasterError
from gv_data.locations import is_remote
from gv_data.rasters import sameness
from gv_data.rasters.cog import COG_OPTIONS, explained
from gv_data.rasters.opening import ENVIRONMENT, check_whole
from gv_data.rasters.quiet import quiet
from gv_data.rasters.raster import Scene
from gv_data.rasters.sameness import Change

Codec = Literal["deflate", "lzw", "zstd", "jpeg", "webp"]
Averaging = Literal["nearest", "average", "mode", "bilinear", "cubic", "lanczos"]

LOSSY: tuple[Codec, ...] = ("jpeg", "webp")
"""Codecs that change values; they hold bytes only."""

LOSSY_RMS_MAX = 12.0
"""Largest root mean square of the change in a window, of 255: photographs stay below 5."""

_QUALITY = {"QUALITY": "90", "OVERVIEW_QUALITY": "90"}
_BLOCK_BYTES = 16 * 2**20
"""Largest block that holds all bands; where it would be larger, each band has blocks of its own."""
_COMPARING = ENVIRONMENT | {"GDAL_CACHEMAX": 128 * 2**20}  # a row of blocks, for files in strips
_ALONE = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_PAM_ENABLED": "NO"}
"""A COG has all inside: files beside it are not looked at."""
_BESIDE = (".aux.xml", ".ovr", ".msk")


@dataclass(frozen=True)
class Conversion:
    """A raster that became a COG.

    Attributes:
        source: The raster.
        target: The COG.
        source_bytes: Size before, without files beside it.
        target_bytes: Size after.
        change: How much a lossy codec changed the values; 0 for the others.
        lost: Metadata domains of other programs, which GDAL does not copy into a COG.
    """

    source: Path
    target: Path
    source_bytes: int
    target_bytes: int
    change: Change
    lost: tuple[str, ...]


def is_cog(path: Path, compress: Codec | None = None) -> bool:
    """Whether a file is a COG with overviews by the rules of rio-cogeo, and needs no file beside.

    Args:
        path: A raster.
        compress: Codec that it must have; None takes any.

    Raises:
        RasterError: If it cannot be read at all.
    """
    with _opened(path) as file:
        if file.driver != "GTiff" or _faults(path):
            return False
        if compress and (file.compression is None or compress not in file.compression.name):
            return False
        with rasterio.Env(**_ALONE), _open(path, "GTiff") as alone:
            return not sameness.differences(file, alone)


def convert(
    source: Path,
    target: Path,
    *,
    compress: Codec = "deflate",
    resampling: Averaging | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Write a raster as COG: blocks of 512 px, overviews, everything the source says of itself.

    Args:
        source: Any raster that `Scene` opens.
        target: Another file, which appears when it is whole.
        compress: Codec. ``jpeg`` turns an alpha band of 0 and 255 into a mask.
        resampling: How overviews are made; None takes the mean, and the nearest pixel for classes
            with colours.
        overwrite: Whether an existing file may be replaced.

    Returns:
        Sizes, and what a lossy codec changed. Memory does not grow with the raster.

    Raises:
        RasterError: If the source cannot be read, the codec does not fit it, something of it would
            be lost, or the disk is full. Nothing is left under ``target`` then.
        FileExistsError: If ``target`` exists and may not be replaced.
    """
    _check_target(source, target)
    with _opened(source) as file:
        _check_codec(source, file, compress)
        made: list[Conversion] = []

        def verify(part: Path) -> None:
            with explained(target, f"{source} was not converted whole"):
                made.append(_verified(source, file, part, LOSSY_RMS_MAX * (compress in LOSSY)))

        with (
            rasterio.Env(**ENVIRONMENT),
            replacing(target, verify=verify, overwrite=overwrite) as part,
            explained(
                target, f"{source} cannot be converted", needed_bytes=_raw_bytes(file) * 4 // 3
            ),
        ):
            options = _options(file, compress, resampling)
            raster_files.copy(file, part, driver="COG", **options)
    return replace(made[0], target=target)


def _opened(path: Path) -> rasterio.DatasetReader:
    """A raster that `Scene` accepts, with all that GDAL knows of it."""
    with Scene(path) as scene:
        if is_remote(scene.path):
            raise RasterError(f"{scene.path} is on object storage: fetch it, then convert it")
        driver = scene.driver
    return _open(path, driver)


def _open(path: Path, driver: str) -> rasterio.DatasetReader:
    with quiet():  # rasters without georeference are converted as they are
        return rasterio.open(path, driver=driver)


def _faults(path: Path) -> list[str]:
    """What keeps a GeoTIFF from being a COG with overviews."""
    from rio_cogeo.cogeo import cog_validate

    with quiet():
        valid, errors, doubts = cog_validate(path, strict=True, quiet=True)
    return [] if valid else [*errors, *doubts]


def _check_target(source: Path, target: Path) -> None:
    if target.exists() and source.exists() and target.samefile(source):
        raise RasterError(
            f"{source} is no COG, and its COG would have the same name\n  try: --out FOLDER"
        )
    beside = [path for suffix in _BESIDE if (path := Path(f"{target}{suffix}")).exists()]
    if beside:
        raise RasterError(f"{beside[0]} would be taken for a part of the COG: remove it")


def _check_codec(source: Path, file: rasterio.DatasetReader, compress: Codec) -> None:
    """Refuse what a lossy codec cannot hold or would silently change."""
    if compress not in LOSSY:
        return
    reason = None
    if set(file.dtypes) != {"uint8"}:
        reason = f"holds {file.dtypes[0]}, {compress} keeps bytes only"
    elif ColorInterp.palette in file.colorinterp:
        reason = f"holds classes with colours, {compress} would change their numbers"
    elif file.nodata is not None:
        reason = f"marks missing pixels by the value {file.nodata:g}, which {compress} would change"
    elif compress == "webp" and file.count != 3 + (ColorInterp.alpha in file.colorinterp):
        reason = "is not of red, green and blue, which is all that webp keeps"
    if reason:
        raise RasterError(f"{source} {reason}\n  try: --compress deflate, zstd or lzw")


def _options(
    file: rasterio.DatasetReader, compress: Codec, resampling: Averaging | None
) -> dict[str, str]:
    classes = ColorInterp.palette in file.colorinterp
    block_bytes = 512 * 512 * _raw_bytes(file) // (file.height * file.width)
    options = COG_OPTIONS | {
        "COMPRESS": compress,
        "OVERVIEWS": "IGNORE_EXISTING",  # nobody knows how those of the source were made
        "OVERVIEW_RESAMPLING": resampling or ("nearest" if classes else "average"),
        "INTERLEAVE": "BAND" if block_bytes > _BLOCK_BYTES else "PIXEL",
    }
    if compress != "deflate":
        del options["LEVEL"]
    if compress in LOSSY or "NBITS" in file.tags(1, ns="IMAGE_STRUCTURE"):
        del options["PREDICTOR"]  # it needs whole bytes
    return options | (_QUALITY if compress in LOSSY else {})


def _raw_bytes(file: rasterio.DatasetReader) -> int:
    return file.height * file.width * file.count * np.dtype(file.dtypes[0]).itemsize


def _verified(source: Path, file: rasterio.DatasetReader, part: Path, rms_max: float) -> Conversion:
    """Compare a finished COG with its source.

    Raises:
        RasterError: If it is cut, no COG, or not the same.
    """
    if faults := _faults(part):
        raise RasterError(f"{source} did not become a COG: {'; '.join(faults)}")
    with rasterio.Env(**_COMPARING, **_ALONE), _open(part, "GTiff") as cog:
        check_whole(part, cog)
        if different := sameness.differences(file, cog):
            raise RasterError(f"{source} cannot be a COG without losing: {', '.join(different)}")
        try:
            change = sameness.change(file, cog, rms_max=rms_max)
        except RasterError as error:
            hint = "\n  try: --compress deflate, zstd or lzw" if rms_max else ""
            raise RasterError(f"{source} does not read back from its COG: {error}{hint}") from error
        sizes = source.stat().st_size, part.stat().st_size
        return Conversion(source, part, *sizes, change, sameness.lost_domains(file, cog))
