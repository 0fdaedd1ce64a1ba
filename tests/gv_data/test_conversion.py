"""Rasters made COGs, against rasterio and rio-cogeo."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.enums import Resampling
from rasterio.windows import Window
from rio_cogeo import cog_translate, cog_validate

from gv_data.errors import DataError, RasterError
from gv_data.rasters import conversion, sameness
from gv_data.rasters.conversion import Codec, convert, is_cog

RNG = np.random.default_rng(5)
NOISE = RNG.integers(1, 255, (4, 700, 600), dtype=np.uint8)
ROWS, COLUMNS = np.indices((700, 600))
GROUND = (120 + 60 * np.sin(ROWS / 40) + 50 * np.cos(COLUMNS / 25)).astype(np.uint8)
PHOTO = np.stack([GROUND, GROUND[::-1], GROUND[:, ::-1]])
HOLE = (ROWS < 300) & (COLUMNS >= 400)
UNPLACED = {"crs": None}

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def reflectance(tif) -> Path:
    path = tif("a.tif", NOISE.astype(np.uint16) * 100, nodata=0, photometric="MINISBLACK")
    with rasterio.open(path, "r+") as file:
        file.descriptions = ("B02", "B03", "B04", "B08")
        file.scales, file.offsets, file.units = (1e-4,) * 4, (-0.1,) * 4, ("1",) * 4
        file.update_tags(ACQUIRED="2020-05-01", AREA_OR_POINT="Point")
        file.update_tags(4, WAVELENGTH_NM="842")
    return path


def classes(tif) -> Path:
    path = tif("a.tif", NOISE[:1] % 4 * 10)
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {n: (n, 255 - n, 9, 255) for n in (0, 10, 20, 30)})
    return path


def with_points(tif) -> Path:
    path = tif("a.tif", NOISE[:1], **UNPLACED)
    corners = ((0, 0, 30.0, 10.0), (0, 600, 31.0, 10.0), (700, 0, 30.0, 9.0))
    with rasterio.open(path, "r+") as file:
        points = [GroundControlPoint(*corner) for corner in corners]
        file.gcps = (points, rasterio.CRS.from_epsg(4326))
    return path


SOURCES = {
    "reflectance with nodata, names, scales and tags": reflectance,
    "classes with colours": classes,
    "ground control points": with_points,
    "colours with alpha": lambda tif: tif("a.tif", NOISE, photometric="RGB", ALPHA="YES"),
    "colours with a mask": lambda tif: tif("a.tif", NOISE[:3], photometric="RGB", mask=~HOLE),
    "heights with not a number": lambda tif: tif(
        "a.tif", np.where(HOLE, np.nan, NOISE[:1] / 7), nodata=float("nan")
    ),
    "signed bytes": lambda tif: tif("a.tif", NOISE[:1].view(np.int8)),
    "single bits": lambda tif: tif("a.tif", NOISE[:1] % 2, nbits=1),
    "many bands": lambda tif: tif("a.tif", NOISE[:1, :100, :90].repeat(70, 0).astype(np.float32)),
    "many bands in tiles": lambda tif: tif(
        "a.tif", NOISE[:, :530, :520].repeat(3, 0).astype(np.float64), tiled=True
    ),
    "south up": lambda tif: tif("a.tif", NOISE, transform=Affine(1, 0, 5e5, 0, 1, 3e6)),
    "a PNG": lambda tif: tif("a.png", NOISE[:3], driver="PNG"),
    "a JPEG and its sidecar": lambda tif: tif("a.jpg", NOISE[:3], driver="JPEG"),
    "a JPEG 2000": lambda tif: tif("a.jp2", NOISE[:3], driver="JP2OpenJPEG"),
    "no place": lambda tif: tif("a.tif", NOISE[:3], **UNPLACED),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_cog_holds_all_that_its_source_held(tif, tmp_path, kind):
    source, target = SOURCES[kind](tif), tmp_path / "cogs" / "b.tif"
    with warnings.catch_warnings(action="error"):
        done = convert(source, target)
        assert is_cog(target)
    assert cog_validate(target, strict=True, quiet=True) == (True, [], [])
    with rasterio.open(source) as before, rasterio.open(target) as after:
        np.testing.assert_array_equal(after.read(), before.read())
        np.testing.assert_array_equal(after.read_masks(), before.read_masks())
        assert after.crs == before.crs
        points = [[(p.row, p.col, p.x, p.y) for p in file.gcps[0]] for file in (before, after)]
        assert points[0] == points[1]
        assert not points[0] or after.gcps[1] == before.gcps[1]
        assert after.transform.almost_equals(before.transform, 1e-12)
        np.testing.assert_equal(after.nodata, before.nodata)
        for said in ("dtypes", "descriptions", "scales", "offsets", "units", "colorinterp",
                     "mask_flag_enums"):  # fmt: skip
            assert getattr(after, said) == getattr(before, said), said
        assert before.tags().items() <= after.tags().items()
        assert all(before.tags(n).items() <= after.tags(n).items() for n in before.indexes)
        if kind == "classes with colours":
            assert after.colormap(1) == before.colormap(1)
    assert done.change == sameness.Change(0, 0)
    assert (done.source_bytes, done.target_bytes) == (source.stat().st_size, target.stat().st_size)
    assert [file.name for file in target.parent.iterdir()] == ["b.tif"]


@pytest.mark.parametrize("compress", ["deflate", "lzw", "zstd", "jpeg", "webp"])
def test_the_codec_is_the_one_asked_for_and_lossy_ones_state_their_error(tif, tmp_path, compress):
    source, target = tif("a.tif", PHOTO, photometric="RGB", mask=~HOLE), tmp_path / "b.tif"
    done = convert(source, target, compress=compress)
    assert cog_validate(target, strict=True, quiet=True)[0]
    with rasterio.open(target) as file:
        assert compress in file.compression.name
        after, mask = file.read(), file.dataset_mask() > 0
    np.testing.assert_array_equal(mask, ~HOLE)
    difference = PHOTO[:, ~HOLE].astype(float) - after[:, ~HOLE]
    assert done.change.rms == pytest.approx(np.sqrt((difference**2).mean()), rel=1e-6)
    assert done.change.largest == np.abs(difference).max()
    assert done.change.rms < 4
    assert (done.change.rms > 0) == (compress in conversion.LOSSY)


@pytest.mark.parametrize("compress", ["jpeg", "webp"])
def test_alpha_survives_lossy_codecs_as_validity(tif, tmp_path, compress):
    alpha = np.where(HOLE, 0, 255).astype(np.uint8)
    source = tif("a.tif", np.stack([*PHOTO, alpha]), photometric="RGB", ALPHA="YES")
    convert(source, tmp_path / "b.tif", compress=compress)
    with rasterio.open(tmp_path / "b.tif") as file:
        np.testing.assert_array_equal(file.dataset_mask(), alpha)
    half = np.where(HOLE, 128, 255).astype(np.uint8)
    source = tif("half.tif", np.stack([*PHOTO, half]), photometric="RGB", ALPHA="YES")
    if compress == "jpeg":
        with pytest.raises(RasterError, match="mask differs"):
            convert(source, tmp_path / "c.tif", compress=compress)
        assert not (tmp_path / "c.tif").exists()


def test_overviews_are_means_that_skip_nodata_and_classes_stay_classes(tif, tmp_path):
    values = np.where(HOLE, 0, GROUND)[None].astype(np.uint16)
    convert(tif("a.tif", values, nodata=0), tmp_path / "mean.tif")
    with rasterio.open(tmp_path / "mean.tif", overview_level=0) as file:
        overview = file.read(1)
    blocks = values[0].reshape(350, 2, 300, 2).mean(axis=(1, 3))
    hole = HOLE[::2, ::2]
    assert (overview[hole] == 0).all()
    assert np.abs(overview - blocks)[~hole].max() <= 0.5
    convert(classes(tif), tmp_path / "classes.tif")
    with rasterio.open(tmp_path / "classes.tif", overview_level=0) as file:
        assert set(np.unique(file.read())) == {0, 10, 20, 30}
    convert(tif("b.tif", values), tmp_path / "nearest.tif", resampling="nearest")
    with rasterio.open(tmp_path / "nearest.tif", overview_level=0) as file:
        assert np.isin(file.read(1), values).all()


def test_a_cog_is_recognised_as_rio_cogeo_does(tif, tmp_path):
    plain, beside = tif("plain.tif", NOISE[:3]), tif("beside.tif", NOISE[:3], tiled=True)
    bare = tif("bare.tif", NOISE[:3], tiled=True)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(beside, "r+") as file:
        file.build_overviews([2], Resampling.average)
    made, own = tmp_path / "made.tif", tmp_path / "own.tif"
    profile = {"driver": "GTiff", "tiled": True, "compress": "lzw", "blockxsize": 256,
               "blockysize": 256}  # fmt: skip
    cog_translate(plain, made, profile, quiet=True, use_cog_driver=False)
    convert(plain, own)
    for path, expected in ((plain, False), (beside, False), (bare, False), (made, True),
                           (own, True)):  # fmt: skip
        assert is_cog(path) == expected, path
        assert cog_validate(path, strict=True, quiet=True)[0] == expected, path
    assert is_cog(made, "lzw")
    assert not is_cog(own, "lzw")
    assert not is_cog(tif("a.jpg", NOISE[:3], driver="JPEG"))


def test_a_cog_that_needs_its_sidecar_becomes_one_that_does_not(tif, tmp_path):
    source, target = tmp_path / "a.tif", tmp_path / "out" / "a.tif"
    convert(tif("unplaced.tif", NOISE[:3], **UNPLACED), source)
    assert is_cog(source)
    sidecar = Path(f"{tif('placed.jpg', NOISE[:3], driver='JPEG')}.aux.xml")
    shutil.copy(sidecar, f"{source}.aux.xml")
    assert not is_cog(source)
    convert(source, target)
    with rasterio.open(target) as file:
        assert file.crs == rasterio.CRS.from_epsg(32637)
    statistics = '<PAMDataset><PAMRasterBand band="1"><Metadata><MDI key="STATISTICS_MEAN">9</MDI>'
    Path(f"{target}.aux.xml").write_text(f"{statistics}</Metadata></PAMRasterBand></PAMDataset>")
    assert is_cog(target)


def refusals(tif) -> dict[str, tuple[Path, Codec, str]]:
    """What lossy codecs would spoil, and what is said."""
    alpha = {"photometric": "MINISBLACK", "ALPHA": "YES"}
    return {
        "16 bits": (tif("u16.tif", NOISE[:3].astype(np.uint16)), "jpeg", "keeps bytes only"),
        "nodata": (tif("n.tif", PHOTO, nodata=0), "jpeg", "the value 0, which jpeg would change"),
        "classes": (classes(tif), "webp", "classes with colours"),
        "grey": (tif("grey.tif", PHOTO[:1]), "webp", "not of red, green and blue"),
        "grey and alpha": (tif("ga.tif", NOISE[:2], **alpha), "webp", "not of red, green and blue"),
        "noise": (tif("noise.tif", NOISE[:3], photometric="RGB"), "jpeg", r"the limit is 12"),
    }


def test_what_a_lossy_codec_would_spoil_is_refused_with_the_way_out(tif, tmp_path):
    for name, (source, compress, said) in refusals(tif).items():
        with pytest.raises(RasterError, match=said) as refused:
            convert(source, tmp_path / "out" / "b.tif", compress=compress)
        assert str(source) in str(refused.value), name
        assert "try: --compress deflate" in str(refused.value), name
        assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


@pytest.mark.parametrize("lost", ["pixel", "mask", "tag", "CRS", "overview"])
def test_nothing_can_get_lost_on_the_way_unnoticed(tif, tmp_path, monkeypatch, lost):
    source = tif("a.tif", PHOTO, photometric="RGB", mask=~HOLE)
    with rasterio.open(source, "r+") as file:
        file.update_tags(ACQUIRED="2020-05-01")
    other = shutil.copy(source, tmp_path / "other.tif")
    with rasterio.open(other, "r+") as file:
        match lost:
            case "pixel":
                file.write(PHOTO[:, 650:651, 5:6] ^ 1, window=Window(5, 650, 1, 1))
            case "mask":
                file.write_mask(np.ones((700, 600), bool))
            case "tag":
                file.update_tags(ACQUIRED="2021")
            case "CRS":
                file.crs = "EPSG:32638"
    copy = conversion.raster_files.copy

    def lossy(file: object, target: Path, **options: str) -> None:
        overviews = {"OVERVIEWS": "NONE"} if lost == "overview" else {}
        with rasterio.open(other) as instead:
            copy(instead, target, **(options | overviews))

    monkeypatch.setattr(conversion.raster_files, "copy", lossy)
    said = {"pixel": "values differ near row", "mask": "mask differs", "tag": "tag ACQUIRED",
            "CRS": "losing: CRS", "overview": "overviews"}  # fmt: skip
    with pytest.raises(RasterError, match=said[lost]):
        convert(source, tmp_path / "out" / "b.tif")
    assert list((tmp_path / "out").iterdir()) == []


def test_tags_of_other_programs_that_gdal_drops_are_told(tif, tmp_path):
    source = tif("a.tif", NOISE[:3])
    with rasterio.open(source, "r+") as file:
        file.update_tags(ns="MY_PROGRAM", version="1")
    assert convert(source, tmp_path / "b.tif").lost == ("MY_PROGRAM",)


def test_sources_and_targets_that_cannot_be_are_refused(tif, tmp_path):
    source, target = tif("a.tif", NOISE[:3]), tmp_path / "b.tif"
    with pytest.raises(RasterError, match=r"nowhere\.tif is not there"):
        convert(tmp_path / "nowhere.tif", target)
    with pytest.raises(RasterError, match="the same name\n  try: --out FOLDER"):
        convert(source, source, overwrite=True)
    target.write_text("precious")
    with pytest.raises(FileExistsError, match="exists already"):
        convert(source, target)
    assert target.read_text() == "precious"
    Path(f"{target}.aux.xml").write_text("<PAMDataset/>")
    with pytest.raises(RasterError, match=r"b\.tif\.aux\.xml would be taken for a part of the COG"):
        convert(source, target, overwrite=True)
    Path(f"{target}.aux.xml").unlink()
    convert(source, target, overwrite=True)
    assert cog_validate(target, strict=True, quiet=True)[0]


@pytest.mark.parametrize("damage", ["cut", "spoilt"])
def test_a_damaged_source_is_named_and_leaves_nothing(tif, tmp_path, damage):
    source = tif("a.tif", NOISE, compress="deflate", tiled=True)
    data = bytearray(source.read_bytes())
    if damage == "cut":
        del data[-9000:]
    else:
        data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 4)
    source.write_bytes(data)
    with pytest.raises(RasterError, match=r"a\.tif (is cut|cannot be converted)"):
        convert(source, tmp_path / "out" / "b.tif")
    assert not list(tmp_path.glob("out/*"))


@pytest.mark.robust
@pytest.mark.parametrize("free", [3_000_000, 900_000])
def test_a_full_disk_is_said_and_leaves_nothing(tif, full_disk, free):
    source = tif("big.tif", RNG.integers(0, 255, (3, 1500, 1500), dtype=np.uint8))
    (full_disk / "other").write_bytes(bytes(3 * 2**20 - free))
    with pytest.raises(DataError, match=r"no space left to write .*a\.tif"):
        convert(source, full_disk / "a.tif")
    assert [file.name for file in full_disk.iterdir()] == ["other"]
