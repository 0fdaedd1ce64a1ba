"""Files kept open: never more than the process may have, never shared."""

import resource
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import rasterio

from gv_data.errors import RasterError
from gv_data.rasters.open_scenes import OpenScenes
from gv_data.sources import Source

SOURCE = Source("/")


@pytest.fixture
def files(tif):
    """Nine small rasters, each of one value."""
    return [tif(f"{n}.tif", np.full((1, 20, 20), n, np.uint8)) for n in range(9)]


def value(scenes: OpenScenes, path) -> int:
    with scenes.lent(path, "GTiff", SOURCE) as scene:
        return int(scene.read()[0].max())


def test_the_least_recently_used_is_closed_first(files, monkeypatch):
    monkeypatch.setattr("gv_data.rasters.open_scenes._MOST", 3)
    scenes = OpenScenes()
    opened = []
    for n in (0, 1, 2, 0, 3, 0, 4):
        with scenes.lent(files[n], "GTiff", SOURCE) as scene:
            opened.append(scene)
            assert scene.read()[0].max() == n
        assert len(scenes) <= 3
    assert opened[0] is opened[3] is opened[5]
    assert [scene._file.closed for scene in opened] == [
        False,
        True,
        True,
        False,
        False,
        False,
        False,
    ]
    scenes.close()
    assert len(scenes) == 0
    assert all(scene._file.closed for scene in opened)


def test_large_blocks_leave_room_for_fewer(tif, monkeypatch):
    paths = [
        tif(
            f"{n}.tif",
            np.zeros((4, 64, 64), np.uint16),
            interleave="pixel",
            tiled=True,
            blockxsize=64,
            blockysize=64,
        )
        for n in range(6)
    ]
    monkeypatch.setattr("gv_data.rasters.open_scenes._BYTES", 3 * (2 * 4 * 64 * 64 * 2 + 65536))
    scenes = OpenScenes()
    for path in paths:
        value(scenes, path)
    assert len(scenes) == 3


def test_threads_get_files_of_their_own(files):
    scenes = OpenScenes()
    with (
        scenes.lent(files[0], "GTiff", SOURCE) as one,
        scenes.lent(files[0], "GTiff", SOURCE) as two,
    ):
        assert one is not two
    assert len(scenes) == 1
    assert two._file.closed != one._file.closed
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda n: value(scenes, files[n % 9]), range(400)))
    assert found == [n % 9 for n in range(400)]


def test_a_file_that_cannot_be_read_is_not_kept(files):
    scenes = OpenScenes()
    with (
        pytest.raises(RasterError, match="cannot be decoded"),
        scenes.lent(files[0], "GTiff", SOURCE) as scene,
    ):
        raise RasterError("cannot be decoded")
    assert scene._file.closed
    assert len(scenes) == 0
    files[1].unlink()
    with pytest.raises(RasterError, match="is not there"):
        value(scenes, files[1])


def test_a_thousand_files_fit_into_sixty_four_descriptors(tif, tmp_path):
    tif("0.tif", np.arange(400, dtype=np.uint16).reshape(1, 20, 20))
    beside = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False)
    with beside, rasterio.open(tmp_path / "0.tif", "r+") as file:
        file.write_mask(np.ones((20, 20), bool))
    for n in range(1, 1000):
        (tmp_path / f"{n}.tif").hardlink_to(tmp_path / "0.tif")
        (tmp_path / f"{n}.tif.msk").hardlink_to(tmp_path / "0.tif.msk")
    program = """
        import os, resource, sys
        from pathlib import Path
        from gv_data.rasters.open_scenes import OpenScenes
        from gv_data.sources import Source
        source = Source("/")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        for others, numbers in ((0, [*range(1000), *range(0, 1000, 50)]), (30, range(100))):
            busy = [os.open("/dev/null", os.O_RDONLY) for _ in range(others)]
            scenes, most = OpenScenes(), 0
            for n in numbers:
                with scenes.lent(Path(sys.argv[1], f"{n}.tif"), "GTiff", source) as scene:
                    values, valid = scene.read()
                    assert values.sum() == 79800 and valid.all()
                most = max(most, len(os.listdir("/dev/fd")))
            print(most, len(scenes))
            scenes.close()
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        check=True,
        capture_output=True,
        text=True,
    )
    for line, least in zip(answer.stdout.splitlines(), (15, 1), strict=True):
        most, kept = map(int, line.split())
        assert most <= 64 - 10
        assert kept >= least


def test_descriptors_without_limit_are_understood(files, monkeypatch):
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda _: unlimited)
    scenes = OpenScenes()
    assert [value(scenes, path) for path in files] == list(range(9))
    assert len(scenes) == 9
