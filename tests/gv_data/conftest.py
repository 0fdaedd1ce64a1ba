"""Small rasters and label files made in code."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from affine import Affine

from gv_data.catalog import Catalog
from gv_data.cli import FAMILY
from gv_data.findings import Checked, Finding
from gv_data.grid import Grid
from gv_data.intake.indexing import index
from gv_data.sources import Source
from gv_data.store import table_files
from gv_data.synthetic.files import save
from gv_data.synthetic.town import town
from gv_data.terminal.command import run
from gv_data.vectors import vector

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


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs a command line; gives its exit code, standard output and standard error."""

    def call(*words: object) -> tuple[int, str, str]:
        code = run("gv-data", FAMILY, [str(word) for word in words])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


@pytest.fixture
def catalog_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Catalog]:
    """Makes a catalog of images that lie on some grids, without any file of pixels.

    ``catalog_of(grids, place=["a", "b"])``: columns have a value an image.
    """

    def make(grids: Sequence[Grid], **columns: Sequence[object]) -> Catalog:
        folder = tmp_path_factory.mktemp("catalog")
        rows = []
        for n, grid in enumerate(grids):
            placed = grid.crs is not None
            row = {
                "id": f"image{n:03d}",
                "image": f"image{n:03d}.tif",
                "source": 0,
                "driver": "GTiff",
                "crs": grid.crs.to_string() if grid.crs else None,
                "transform": list(grid.transform)[:6],
                "height_px": grid.height_px,
                "width_px": grid.width_px,
                "row": 0,
                "column": 0,
                "gsd_m": grid.gsd_m if placed else None,
                "bands": ["red"],
                "dtype": "uint8",
                "objects": 0,
                "geometry": grid.footprint() if placed else None,
            }
            rows.append(row)
        table = table_files.Rows.of(rows)
        for name, values in columns.items():
            table = table.with_column(name, values)
        table_files.write_description(folder, [Source(str(folder))])
        table_files.replace_rows(folder, set(), table, [])
        return Catalog.open(folder)

    return make


@pytest.fixture(scope="session")
def towns(tmp_path_factory):
    """Two towns on other ground, red, green and blue."""
    folder = tmp_path_factory.mktemp("towns")
    return {
        name: save(town(seed, size_px=512), folder, nir=False, stem=name)
        for seed, name in ((3, "a"), (4, "b"))
    }


@pytest.fixture
def views(tmp_path: Path, towns) -> Callable[..., tuple[Catalog, Catalog]]:
    """Indexes images, with labels or without, as training and validation views."""

    def make(train=None, val=None, **settings: Any) -> tuple[Catalog, Catalog]:
        parts = {"train": train or [towns["a"]], "val": val or [towns["b"]]}
        out = tmp_path / "catalog"
        for split, pairs in parts.items():
            for n, one in enumerate(pairs):
                image, labels = one if isinstance(one, tuple) else (one.image, one.buildings)
                index([image], out, labels=labels, place=f"{split}{n}", append=True, **settings)
        catalog = Catalog.open(out)
        return catalog.where("place LIKE 'train%'"), catalog.where("place LIKE 'val%'")

    return make


@pytest.fixture
def rewrite() -> Callable[..., Path]:
    """Copies an image with other pixels or another profile."""

    def copy(image: Path, out: Path, change=lambda pixels: pixels, **settings: object) -> Path:
        with rasterio.open(image) as file:
            pixels, profile = change(file.read()), file.profile
        profile |= {"dtype": pixels.dtype, "count": len(pixels)} | settings
        if pixels.dtype.kind == "f":
            profile["predictor"] = 1
        with rasterio.open(out, "w", **profile) as file:
            file.write(pixels)
        return out

    return copy


@pytest.fixture
def moved() -> Callable[..., Path]:
    """Copies labels with all of them moved."""

    def copy(labels: Path, out: Path, east_m: float, north_m: float) -> Path:
        frame = vector.read(labels)
        vector.write(frame.set_geometry(frame.translate(east_m, north_m)), out)
        return out

    return copy


@pytest.fixture
def black_corner() -> Callable[[np.ndarray], np.ndarray]:
    """Makes a corner of an image black, as where a mosaic ends."""

    def cut(pixels: np.ndarray) -> np.ndarray:
        rows, columns = np.indices(pixels.shape[1:])
        return np.where(rows + columns < 300, 0, np.maximum(pixels, 1)).astype(pixels.dtype)

    return cut


@pytest.fixture
def only() -> Callable[[Checked, str], Finding]:
    """Gives the one finding of a rule, which must be the only finding."""

    def one(checked: Checked, rule: str) -> Finding:
        assert [finding.rule for finding in checked.findings] == [rule]
        assert rule not in checked.passed
        return checked.findings[0]

    return one


@pytest.fixture(scope="session")
def real_buildings() -> Path:
    """Real imagery with outlines of buildings."""
    folder = Path(__file__).parents[3] / "shared" / "data" / "buildings"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder
