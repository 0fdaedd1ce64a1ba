"""Cloud Optimized GeoTIFFs against rasterio and rio-cogeo."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.windows import Window
from rio_cogeo import cog_validate

from gv_data.errors import DataError, RasterError
from gv_data.grid import Grid
from gv_data.rasters import cog
from gv_data.rasters.cog import writing_cog
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(0)
NOISE = RNG.integers(1, 255, (3, 300, 400), dtype=np.uint8)
GRID = Grid(CRS("EPSG:32637"), Affine(0.5, 0, 500_000, 0, -0.5, 3_000_000), 700, 900)


def write(path: Path, values: np.ndarray, heights: list[int] | None = None, **settings) -> None:
    bands = [f"band {n}" for n in range(len(values))]
    grid = Grid(GRID.crs, GRID.transform, *values.shape[1:])
    with writing_cog(path, grid, bands=bands, dtype=str(values.dtype), **settings) as out:
        row = 0
        for height in heights or [values.shape[1]]:
            out.write(values[:, row : row + height], row)
            row += height


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
@pytest.mark.parametrize("heights", [None, [1, 511, 188], [100] * 7, [512, 188]])
def test_a_cog_holds_what_was_written_in_any_strips(tmp_path, dtype, heights):
    values = RNG.integers(0, 200, (2, 700, 900)).astype(dtype)
    path = tmp_path / "maps" / "a.tif"
    write(path, values, heights, nodata=255, tags={"UNIT": "1/200"})
    whole, errors, warnings = cog_validate(path, strict=True)
    assert (whole, errors, warnings) == (True, [], [])
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.nodata == 255
        assert file.crs == rasterio.CRS.from_epsg(32637)
        assert file.transform == GRID.transform
        assert file.descriptions == ("band 0", "band 1")
        assert file.tags()["UNIT"] == "1/200"
        assert file.overviews(1) == [2]
    assert [file.name for file in path.parent.iterdir()] == ["a.tif"]


def test_overviews_stay_within_the_values_and_skip_nodata(tmp_path):
    values = np.where(RNG.random((1, 700, 900)) < 0.5, 0, 200).astype(np.uint8)
    values[:, :, :100] = 255
    write(tmp_path / "a.tif", values, nodata=255)
    with rasterio.open(tmp_path / "a.tif", overview_level=0) as file:
        overview = file.read(1)
    assert (overview[:, :50] == 255).all()
    assert overview[:, 50:].max() <= 200


def test_a_map_without_place_is_written_as_asked(tmp_path):
    grid = Grid(None, Affine.identity(), 10, 20)
    with writing_cog(tmp_path / "a.tif", grid, bands=["p"]) as out:
        out.write(np.ones((1, 10, 20), np.uint8), 0)
    with Scene(tmp_path / "a.tif") as scene:
        assert scene.grid.crs is None


def test_rows_that_do_not_fit_or_never_came_are_refused(tmp_path):
    path, rows = tmp_path / "a.tif", np.ones((1, 10, 20), np.uint8)
    grid = Grid(GRID.crs, GRID.transform, 20, 20)
    for wrong in (rows.astype(np.float32), rows[:, :, :5], rows.repeat(2, axis=0)):
        with (
            pytest.raises(RasterError, match="do not fit"),
            writing_cog(path, grid, bands=["p"]) as out,
        ):
            out.write(wrong, 0)
    with (
        pytest.raises(RasterError, match="lacks row 10: it was never written"),
        writing_cog(path, grid, bands=["p"]) as out,
    ):
        out.write(rows, 0)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_map_is_kept_when_asked_and_after_a_failure(tmp_path):
    path = tmp_path / "a.tif"
    write(path, NOISE)
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        write(path, NOISE, overwrite=False)
    with pytest.raises(RuntimeError), writing_cog(path, GRID, bands=["p"]):
        raise RuntimeError
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.tif"]


def test_pixels_that_changed_on_the_way_to_the_disk_are_noticed(tmp_path, monkeypatch):
    copy = cog.raster_files.copy

    def lose_a_row(source: Path, target: Path, **options: object) -> None:
        with rasterio.open(source, "r+") as file:
            file.write(np.zeros((3, 1, 400), np.uint8), window=Window(0, 123, 400, 1))
        copy(source, target, **options)

    monkeypatch.setattr(cog.raster_files, "copy", lose_a_row)
    with pytest.raises(RasterError, match="does not read back as written at row 0"):
        write(tmp_path / "a.tif", NOISE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.robust
@pytest.mark.parametrize("random_rows", [700, 60])
def test_a_full_disk_is_said_and_leaves_nothing(full_disk, random_rows):
    values = np.zeros((3, 2000, 2000), np.uint8)
    values[:, :random_rows] = RNG.integers(0, 255, (3, random_rows, 2000))
    if random_rows == 60:  # the scratch fits, the COG does not beside it
        (full_disk / "other").write_bytes(bytes(2_300_000))
    with pytest.raises(DataError, match=r"no space left to write .*a\.tif"):
        write(full_disk / "a.tif", values, [500] * 4)
    assert {file.name for file in full_disk.iterdir()} <= {"other"}


LIMITED = """
import resource, sys
import numpy as np
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
from affine import Affine
from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.rasters.cog import writing_cog
try:
    grid = Grid(None, Affine.identity(), 2000, 2000)
    with writing_cog(Path(sys.argv[1]), grid, bands=["p"]) as f:
        f.write(np.random.default_rng(0).integers(0, 255, (1, 2000, 2000), np.uint8), 0)
except RasterError as error:
    print(error)
"""


@pytest.mark.robust
def test_a_file_that_cannot_grow_is_said_and_leaves_nothing(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.tif")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "a.tif could not be written" in told
    assert list(tmp_path.iterdir()) == []


WRITING = """
import sys
import numpy as np
from pathlib import Path
from affine import Affine
from gv_data.grid import Grid
from gv_data.rasters.cog import writing_cog
rows = np.random.default_rng(0).integers(0, 255, (1, 500, 4000), np.uint8)
print("ready", flush=True)
with writing_cog(Path(sys.argv[1]), Grid(None, Affine.identity(), 4000, 4000), bands=["p"]) as f:
    for row in range(0, 4000, 500):
        f.write(rows, row)
        print(row, flush=True)
print("done", flush=True)
"""


@pytest.mark.robust
def test_kills_while_writing_leave_nothing_that_looks_whole(tmp_path):
    path, command = tmp_path / "a.tif", [sys.executable, "-c", WRITING, str(tmp_path / "a.tif")]
    for wait_for in (b"ready", b"1500", b"3500"):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            while wait_for not in child.stdout.readline():
                pass
            child.kill()
        if path.exists():  # killed after the rename
            assert cog_validate(path, strict=True)[0]
            path.unlink()
    subprocess.run(command, capture_output=True, check=True)
    assert os.listdir(tmp_path) == ["a.tif"]  # noqa: PTH208  names only
