"""A small package and scenes for it, made in code."""

from collections.abc import Callable
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import torch
from affine import Affine

from gv_data.terminal.command import run
from gv_models import package, unet
from gv_models.card import Band, Card
from urbanvision.cli import FAMILY

GRID = Affine(0.5, 0, 500_000, 0, -0.5, 9_000_000)


@pytest.fixture
def urbanvision(capsys, tmp_path, monkeypatch) -> Callable[..., tuple[int, str]]:
    """Runs a command in ``tmp_path``; gives its exit code and what it said to people."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*words: str | Path) -> tuple[int, str]:
        code = run("urbanvision", FAMILY, [str(word) for word in words])
        return code, capsys.readouterr().err

    return call


@pytest.fixture(scope="session")
def model(tmp_path_factory) -> Path:
    """A package for three bands at 0.5 m that has learnt nothing."""
    torch.manual_seed(0)
    network = unet("resnet18", heads={"interior": 1, "edge": 1}, decoder_channels=(16, 8, 8, 4, 4))
    card = Card(
        constructor="unet",
        arguments=network.arguments,
        bands=tuple(Band(name, None, 90.0, 40.0, 10.0, 220.0) for name in ("red", "green", "blue")),
        heads={"interior": ("interior",), "edge": ("edge",)},
        gsd_m=0.5,
        window_px=64,
        overlap_px=16,
        licence="MIT",
    )
    return package.save(tmp_path_factory.mktemp("model") / "package", network, card)


@pytest.fixture
def scene(tmp_path: Path) -> Callable[..., Path]:
    """Writes a scene of ground and roofs with 0.5 m pixels in UTM zone 37 south."""

    def write(
        name: str = "town.tif",
        *,
        bands: int = 3,
        crs: str | None = "EPSG:32737",
        transform: Affine = GRID,
        nodata: int | None = None,
        void: bool = False,
        side: int = 160,
    ) -> Path:
        random = np.random.default_rng(0)
        values = random.integers(30, 120, (bands, side, side)).astype(np.uint8)
        values[:, 50:80, 20:40] += 100
        if void:
            values[:] = 0
        path = tmp_path / name
        profile = {"crs": crs, "transform": transform} if crs else {}
        with rasterio.open(
            path,
            "w",
            driver="GTiff",
            height=side,
            width=side,
            count=bands,
            dtype="uint8",
            nodata=nodata,
            photometric="rgb" if bands == 3 else "minisblack",
            **profile,
        ) as file:
            file.write(values)
        return path

    return write


@pytest.fixture
def labels(tmp_path: Path) -> Callable[..., Path]:
    """Writes polygons of roofs."""

    def write(name: str, polygons: list, crs: str = "EPSG:32737") -> Path:
        path = tmp_path / name
        gpd.GeoDataFrame({"n": range(len(polygons))}, geometry=polygons, crs=crs).to_file(path)
        return path

    return write
