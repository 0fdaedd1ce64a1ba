"""One broken file among many costs its own row and no other."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gv_data.catalog import Catalog

COUNT = 500
"""Images of the test; 10,000 behave the same and take a minute or two."""


@pytest.fixture
def photos(tif: Callable[..., Path], tmp_path: Path) -> Path:
    """Small images with names in order, that in the middle cut."""
    image = tif("one.tif", np.arange(1, 257, dtype=np.uint16).reshape(1, 16, 16)).read_bytes()
    folder = tmp_path / "photos"
    folder.mkdir()
    for n in range(COUNT):
        cut = n == COUNT // 2
        (folder / f"{n:05d}.tif").write_bytes(image[:200] if cut else image)
    return folder


def test_a_corrupt_image_in_the_middle_is_recorded_and_the_rest_indexed(command, photos, tmp_path):
    out, broken = tmp_path / "c", f"{COUNT // 2:05d}"
    code, told, _ = command("index", photos, "--out", out)
    assert code == 3
    assert f"{COUNT - 1:,} in EPSG:32637" in told
    assert "refused    1 files could not be used:" in told
    assert f"{broken}.tif is cut" in told
    catalog = Catalog.open(out)
    assert len(catalog) == COUNT - 1
    (row,) = catalog.sql("SELECT id, error FROM errors").to_pylist()
    assert row["id"] == broken
    assert f"{broken}.tif is cut: it ends at 200 bytes" in row["error"]
    assert broken not in catalog.images.ids
    assert catalog.statistics.valid == (COUNT - 1) * 256
    assert catalog.statistics.mean == [128.5]
