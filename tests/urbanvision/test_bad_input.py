"""Each mistake gives one clear message and the exit code of the table, and leaves nothing behind.

Commands run in this process: what they import is slower than what they do.
"""

from pathlib import Path

import geopandas as gpd
import pytest
import rasterio
import shapely
from affine import Affine

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index

STEPS = ("--trainer.max-steps", "1", "--trainer.epoch-windows", "2", "--trainer.workers", "0")


def left_behind(folder: Path) -> list[Path]:
    """All files of a folder, if there is one."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_good_scene_is_mapped(urbanvision, model, scene, tmp_path) -> None:
    assert urbanvision("predict", model, scene(), "--out", "maps")[0] == 0
    assert len(left_behind(tmp_path / "maps")) == 4


def test_a_missing_scene_or_package(urbanvision, model, scene, tmp_path) -> None:
    code, said = urbanvision("predict", model, "nowhere.tif", "--out", "maps")
    assert (code, "nowhere.tif is not there" in said) == (2, True)
    code, said = urbanvision("predict", "nothing", scene(), "--out", "maps")
    assert (code, "nothing" in said) == (2, True)
    assert not (tmp_path / "maps").exists()


def test_a_mistyped_option_names_the_nearest(urbanvision, tmp_path) -> None:
    code, said = urbanvision("predict", "--ovrwrite")
    assert code == 2
    assert "--overwrite" in said
    assert "Traceback" not in said
    assert not left_behind(tmp_path)


def test_a_truncated_scene(urbanvision, model, scene, tmp_path) -> None:
    path = scene()
    path.write_bytes(path.read_bytes()[:30_000])
    for options in ((), ("--no-check",)):
        code, said = urbanvision("predict", model, path, "--out", "maps", *options)
        assert (code, "town.tif" in said) == (2, True)
        assert not left_behind(tmp_path / "maps")


def test_one_broken_scene_among_others_is_recorded(urbanvision, model, scene, tmp_path) -> None:
    good, broken = scene(), scene("broken.tif")
    broken.write_bytes(broken.read_bytes()[:30_000])
    code, said = urbanvision("predict", model, broken, good, "--out", "maps")
    assert (code, "broken.tif left out" in said) == (3, True)
    assert {path.name.split(".")[0] for path in left_behind(tmp_path / "maps")} == {"town"}


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_a_scene_without_crs(urbanvision, model, scene, tmp_path) -> None:
    path = scene(crs=None)
    code, said = urbanvision("predict", model, path, "--out", "maps")
    assert code == 2
    assert "no CRS" in said
    assert "--no-georeference" in said
    assert not left_behind(tmp_path / "maps")
    code, said = urbanvision("predict", model, path, "--out", "maps", "--no-georeference")
    assert code == 0
    assert gpd.read_parquet(tmp_path / "maps/town.buildings.parquet").crs is None


def test_another_number_of_bands(urbanvision, model, scene, tmp_path) -> None:
    for options in ((), ("--no-check",)):
        code, said = urbanvision("predict", model, scene(bands=1), "--out", "maps", *options)
        assert (code, "1 band" in said) == (2, True), said
        assert not left_behind(tmp_path / "maps")


def test_a_scene_without_a_valid_pixel(urbanvision, model, scene, tmp_path) -> None:
    code, _ = urbanvision("predict", model, scene(void=True, nodata=0), "--out", "maps")
    assert code == 0
    assert len(gpd.read_parquet(tmp_path / "maps/town.buildings.parquet")) == 0
    with rasterio.open(tmp_path / "maps/town.probability.tif") as file:
        assert (file.read(1) == 255).all()


@pytest.mark.parametrize("metres", [0.1, 2.5])
def test_pixels_of_quite_another_size(urbanvision, model, scene, tmp_path, metres) -> None:
    path = scene(transform=Affine(metres, 0, 500_000, 0, -metres, 9_000_000))
    code, said = urbanvision("predict", model, path, "--out", "maps")
    assert (code, "5.0 x" in said) == (2, True)
    assert not left_behind(tmp_path / "maps")


def test_a_full_disk(urbanvision, model, scene, full_disk) -> None:
    (full_disk / "ballast").write_bytes(bytes(3_000_000))
    code, said = urbanvision("predict", model, scene(), "--out", full_disk / "maps")
    assert (code, "no space left" in said) == (2, True)
    assert not left_behind(full_disk / "maps")


def test_a_map_that_is_there(urbanvision, model, scene, tmp_path) -> None:
    path = scene()
    assert urbanvision("predict", model, path, "--out", "maps")[0] == 0
    before = {file: file.stat().st_mtime_ns for file in left_behind(tmp_path / "maps")}
    code, said = urbanvision("predict", model, path, "--out", "maps")
    assert (code, "--overwrite" in said) == (2, True)
    assert before == {file: file.stat().st_mtime_ns for file in left_behind(tmp_path / "maps")}
    assert urbanvision("predict", model, path, "--out", "maps", "--overwrite")[0] == 0


def test_the_same_scene_twice_is_mapped_once(urbanvision, model, scene, tmp_path) -> None:
    path = scene()
    assert urbanvision("predict", model, path, path, "--out", "maps")[0] == 0
    assert len(left_behind(tmp_path / "maps")) == 4


ROOFS = [
    shapely.box(500_010, 8_999_960, 500_020, 8_999_975),
    shapely.box(500_040, 8_999_920, 500_052, 8_999_930),
]
FAR = [shapely.box(600_000, 8_000_000, 600_010, 8_000_010)]
BOW_TIE = shapely.Polygon([(500_060, 8_999_960), (500_070, 8_999_970), (500_070, 8_999_960),
                           (500_060, 8_999_970)])  # fmt: skip


@pytest.mark.parametrize(
    ("polygons", "reason"), [(FAR, "do not overlap"), ([], "no polygon")], ids=["elsewhere", "none"]
)
def test_labels_that_say_nothing(urbanvision, scene, labels, tmp_path, polygons, reason) -> None:
    words = ("--image", scene(), "--labels", labels("roofs.gpkg", polygons), *STEPS)
    code, said = urbanvision("train", "buildings", *words)
    assert code == 2
    assert reason in said
    assert "Traceback" not in said
    assert not left_behind(tmp_path / "runs")


def test_missing_and_truncated_images(urbanvision, scene, labels, tmp_path) -> None:
    roofs, path = labels("roofs.gpkg", ROOFS), scene()
    path.write_bytes(path.read_bytes()[:300])
    for image in ("nowhere.tif", path):
        code, said = urbanvision("train", "buildings", "--image", image, "--labels", roofs, *STEPS)
        assert (code, Path(image).name in said) == (2, True)
        assert not left_behind(tmp_path / "runs")


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # while writing
def test_labels_on_an_image_without_crs(urbanvision, scene, labels, tmp_path) -> None:
    words = ("--image", scene(crs=None), "--labels", labels("roofs.gpkg", ROOFS), *STEPS)
    code, said = urbanvision("train", "buildings", *words)
    assert (code, "no CRS" in said) == (2, True)
    assert not left_behind(tmp_path / "runs")


def test_an_image_without_a_valid_pixel(urbanvision, scene, labels, tmp_path) -> None:
    words = ("--image", scene(void=True, nodata=0), "--labels", labels("roofs.gpkg", ROOFS))
    code, said = urbanvision("train", "buildings", *words, *STEPS)
    assert (code, "town.tif" in said) == (2, True)
    assert not left_behind(tmp_path / "runs")


def test_self_crossing_polygons_are_repaired_and_counted(
    urbanvision, scene, labels, tmp_path
) -> None:
    path = scene(side=640)
    roofs = [shapely.box(x, y, x + 12, y + 12) for x in range(500_010, 500_300, 30)
             for y in range(8_999_700, 8_999_990, 30)]  # fmt: skip
    words = ("--image", path, "--labels", labels("roofs.gpkg", [*roofs, BOW_TIE]), *STEPS)
    code, said = urbanvision("train", "buildings", *words, "--window-px", "64", "--weights", "none")
    assert code == 0, said
    assert "1 crossed themselves and were repaired" in said


def test_checks_that_fail_leave_no_run(urbanvision, scene, labels, tmp_path) -> None:
    roofs = labels("roofs.gpkg", ROOFS)
    index([scene("a.tif")], tmp_path / "catalog", labels=roofs, place="a")
    index([scene("b.tif")], tmp_path / "catalog", labels=roofs, place="b", append=True)
    assert len(Catalog.open(tmp_path / "catalog")) == 2
    where = ("--train-where", "place = 'a'", "--val-where", "place = 'b'")
    code, said = urbanvision("train", "buildings", "--data", "catalog", *where, *STEPS)
    assert (code, "training ground too" in said) == (2, True)
    assert not left_behind(tmp_path / "runs")


def test_evaluating_what_is_not_there(urbanvision, scene, labels, tmp_path) -> None:
    path, roofs = scene(), labels("roofs.gpkg", ROOFS)
    far = labels("far.gpkg", FAR)
    for words, said in (
        ((roofs, "--truth", "none.gpkg", "--scene", path), "none.gpkg"),
        (("none.gpkg", "--truth", roofs, "--scene", path), "none.gpkg"),
        ((roofs, "--truth", roofs, "--scene", "none.tif"), "none.tif"),
        ((roofs, "--truth", far, "--scene", path), "do not overlap"),
        ((roofs, roofs, "--truth", roofs, "--scene", path), "2 maps need as many scenes, got 1"),
    ):
        code, told = urbanvision("evaluate", *words)
        assert (code, said in told) == (2, True), told
    code, _ = urbanvision("evaluate", roofs, "--truth", roofs, "--scene", path, "--min-iou", "0.9")
    assert code == 0


def test_a_report_never_replaces_a_map(urbanvision, scene, labels) -> None:
    path, roofs = scene(), labels("roofs.gpkg", ROOFS)
    before = roofs.read_bytes()
    words = ("evaluate", "--json", roofs, roofs, "--truth", roofs, "--scene", path)
    code, said = urbanvision(*words)
    assert (code, "ends in .json" in said) == (2, True)
    assert roofs.read_bytes() == before


def test_a_lower_score_than_asked_for_ends_with_4(urbanvision, scene, labels) -> None:
    path, roofs = scene(), labels("roofs.gpkg", ROOFS)
    half = labels("half.gpkg", ROOFS[:1])
    words = ("--truth", roofs, "--scene", path, "--min-iou", "0.9")
    assert urbanvision("evaluate", half, *words)[0] == 4


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--minutes", "0"), "minutes 0: must be above 0"),
        (("--gsd-m", "-1"), "gsd-m -1: must be above 0"),
        (("--table", "labelled"), "is not NAME=FILE"),
        (("--val-where", "place = 'a'"), "--data"),
        (("--labelled-area", "a.gpkg"), "--image"),
        (("--trainer.batch-size", "0"), "batch-size 0"),
        (("--trainer.batch-size", "16", "--trainer.epoch-windows", "8"), "8 epoch-windows"),
        (("--trainer.max-steps", "0"), "max-steps 0"),
    ],
)
def test_settings_that_make_no_sense(urbanvision, tmp_path, words, said) -> None:
    code, told = urbanvision("train", "buildings", *words)
    assert (code, said in told) == (2, True), told
    assert not left_behind(tmp_path)


def test_bands_without_names_are_said_to_be_taken_in_order(urbanvision, model, scene) -> None:
    code, said = urbanvision("predict", model, scene(bands=4), "--out", "maps")
    assert code == 0
    assert "the first 3 are taken as red, green, blue" in said


def test_a_run_goes_on_with_the_data_it_was_started_with(
    urbanvision, scene, labels, tmp_path
) -> None:
    roofs = [
        shapely.box(x, y, x + 12, y + 12)
        for x in range(500_010, 500_300, 30)
        for y in range(8_999_700, 8_999_990, 30)
    ]
    image, file = scene(side=640), labels("roofs.gpkg", roofs)
    words = ("--image", image, "--labels", file, "--window-px", "64", "--weights", "none")
    code, said = urbanvision("train", "buildings", *words, *STEPS, "--run", "a")
    assert code == 0, said
    code, said = urbanvision("train", "buildings", "--resume", "a", "--trainer.max-steps", "2")
    assert code == 0, said
    assert "buildings  on 1 images" in said
    assert "windows of 64 px" in said
    recorded = (tmp_path / "runs/buildings/a/attempts/0002/hparams.yaml").read_text()
    assert str(image) in recorded
