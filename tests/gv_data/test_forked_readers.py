"""Processes that a loader starts read windows from object storage as this one does."""

import multiprocessing
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import override

import numpy as np
import pytest
import shapely
import torch
from torch.utils.data import DataLoader

from gv_data import GridWindows
from gv_data.catalog import Catalog
from gv_data.intake.indexing import index
from gv_data.locations import located
from gv_data.rasters.raster import Scene

RNG = np.random.default_rng(21)
SCENES = {f"t{n}": RNG.integers(1, 255, (3, 128, 128), dtype=np.uint8) for n in range(3)}
HOUSE = shapely.box(500_002, 2_999_960, 500_020, 2_999_998)

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore::ResourceWarning",  # sockets of the server and of botocore
        "ignore:datetime.datetime.utc:DeprecationWarning",
        "ignore:.*fork.*:DeprecationWarning",  # what is tested
    ),
]


@pytest.fixture
def files(tif) -> list[Path]:
    """Images in blocks of 32 pixels."""
    blocks = {"tiled": True, "blockxsize": 32, "blockysize": 32}
    return [tif(f"{name}.tif", values, **blocks) for name, values in SCENES.items()]


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_windows_of_workers_are_those_of_local_files(start, bucket, files, vectors, tmp_path):
    roofs = vectors("roofs.gpkg", [HOUSE])
    for file in (*files, roofs):
        located(f"s3://{bucket}/{file.name}").write_bytes(file.read_bytes())
    names = [Path(f"s3://{bucket}/{file.name}") for file in files]
    index(names, Path(f"s3://{bucket}/c"), labels=Path(f"s3://{bucket}/roofs.gpkg"))
    here = index(files, tmp_path / "c", labels=roofs).catalog.dataset()
    there = Catalog.open(f"s3://{bucket}/c").dataset()
    windows = list(GridWindows(there, window_px=64))
    assert len(windows) == 12
    assert torch.equal(there[windows[0]]["image"], here[windows[0]]["image"])  # opens files here
    loader = DataLoader(
        there, batch_size=1, sampler=windows, num_workers=2, multiprocessing_context=start
    )
    for window, sample in zip(windows, loader, strict=True):
        expected = here[window]
        for key in ("image", "valid", "mask", "edge", "transform"):
            assert torch.equal(sample[key][0], expected[key])


class _Objects(BaseHTTPRequestHandler):
    """Serves files by their names, by ranges, on connections that stay open as those of S3 do."""

    protocol_version = "HTTP/1.1"
    folder: Path
    readers: set[int]
    """Ports of the connections on which GDAL asked."""

    def do_HEAD(self) -> None:
        self._answer(b"", len(self._data))

    def do_GET(self) -> None:
        if "GDAL" in self.headers.get("User-Agent", ""):
            self.readers.add(self.client_address[1])
        data = self._data
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            self._answer(data, len(data))
            return
        first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
        self._answer(data[first : last + 1], last + 1 - first, f"{first}-{last}/{len(data)}")

    @property
    def _data(self) -> bytes:
        return (self.folder / Path(self.path.partition("?")[0]).name).read_bytes()

    def _answer(self, body: bytes, length: int, part: str | None = None) -> None:
        self.send_response(206 if part else 200)
        if part:
            self.send_header("Content-Range", f"bytes {part}")
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.end_headers()
        self.wfile.write(body)

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def lasting(tmp_path, monkeypatch) -> Iterator[type[_Objects]]:
    """A server whose connections last; the objects are the files in ``tmp_path``."""
    import s3fs

    _Objects.folder, _Objects.readers = tmp_path, set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Objects)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield _Objects
    server.shutdown()
    server.server_close()


def _window(name: str) -> np.ndarray:
    with Scene(located(f"s3://some-bucket/{name}.tif")) as scene:
        return scene.read((32, 32, 96, 96))[0]


def test_a_forked_process_does_not_ask_on_the_connections_of_its_parent(lasting, files):
    """Else answers are mixed up: a window has the pixels of another, without an error."""
    np.testing.assert_array_equal(_window("t0"), SCENES["t0"][:, 32:96, 32:96])
    ours = set(lasting.readers)
    assert ours
    lasting.readers.clear()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.map(_window, ["t1", "t2"])
    for name, values in zip(("t1", "t2"), found, strict=True):
        np.testing.assert_array_equal(values, SCENES[name][:, 32:96, 32:96])
    assert lasting.readers
    assert not lasting.readers & ours
    lasting.readers.clear()
    np.testing.assert_array_equal(_window("t2"), SCENES["t2"][:, 32:96, 32:96])
    assert lasting.readers <= ours  # the connection of this process was left as it was
