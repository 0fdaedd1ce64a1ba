"""From a scene to files: what is on the ground is where it was, whole, or not there at all."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
import shapely.affinity
from affine import Affine
from PIL import Image
from pyproj import CRS
from rio_cogeo import cog_validate
from scipy import ndimage
from torch import Tensor

from gv_data.errors import DataError
from gv_data.grid import Grid
from gv_data.vectors.instances import Splitting, instances
from gv_models.card import Band, Card
from gv_train.inference import Windows
from urbanvision import mapping
from urbanvision.mapping import frame_of, map_scene

BAND = Band("gray", None, mean=0.0, std=1.0, p01=0.0, p99=200.0)


@dataclass
class Bright:
    """Takes bright pixels for buildings."""

    card: Card

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        bright = (image[:, :1] > 100).float()
        return {"interior": bright * 0.9, "edge": bright * 0}


@pytest.fixture
def model() -> Bright:
    card = Card(
        constructor="unet",
        arguments={"encoder": "resnet18", "decoder_channels": (64, 32, 16, 16, 16)},
        bands=(BAND,),
        heads={"interior": ("interior",), "edge": ("edge",)},
        gsd_m=0.5,
        window_px=64,
        overlap_px=16,
        licence="MIT",
    )
    return Bright(card)


ROOFS = [
    shapely.box(500_010, 8_999_960, 500_020, 8_999_975),
    shapely.box(500_040, 8_999_920, 500_052, 8_999_930),
]


def write_scene(path: Path, *, crs: str | None = "EPSG:32737", nodata: int | None = None) -> Path:
    transform = Affine(0.5, 0, 500_000, 0, -0.5, 9_000_000)
    values = rasterio.features.rasterize(
        [(roof, 200) for roof in ROOFS], (200, 160), transform=transform
    )
    values[values == 0] = 40
    if nodata is not None:
        values[:, :8] = nodata
    profile = {"transform": transform, "crs": crs} if crs else {}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=200,
        width=160,
        count=1,
        dtype="uint8",
        nodata=nodata,
        **profile,
    ) as file:
        file.write(values.astype(np.uint8)[None])
    return path


def test_roofs_come_back_where_they_are(model, tmp_path) -> None:
    made = map_scene(model, write_scene(tmp_path / "town.tif"), tmp_path / "maps")
    found = gpd.read_parquet(made.parquet)
    assert len(found) == made.buildings == 2
    assert found.crs.to_epsg() == 32737
    assert list(found.columns[:3]) == ["id", "confidence", "area_m2"]
    for roof in ROOFS:
        best = found.geometry.intersection(roof).area.idxmax()
        assert found.geometry[best].symmetric_difference(roof).area < 0.01
        # a UTM zone's scale at its edge differs from 1 by up to 0.1 %
        assert found.area_m2[best] == pytest.approx(roof.area, rel=0.002)
        assert found.confidence[best] == pytest.approx(0.9)
    assert gpd.read_file(made.geopackage).geometry.geom_equals(found.geometry).all()


def test_the_card_says_from_which_probability_on_it_is_a_building(model, tmp_path) -> None:
    scene = write_scene(tmp_path / "town.tif")
    for threshold, buildings in ((0.9, 2), (0.91, 0)):
        strict: Any = Bright(replace(model.card, threshold=threshold))
        made = map_scene(strict, scene, tmp_path / f"{threshold}")
        assert made.buildings == buildings


def test_the_probability_raster_is_a_valid_cog(model, tmp_path) -> None:
    made = map_scene(model, write_scene(tmp_path / "town.tif", nodata=0), tmp_path / "maps")
    valid, errors, warnings = cog_validate(made.probability)
    assert (valid, errors, warnings) == (True, [], [])
    with rasterio.open(made.probability) as file:
        values = file.read(1)
        assert file.dtypes == ("uint8",)
        assert file.nodata == 255
        assert file.crs.to_epsg() == 32737
    assert set(np.unique(values)) == {0, 180, 255}
    assert (values[:, :8] == 255).all()
    assert (values[:, 8:] != 255).all()


def test_the_preview_shows_the_outlines(model, tmp_path) -> None:
    made = map_scene(model, write_scene(tmp_path / "town.tif"), tmp_path / "maps")
    picture = np.asarray(Image.open(made.preview).convert("RGB"))
    assert picture.shape == (200, 160, 3)
    assert (picture == (255, 214, 10)).all(axis=2).any()


def test_windows_of_any_size_give_the_same_map(model, tmp_path) -> None:
    scene = write_scene(tmp_path / "town.tif")
    first = map_scene(model, scene, tmp_path / "a", windows=Windows(64, 16))
    second = map_scene(model, scene, tmp_path / "b", windows=Windows(100, 50, 3))
    one, other = (gpd.read_parquet(made.parquet) for made in (first, second))
    assert one.geometry.union_all().equals(other.geometry.union_all())


def test_a_scene_without_crs_is_mapped_in_pixels(model, tmp_path) -> None:
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        scene = write_scene(tmp_path / "plain.tif", crs=None)
    made = map_scene(model, scene, tmp_path / "maps")
    found = gpd.read_parquet(made.parquet)
    assert made.buildings == 2
    assert found.crs is None
    assert found.area_m2.isna().all()


def test_an_existing_map_is_not_replaced_unasked(model, tmp_path) -> None:
    scene = write_scene(tmp_path / "town.tif")
    first = map_scene(model, scene, tmp_path / "maps")
    before = first.parquet.stat().st_mtime_ns
    with pytest.raises(FileExistsError, match="--overwrite"):
        map_scene(model, scene, tmp_path / "maps")
    assert first.parquet.stat().st_mtime_ns == before
    map_scene(model, scene, tmp_path / "maps", overwrite=True)


def test_a_failure_leaves_nothing(model, tmp_path, monkeypatch) -> None:
    def broken(*args, **settings) -> None:
        raise DataError("no space left")

    monkeypatch.setattr(mapping.Preview, "save", broken)
    with pytest.raises(DataError, match="no space"):
        map_scene(model, write_scene(tmp_path / "town.tif"), tmp_path / "maps")
    assert list((tmp_path / "maps").iterdir()) == []


def test_an_image_without_data_gives_an_empty_map(model, tmp_path) -> None:
    path = tmp_path / "void.tif"
    write_scene(path, nodata=0)
    with rasterio.open(path, "r+") as file:
        file.write(np.zeros((1, 200, 160), np.uint8))
    made = map_scene(model, path, tmp_path / "maps")
    assert made.buildings == 0
    assert len(gpd.read_parquet(made.parquet)) == 0


def test_a_name_that_cannot_be_had_leaves_no_new_map(model, tmp_path, monkeypatch) -> None:
    move, moved = Path.replace, []

    def fails_at_the_third(self: Path, target: Path) -> Path:
        if target.parent.name == "maps" and target.suffix != ".part":
            moved.append(target)
            if len(moved) == 3:
                raise OSError("no such luck")
        return move(self, target)

    monkeypatch.setattr(Path, "replace", fails_at_the_third)
    with pytest.raises(OSError, match="luck"):
        map_scene(model, write_scene(tmp_path / "town.tif"), tmp_path / "maps")
    assert len(moved) == 3
    assert list((tmp_path / "maps").iterdir()) == []


def test_outlines_stay_valid_in_the_crs_of_the_scene() -> None:
    """Holes that touch their shell in whole pixels would cross it once rounded."""
    transform = Affine(0.3, 0, 652_000.1, 0, -0.3, 9_699_996.7)
    grid = Grid(CRS.from_epsg(32737), transform, 400, 400)
    broken = 0
    splitting = Splitting(simplify_px=1, min_px=10)
    for seed in range(4):
        noise = np.random.default_rng(seed).random(grid.shape_hw)
        interior = np.where(ndimage.gaussian_filter(noise, 0.7) > 0.55, 180, 0)
        edge = np.zeros(grid.shape_hw, np.uint8)
        for found in instances([(interior.astype(np.uint8), edge)], splitting):
            moved = shapely.affinity.affine_transform
            coefficients = [transform.a, 0, 0, transform.e, transform.c, transform.f]
            broken += sum(not moved(polygon, coefficients).is_valid for polygon in found.polygons)
            frame = frame_of(found, grid, first_id=1)
            assert frame.geometry.is_valid.all()
            assert (frame.geom_type == "Polygon").all()
            pixels = shapely.area(found.polygons)
            assert np.allclose(frame.geometry.area / 0.09, pixels, rtol=0.01)
    assert broken > 0  # else this shows nothing
