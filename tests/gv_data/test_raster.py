"""Reading against rasterio and numpy."""

from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS
from rasterio._env import get_gdal_config
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(0)
NOISE = RNG.integers(1, 255, (3, 300, 400), dtype=np.uint8)
GRID = Grid(CRS("EPSG:32637"), Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000), 700, 900)

VRT = """<VRTDataset rasterXSize="400" rasterYSize="300"><VRTRasterBand dataType="Byte" band="1">
<SimpleSource><SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>
</VRTRasterBand></VRTDataset>"""


def test_reads_the_same_pixels_as_rasterio(tif):
    path = tif("a.tif", NOISE)
    with Scene(path) as scene, rasterio.open(path) as file:
        values, valid = scene.read()
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, file.read())
        values, valid = scene.read((10, 20, 110, 220))
        np.testing.assert_array_equal(values, file.read(window=Window(20, 10, 200, 100)))
        assert valid.all()
        values, _ = scene.read((10, 20, 110, 220), bands=("blue", "red"))
        np.testing.assert_array_equal(values, file.read([3, 1], window=Window(20, 10, 200, 100)))
    assert scene.bands == ("red", "green", "blue")
    assert scene.grid == Grid(CRS("EPSG:32637"), GRID.transform, 300, 400)


@settings(deadline=None, max_examples=50)
@given(st.floats(-1e-7, 1e-7), st.integers(-60, 250), st.integers(-60, 350))
def test_rounding_of_bounds_does_not_resample(tmp_path_factory, error, row, column):
    path = tmp_path_factory.getbasetemp() / "noise.tif"
    if not path.exists():
        with rasterio.open(
            path, "w", "GTiff", 400, 300, 3, "EPSG:32637", GRID.transform, "uint8"
        ) as file:
            file.write(NOISE)
    padded = np.zeros((3, 500, 600), np.float32)
    padded[:, 100:400, 100:500] = NOISE
    expected = padded[:, row + 100 : row + 150, column + 100 : column + 140]
    with Scene(path) as scene:
        window = tuple(edge + error for edge in (row, column, row + 50, column + 40))
        values, valid = scene.read(window, (50, 40))
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(valid, expected[0] > 0)


def test_beyond_the_file_there_is_nothing(tif):
    with Scene(tif("a.tif", NOISE)) as scene:
        values, valid = scene.read((500, 500, 520, 520))
    assert not values.any()
    assert not valid.any()


@pytest.mark.parametrize("factor", [2, 4, 5])
def test_larger_pixels_are_means_of_blocks(tif, factor):
    with Scene(tif("a.tif", NOISE)) as scene:
        values, valid = scene.read((100, 100, 200, 300), (100 // factor, 200 // factor))
    blocks = NOISE[:, 100:200, 100:300].reshape(3, 100 // factor, factor, 200 // factor, factor)
    assert np.abs(values - blocks.mean(axis=(2, 4))).max() <= 0.5  # GDAL rounds bytes
    assert valid.all()


def test_fractional_windows_agree_with_a_warped_vrt(tif):
    path = tif("a.tif", NOISE.astype(np.float32))
    inner = GRID.transform @ Affine.translation(50.3, 40.6)
    for size, how in ((0.5, Resampling.bilinear), (2.5, Resampling.average)):
        grid = inner @ Affine.scale(size)
        with (
            rasterio.open(path) as file,
            WarpedVRT(
                file, transform=grid, width=60, height=40, crs=file.crs, resampling=how
            ) as warped,
        ):
            expected = warped.read()
        with Scene(path) as scene:
            window = (40.6, 50.3, 40.6 + 40 * size, 50.3 + 60 * size)
            values, _ = scene.read(window, (40, 60))
        assert np.abs(values - expected).max() < 2, how  # of 255: two implementations in GDAL


def test_values_are_in_physical_units(tif):
    path = tif(
        "a.tif",
        np.array([[[0, 1000], [-9999, 5000]]], np.int16),
        scales=(1e-4,),
        offsets=(-0.1,),
        nodata=-9999,
    )
    with Scene(path) as scene:
        values, valid = scene.read()
    np.testing.assert_allclose(values, [[[-0.1, 0.0], [0.0, 0.4]]], atol=1e-7)
    np.testing.assert_array_equal(valid, [[True, True], [False, True]])


@pytest.mark.parametrize(
    ("dtype", "nodata", "expected"),
    [
        ("uint8", 0, [[True, True], [True, False]]),  # black is missing, pure red is not
        ("uint8", 255, [[True, True], [True, True]]),
        ("int16", 9, [[True, False], [True, True]]),
        ("float32", 9, [[True, False], [True, True]]),
        ("float32", float("nan"), [[True, True], [True, True]]),
    ],
)
def test_nodata_of_colours_counts_in_all_bands_and_of_measurements_in_any(
    tif, dtype, nodata, expected
):
    values = np.array([[[7, 9], [0, 0]], [[7, 7], [5, 0]]], dtype)
    with Scene(tif("a.tif", values, nodata=nodata)) as scene:
        np.testing.assert_array_equal(scene.read()[1], expected)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32"])
@pytest.mark.parametrize("nodata", [0, 7, 100, -1, -9999, 300, 0.5, 1e9])
def test_validity_is_what_gdals_masks_say(tif, dtype, nodata):
    values = np.random.default_rng(0).integers(0, 9, (3, 40, 50)).astype(dtype)
    values[:, :5], values[1, 9], values[:, 12] = 0, 0, 7
    if np.can_cast(np.min_scalar_type(nodata), dtype):
        values[2, 20] = nodata
    path = tif("a.tif", values)
    with rasterio.open(path, "r+") as file:
        try:
            file.nodata = nodata
        except ValueError:
            pytest.skip("GDAL does not store this nodata value")
    colour = nodata == 0 or np.dtype(dtype).itemsize == 1
    with rasterio.open(path) as file, Scene(path) as scene:
        masks = file.read_masks() > 0
        valid = masks.any(axis=0) if colour else masks.all(axis=0)
        read, found = scene.read()
        np.testing.assert_array_equal(found, valid)
        np.testing.assert_array_equal(read, values.astype(np.float32) * valid)
        np.testing.assert_array_equal(scene.stored(3, 4, 20, 30)[1], valid[3:23, 4:34])
        some = scene.read(bands=scene.bands[1:2])[1]
        np.testing.assert_array_equal(some, valid if colour else masks[1])


def test_not_a_number_is_nodata_in_any_band(tif):
    values = np.ones((2, 2, 3), np.float32)
    values[0, 0, 0], values[1, 1, 1], values[1, 0, 2] = np.nan, np.inf, -np.inf
    with Scene(tif("a.tif", values)) as scene:
        read, valid = scene.read()
    np.testing.assert_array_equal(valid, [[False, True, False], [True, False, True]])
    np.testing.assert_array_equal(read, np.broadcast_to(valid, (2, 2, 3)))


def test_alpha_becomes_validity_and_is_no_band(tif):
    alpha = np.zeros((1, 300, 400), np.uint8)
    alpha[:, 50:, :100] = 255
    path = tif("a.tif", np.concatenate([NOISE, alpha]), photometric="RGB", ALPHA="YES")
    with rasterio.open(path) as file:
        assert file.colorinterp[3] == ColorInterp.alpha
    with Scene(path) as scene:
        values, valid = scene.read()
    assert scene.bands == ("red", "green", "blue")
    np.testing.assert_array_equal(valid, alpha[0] > 0)
    np.testing.assert_array_equal(values, NOISE * (alpha > 0))


def test_a_mask_band_becomes_validity(tif):
    mask = np.zeros((300, 400), bool)
    mask[10:200, 30:50] = True
    with Scene(tif("a.tif", NOISE, mask=mask)) as scene:
        values, valid = scene.read()
        coarse, some = scene.read(shape_hw=(150, 200))
    np.testing.assert_array_equal(valid, mask)
    np.testing.assert_array_equal(values, NOISE * mask)
    np.testing.assert_array_equal(some, mask[::2, ::2])
    blocks = NOISE.reshape(3, 150, 2, 200, 2).mean(axis=(2, 4))
    assert np.abs(coarse - blocks * mask[::2, ::2]).max() <= 0.5


def test_a_south_up_raster_reads_in_its_own_rows(tif):
    path = tif("a.tif", NOISE, transform=Affine(0.5, 0, 500_000, 0, 0.5, 3_000_000))
    with Scene(path) as scene:
        part = scene.grid.part(100, 50, 20, 30)
        values, _ = scene.read(scene.grid.rows_columns(part.bounds), part.shape_hw)
    np.testing.assert_array_equal(values, NOISE[:, 100:120, 50:80])


def test_a_jpeg_finds_its_place_in_the_sidecar(tif):
    path = tif("a.jpg", NOISE, driver="JPEG")
    assert Path(f"{path}.aux.xml").exists()
    with Scene(path) as scene:
        assert scene.driver == "JPEG"
        assert scene.grid.crs == CRS("EPSG:32637")
        assert scene.grid.transform == GRID.transform


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
@pytest.mark.parametrize("driver", ["GTiff", "PNG"])
def test_a_file_without_crs_has_no_place(tif, driver):
    with Scene(tif("a.tif", NOISE, crs=None, driver=driver)) as scene:
        assert scene.grid.crs is None
        np.testing.assert_array_equal(scene.read()[0], NOISE)


def test_bands_have_the_names_the_file_gives_them(tif):
    path = tif("a.tif", np.ones((4, 5, 5), np.uint16), photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.set_band_description(2, "NIR")
        file.colorinterp = [ColorInterp.blue, ColorInterp.undefined] * 2
    with Scene(path) as scene:
        assert scene.bands == ("blue", "nir", "blue_3", "band_4")
        with pytest.raises(RasterError, match=r"has the bands blue, nir.*wanted: red"):
            scene.read(bands=("red",))


def test_a_missing_file_and_a_folder_are_said(tmp_path):
    with pytest.raises(RasterError, match=r"nowhere\.tif is not there"):
        Scene(tmp_path / "nowhere.tif")
    with pytest.raises(RasterError, match="is not a file"):
        Scene(tmp_path)


@pytest.mark.parametrize("content", ["vrt", "text", "empty"])
def test_files_that_only_look_like_images_are_refused(tmp_path, tif, content):
    secret = tif("secret.tif", NOISE)
    path = tmp_path / "x.tif"
    path.write_text({"vrt": VRT.format(secret), "text": "ncols 2\nnrows 2\n", "empty": ""}[content])
    with pytest.raises(RasterError, match="cannot be opened as an image"):
        Scene(path)


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".aux.xml"])
def test_companions_that_lead_to_other_files_are_refused(tif, suffix):
    secret = tif("secret.tif", NOISE)
    path = tif("a.tif", NOISE)
    overviews = f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{secret}</MDI>'
    text = f"{overviews}</Metadata></PAMDataset>" if suffix == ".aux.xml" else VRT.format(secret)
    Path(f"{path}{suffix}").write_text(text)
    with pytest.raises(RasterError, match="remove it"):
        Scene(path)


@pytest.mark.parametrize("profile", [{}, {"tiled": True}, {"interleave": "band"}])
@pytest.mark.parametrize("lost", [1, 1000, 100_000])
def test_a_truncated_tiff_is_refused_with_both_sizes(tif, profile, lost):
    path = tif("a.tif", NOISE, **profile)
    whole = path.read_bytes()
    with Scene(path):
        pass
    path.write_bytes(whole[:-lost])
    with pytest.raises(RasterError) as refused:
        Scene(path)
    assert f"{len(whole) - lost:,}" in str(refused.value)
    assert "fetch it again" in str(refused.value)


def test_damaged_pixels_are_an_error_that_names_the_file(tif):
    path = tif("a.tif", NOISE, compress="deflate", tiled=True)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 2000] = bytes(2000)
    path.write_bytes(data)
    with Scene(path) as scene, pytest.raises(RasterError, match=r"a\.tif cannot be decoded"):
        scene.read()


def test_one_huge_block_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "bomb.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=16384, height=32768, count=1, dtype="uint8",
        blockxsize=16384, blockysize=32768, tiled=True, compress="deflate", sparse_ok=True,
        crs="EPSG:32637", transform=GRID.transform,
    ):  # fmt: skip
        pass
    with pytest.raises(RasterError, match=r"blocks of 512 MiB, the limit is 256"):
        Scene(path)


def test_complex_numbers_are_refused(tif):
    with pytest.raises(RasterError, match="complex"):
        Scene(tif("a.tif", np.ones((1, 4, 4), np.complex64)))


@pytest.mark.parametrize(
    ("layout", "mib"), [({}, 128), ({"tiled": True, "blockxsize": 16, "blockysize": 16}, 32)]
)
def test_reading_keeps_a_small_cache_of_its_own_larger_for_strips(tif, monkeypatch, layout, mib):
    seen = []
    path = tif("a.tif", np.tile(NOISE, (1, 4, 4)), **layout)
    with Scene(path) as scene:
        decode = scene._decode

        def watched(*asked):
            seen.append(get_gdal_config("GDAL_CACHEMAX"))
            return decode(*asked)

        monkeypatch.setattr(scene, "_decode", watched)
        scene.read()
    assert seen == [mib * 2**20]


def test_bands_of_one_description_keep_names_of_their_own(tif):
    values = np.stack([np.full((4, 5), n, np.uint8) for n in (10, 20, 30)])
    path = tif("same.tif", values)
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("Band", "Band", "Band")
    with Scene(path) as scene:
        assert scene.bands == ("band", "band_2", "band_3")
        read, _ = scene.read(bands=scene.bands)
    assert np.array_equal(read, values)
