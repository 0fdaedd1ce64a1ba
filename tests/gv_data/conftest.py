"""Small rasters and label files made in code."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

UTM_50_CM = Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000)


@pytest.fixture
def tif(tmp_path: Path) -> Callable[..., Path]:
    """Writes values (c, h, w) as a GeoTIFF of 0.5 m pixels in UTM zone 37."""

    def write(
        name: str,
        values: np.ndarray,
        *,
        crs: str | None = "EPSG:32637",
        transform: Affine = UTM_50_CM,
        scales: tuple[float, ...] | None = None,
        offsets: tuple[float, ...] | None = None,
        mask: np.ndarray | None = None,
        **profile: object,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        count, height, width = values.shape
        settings = {"driver": "GTiff", "dtype": values.dtype, "crs": crs, **profile}
        if crs is not None:
            settings["transform"] = transform
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", count=count, height=height, width=width, **settings) as file,
        ):
            file.write(values)
            if scales:
                file.scales, file.offsets = scales, offsets
            if mask is not None:
                file.write_mask(mask)
        return path

    return write


@pytest.fixture
def vectors(tmp_path: Path) -> Callable[..., Path]:
    """Writes geometries to a file."""

    def write(name: str, geometries: list, crs: str | None = "EPSG:32637") -> Path:
        path = tmp_path / name
        gpd.GeoDataFrame(geometry=geometries, crs=crs).to_file(path)
        return path

    return write
