"""Catalogs and images on object storage work as local ones do, against a server on this machine."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.errors
import shapely

from gv_data import RandomWindows, atomic, locations
from gv_data.catalog import Catalog
from gv_data.cli import FAMILY
from gv_data.errors import CatalogError, DataError
from gv_data.intake.catalog_rows import remove
from gv_data.intake.indexing import index
from gv_data.locations import common_folder, located
from gv_data.measure.catalog_statistics import measure_catalog
from gv_data.terminal.command import run

RNG = np.random.default_rng(8)
SCENES = {f"t{n}": RNG.integers(1, 255, (3, 90, 80 + n), dtype=np.uint8) for n in range(3)}
HOUSE = shapely.box(500_002, 2_999_960, 500_020, 2_999_998)

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning",  # sockets of the server and of botocore
    "ignore:datetime.datetime.utc:DeprecationWarning",
)


@pytest.fixture
def uploaded(bucket, tif, vectors) -> str:
    """Images and labels in the bucket."""
    for name, values in SCENES.items():
        file = tif(f"{name}.tif", values, tiled=True, blockxsize=64, blockysize=64)
        located(f"s3://{bucket}/scenes/{name}.tif").write_bytes(file.read_bytes())
    labels = vectors("roofs.gpkg", [HOUSE])
    located(f"s3://{bucket}/roofs.gpkg").write_bytes(labels.read_bytes())
    return f"s3://{bucket}"


def test_everything_far_away_gives_what_it_gives_here(uploaded, tif, vectors, tmp_path):
    far = index(
        [Path(f"{uploaded}/scenes")],
        Path(f"{uploaded}/catalog"),
        labels=Path(f"{uploaded}/roofs.gpkg"),
    )
    files = [tif(f"here/{name}.tif", values) for name, values in SCENES.items()]
    here = index(files, tmp_path / "c", labels=vectors("here.gpkg", [HOUSE]))
    assert (far.added, far.objects) == (here.added, here.objects) == (3, 1)
    there = Catalog.open(f"{uploaded}/catalog").where("width_px > 80")
    local = here.catalog.where("width_px > 80")
    np.testing.assert_array_equal(there.statistics.mean, local.statistics.mean)
    assert there.class_weights == local.class_weights
    for n in range(2):
        ours, theirs = there.dataset()[n], local.dataset()[n]
        for key in ("image", "mask", "edge", "valid", "transform"):
            np.testing.assert_array_equal(ours[key], theirs[key])
    windows = RandomWindows(there.dataset(), window_px=32, length=4)
    assert all(there.dataset()[window]["image"].shape == (3, 32, 32) for window in windows)


def test_rows_are_added_measured_and_removed_there(uploaded):
    out = f"{uploaded}/catalog"
    first = [Path(f"{uploaded}/scenes/t0.tif")]
    index(first, Path(out), measured=False)
    rest = [Path(f"{uploaded}/scenes/t{n}.tif") for n in (1, 2)]
    index(rest, Path(out), append=True, measured=False)
    done = measure_catalog(Catalog.open(out))
    assert (done.images.done, measure_catalog(Catalog.open(out)).images.known) == (3, 3)
    pixels = np.concatenate([v.reshape(3, -1) for v in SCENES.values()], axis=1)
    mean = Catalog.open(out).statistics.mean
    np.testing.assert_allclose(mean, pixels.mean(axis=1), rtol=1e-13)
    assert remove(Catalog.open(out).where("id = 't1'")) == 1
    assert len(Catalog.open(out)) == 2


def test_the_command_takes_addresses(uploaded, capsys):
    words = ["index", f"{uploaded}/scenes", "--place", "far", "--out", f"{uploaded}/catalog"]
    assert run("gv-data", FAMILY, words) == 0
    capsys.readouterr()
    query = "SELECT count(*) AS n FROM images"
    assert run("gv-data", FAMILY, ["sql", f"{uploaded}/catalog", query]) == 0
    assert capsys.readouterr().out.split() == ["n", "3"]


def test_a_local_catalog_of_far_images_works_too(uploaded, tmp_path):
    found = index([Path(f"{uploaded}/scenes")], tmp_path / "c")
    np.testing.assert_array_equal(found.catalog.dataset(labels=False)[0]["image"], SCENES["t0"])


def test_two_writers_lose_nothing(uploaded):
    out = Path(f"{uploaded}/catalog")
    index([Path(f"{uploaded}/scenes/t0.tif")], out)
    problems = []

    def add(n: int) -> None:
        try:
            index([Path(f"{uploaded}/scenes/t{n}.tif")], out, append=True)
        except Exception as error:  # shown by the assertion
            problems.append(error)

    threads = [threading.Thread(target=add, args=(n,)) for n in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(Catalog.open(out)) == 3
    assert not located(out / ".lock").exists()


def test_a_lock_that_stays_is_told_with_its_owner(uploaded, monkeypatch):
    monkeypatch.setattr(atomic, "_PATIENCE_S", 0.1)
    located(f"{uploaded}/catalog/.lock").write_text("somewhere, process 5, since yesterday")
    with pytest.raises(DataError, match=r"somewhere, process 5(?s:.*)remove s3://"):
        index([Path(f"{uploaded}/scenes")], Path(f"{uploaded}/catalog"))


def test_what_is_not_there_is_said(bucket):
    with pytest.raises(CatalogError, match="is not a catalog"):
        Catalog.open(f"s3://{bucket}/nothing")
    with pytest.raises(CatalogError, match="is not there"):
        index([Path(f"s3://{bucket}/none.tif")], Path(f"s3://{bucket}/c"))
    with pytest.raises(DataError, match=r"neither a local path nor on s3://"):
        located("gs://bucket/catalog")


def test_a_server_that_does_not_answer_is_said_without_the_secret(bucket, monkeypatch):
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(DataError, match="cannot be reached") as caught:
        Catalog.open(f"s3://{bucket}/catalog")
    assert "a-secret-of-the-test" not in str(caught.value)


@pytest.fixture
def silent(bucket, monkeypatch) -> Iterator[str]:
    """A place on a server that takes connections and never answers."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(locations, "SILENCE_S", 1)
    monkeypatch.setattr(locations, "_ATTEMPTS", 1)
    yield f"s3://{bucket}"
    server.close()
    s3fs.S3FileSystem.clear_instance_cache()


def test_commands_give_up_on_a_server_that_is_silent(silent, tif, capsys):
    image = tif("a.tif", SCENES["t0"])
    for words in (
        ["info", f"{silent}/cat"],
        ["index", str(image), "--out", f"{silent}/cat"],
        ["index", f"{silent}/im", "--out", str(image.parent / "c")],
    ):
        assert run("gv-data", FAMILY, words) == 2
        told = capsys.readouterr().err
        assert f"{silent}/" in told
        assert "cannot be reached" in told
        assert "Traceback" not in told
        assert "s3:/b" not in told


def test_gdal_gives_up_on_a_server_that_is_silent(silent):
    settings = locations.gdal_settings() | {"GDAL_HTTP_MAX_RETRY": "0"}
    with rasterio.Env(**settings), pytest.raises(rasterio.errors.RasterioIOError):
        rasterio.open(f"/vsis3/{silent.removeprefix('s3://')}/a.tif")


def test_files_on_two_storages_have_no_common_folder(bucket, tmp_path):
    with pytest.raises(DataError, match="one storage"):
        common_folder([located(f"s3://{bucket}/a.tif"), tmp_path / "b.tif"])
    with pytest.raises(DataError, match="one bucket"):
        common_folder([located(f"s3://{bucket}/a.tif"), located("s3://other/b.tif")])
    found = common_folder([located(f"s3://{bucket}/a/b/c.tif"), located(f"s3://{bucket}/a/d.tif")])
    assert str(found) == f"s3://{bucket}/a"


def test_names_that_leave_the_root_are_refused(uploaded):
    catalog = index([Path(f"{uploaded}/scenes")], Path(f"{uploaded}/catalog")).catalog
    root = catalog._roots(catalog.sources)[0]
    for name in ("../other/a.tif", "/a.tif", "a/../../b.tif", "a//b.tif"):
        with pytest.raises(CatalogError, match="outside its root"):
            root.resolve(name)
