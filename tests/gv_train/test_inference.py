"""Maps of scenes: what a model says of each pixel arrives there, whatever the windows."""

import threading
import time

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gv_data.grid import Grid
from gv_data.rasters.raster import Scene
from gv_train.inference import Windows, ahead, probabilities, side_by_side


class Brightness:
    """Says that the probability of a pixel is its value."""

    def __init__(self) -> None:
        self.windows = 0

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        self.windows += len(image)
        return {"interior": image[:, :1] / 200, "edge": 1 - image[:, :1] / 200}


class Array:
    """A scene in memory."""

    def __init__(self, values: np.ndarray, valid: np.ndarray) -> None:
        self.values, self.valid = values, valid
        self.grid = Grid(None, Affine.identity(), *valid.shape)

    def read(self, window, shape_hw, *, bands=None):
        top, left, bottom, right = map(round, window)
        padded = np.pad(self.values, ((0, 0), (0, shape_hw[0]), (0, shape_hw[1])))
        known = np.pad(self.valid, ((0, shape_hw[0]), (0, shape_hw[1])))
        return padded[:, top:bottom, left:right].astype(np.float32), known[top:bottom, left:right]


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(4, 40),
    st.floats(0, 0.5),
    st.integers(1, 4),
)
@settings(deadline=None, max_examples=60)
def test_an_identity_model_gives_the_image(height, width, window_px, share, batch) -> None:
    random = np.random.default_rng(height * 100 + width)
    values = random.integers(0, 201, (1, height, width))
    valid = random.random((height, width)) > 0.2
    windows = Windows(window_px, int(share * window_px), batch)
    scene = Array(values, valid)
    rows = list(probabilities(Brightness(), scene, scene.grid, heads=["interior"], windows=windows))
    found = np.concatenate([part.heads["interior"] for part in rows])
    assert [part.first for part in rows] == list(
        np.cumsum([0, *(len(part.heads["interior"]) for part in rows)])[:-1]
    )
    assert np.array_equal(found, np.where(valid, values[0], 255))


def test_windows_without_an_image_cost_nothing() -> None:
    valid = np.zeros((40, 40), bool)
    scene, model = Array(np.zeros((1, 40, 40)), valid), Brightness()
    rows = list(probabilities(model, scene, scene.grid, heads=["edge"], windows=Windows(16, 4)))
    assert model.windows == 0
    assert all((part.heads["edge"] == 255).all() for part in rows)


def test_blending_differs_little_from_one_pass_over_the_whole_image() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 5, padding=2), nn.ReLU(), nn.Conv2d(4, 1, 5, padding=2))

    class Model:
        def predict(self, image: Tensor) -> dict[str, Tensor]:
            return {"interior": network(image / 255).sigmoid()}

    values = np.random.default_rng(0).integers(0, 255, (1, 200, 180))
    scene = Array(values, np.ones((200, 180), bool))
    windows = Windows(64, 24)
    rows = probabilities(Model(), scene, scene.grid, heads=["interior"], windows=windows)
    found = np.concatenate([part.heads["interior"] for part in rows])
    with torch.inference_mode():
        whole = Model().predict(torch.from_numpy(values[None]).float())["interior"][0, 0].numpy()
    # a window's border lies 4 px (the receptive field) inside a ramp of 24 px: weight under 7 %
    assert np.abs(found / 200 - whole).max() < 0.02


def test_a_map_lies_on_the_scene_at_the_models_resolution(tmp_path) -> None:
    path = tmp_path / "scene.tif"
    values = np.kron(np.arange(1, 13).reshape(3, 4) * 15, np.ones((20, 20))).astype(np.uint8)
    transform = Affine(0.5, 0, 500_000, 0, -0.5, 9_000_000)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=60,
        width=80,
        count=1,
        dtype="uint8",
        crs="EPSG:32737",
        transform=transform,
    ) as file:
        file.write(values[None])
    with Scene(path) as scene:
        grid = scene.grid.at_gsd(1.0)
        rows = probabilities(Brightness(), scene, grid, heads=["interior"], windows=Windows(16, 4))
        found = np.concatenate([part.heads["interior"] for part in rows])
    assert found.shape == (30, 40)
    assert np.array_equal(found, values[::2, ::2])
    assert grid.bounds == pytest.approx(scene.grid.bounds)


def test_what_fails_ahead_fails_where_it_is_asked_for() -> None:
    def items():
        yield 1
        raise OSError("no more")

    found = ahead(items(), depth=3)
    assert next(found) == 1
    with pytest.raises(OSError, match="no more"):
        next(found)


def test_at_most_depth_items_wait_and_closing_ends_them_all() -> None:
    made, closed = [], []

    def items():
        try:
            for n in range(1000):
                made.append(n)
                yield n
        finally:
            closed.append(threading.current_thread())

    found = ahead(items(), depth=3)
    assert [next(found) for _ in range(5)] == list(range(5))
    found.close()
    assert len(made) <= 5 + 3
    assert closed
    before = len(made)
    time.sleep(0.05)
    assert len(made) == before


def test_work_side_by_side_comes_in_order_from_as_many_threads() -> None:
    seen: set[int] = set()
    meeting = threading.Barrier(3, timeout=10)

    def work(n: int) -> int:
        seen.add(threading.get_ident())
        if n < 3:
            meeting.wait()  # passes only if three are at work at once
        time.sleep(0.01 * (n % 3))
        return n * n

    prepared: list[int] = []
    found = side_by_side(work, range(20), 3, prepare=lambda: prepared.append(threading.get_ident()))
    assert list(found) == [n * n for n in range(20)]
    assert len(seen) == 3
    assert set(prepared) == seen


def test_work_side_by_side_that_fails_ends_everything() -> None:
    def work(n: int) -> float:
        return 1 / (n - 4)

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(work, range(10), 2))
    assert threading.active_count() == before


def test_lanes_leave_the_threads_of_the_process_as_they_were() -> None:
    before = torch.get_num_threads()
    scene = Array(np.full((1, 40, 40), 100), np.ones((40, 40), bool))
    torch.set_num_threads(2)
    try:
        list(probabilities(Brightness(), scene, scene.grid, heads=["interior"]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
