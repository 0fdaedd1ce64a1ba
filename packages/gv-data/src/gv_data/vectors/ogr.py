"""Vector files that OGR reads and writes, through pyogrio, for `gv_data.vectors.vector`."""

import warnings
from pathlib import Path
from typing import Literal, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError
from pyproj import CRS

from gv_data.errors import VectorError
from gv_data.grid import Bounds

type GeometryType = Literal[
    "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "Unknown"
]
"""What a layer holds; ``Multi...`` takes single ones too."""

ERRORS = (DataSourceError, DataLayerError, FeatureError, FieldError, GeometryError)
"""What pyogrio raises about files; none is an OSError."""


def read(path: Path, driver: str, layer: str | None, bounds: Bounds | None) -> gpd.GeoDataFrame:
    """Read a layer.

    Args:
        path: An existing file.
        driver: GDAL driver that must turn out to read it.
        layer: Its name; None takes the only one with geometry.
        bounds: (west, south, east, north) in the layer's CRS: features outside need not be
            returned.

    Returns:
        The features; ``crs`` is None when the file has none.

    Raises:
        VectorError: If another driver reads it, or there is no such layer.
    """
    source = str(path.resolve())  # absolute: GDAL takes no part of it for a prefix or an option
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of them is checked on the result
        layer = _only_layer(path, source, layer)
        found = pyogrio.read_info(source, layer=layer)["driver"]
        if found != driver:
            raise VectorError(f"{path} is not a {driver} file but {found}")
        frame = pyogrio.read_dataframe(source, layer=layer, bbox=bounds)
    if not isinstance(frame, gpd.GeoDataFrame):
        raise VectorError(f"{path}: layer {layer!r} has no geometry")
    return frame


def _only_layer(path: Path, source: str, layer: str | None) -> str:
    """The layer asked for, or the only one with geometry (QGIS keeps styles in others)."""
    layers = {str(name): kind for name, kind in pyogrio.list_layers(source)}
    if layer is not None and layer not in layers:
        raise VectorError(f"{path} has no layer {layer!r}; it holds {', '.join(layers)}")
    spatial = [name for name, kind in layers.items() if kind is not None]
    if layer is None and len(spatial) != 1:
        raise VectorError(
            f"{path} holds {len(spatial)} layers with geometry{': ' if spatial else ''}"
            f"{', '.join(spatial)}; export the one to read to a file of its own"
        )
    return layer or spatial[0]


def write(
    frame: gpd.GeoDataFrame,
    path: Path,
    driver: str,
    layer: str,
    geometry_type: GeometryType,
    *,
    append: bool = False,
    layer_options: dict[str, str] | None = None,
) -> None:
    """Write features in place.

    Args:
        frame: Features; without a CRS the layer has none.
        path: File to make, or to add to.
        driver: GDAL driver.
        layer: Name of the layer.
        geometry_type: What it is declared to hold.
        append: Whether to add to an existing layer.
        layer_options: The driver's layer creation options.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="'crs' was not provided")  # said by the frame
        pyogrio.write_dataframe(
            frame,
            path,
            driver=driver,
            layer=layer,
            geometry_type=geometry_type,
            promote_to_multi=geometry_type.startswith("Multi"),
            append=append,
            layer_options=layer_options,
        )


class Sink:
    """A GeoPackage being written: made empty first, then appended to."""

    def __init__(
        self,
        path: Path,
        crs: CRS | None,
        schema: pa.Schema,
        geometry_type: GeometryType,
        layer: str,
    ) -> None:
        """Make the empty file.

        Args:
            path: File to write in place; the caller sees to it that it appears whole.
            crs: CRS of the geometry, if it has one.
            schema: Attribute columns.
            geometry_type: What the layer is declared to hold.
            layer: Its name.
        """
        self._path, self._crs, self._layer, self._kind = path, crs, layer, geometry_type
        self._write(schema.empty_table().to_pandas(), np.empty(0, object), append=False)

    def write(self, attributes: pd.DataFrame, geometries: np.ndarray) -> None:
        """Append features.

        Args:
            attributes: The columns of the schema.
            geometries: As many shapely geometries, or None.
        """
        self._write(attributes, geometries, append=True)

    def finish(self) -> None:
        """Nothing: each batch is a transaction of its own."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def _write(self, attributes: pd.DataFrame, geometries: np.ndarray, *, append: bool) -> None:
        frame = gpd.GeoDataFrame(attributes, geometry=geometries, crs=self._crs)
        write(frame, self._path, "GPKG", self._layer, self._kind, append=append)
