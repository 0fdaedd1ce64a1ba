"""Probability maps of scenes of any size, in bounded memory.

Windows are read ahead of the network, weighted and summed, and rows leave as soon as no later
window changes them: neither the scene nor its map is ever held whole.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import batched
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from gv_data.grid import Grid
from gv_data.rasters.tiling import Blend, Tiling
from gv_data.terminal.console import Meter, Silent
from gv_data.vectors.instances import NODATA, PROBABILITY_ONE


class Model(Protocol):
    """What gives probabilities: a model package, or anything that does the same."""

    def predict(self, image: Float[Tensor, "b c h w"]) -> dict[str, Float[Tensor, "b k h w"]]:
        """Probabilities by head of images in physical units; several threads call it."""


class Source(Protocol):
    """What is mapped: an open `gv_data.rasters.raster.Scene`, or a part of one."""

    grid: Grid

    def read(
        self,
        window: tuple[float, float, float, float],
        shape_hw: tuple[int, int],
        *,
        bands: Sequence[str] | None = None,
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        """Values in physical units and where they are data; see `Scene.read`."""


@dataclass(frozen=True)
class Windows:
    """How a scene is cut up for the network.

    Attributes:
        window_px: Side of a window.
        overlap_px: Pixels that neighbours share.
        batch: Windows the network works on at once: as one batch on a GPU; on a CPU side by side,
            each on its share of the threads, which then need not wait for one another. There the
            threads of the process are changed meanwhile: one map at a time.
    """

    window_px: int = 512
    overlap_px: int = 96
    batch: int = 2


@dataclass(frozen=True)
class Rows:
    """Finished rows of a map.

    Attributes:
        first: Number of the first row.
        heads: Probability by head, 0 to 200 in steps of half a percent, 255 where there is no
            image (as `gv_data.vectors.instances` reads them).
    """

    first: int
    heads: dict[str, UInt8[np.ndarray, "h w"]]


def probabilities(
    model: Model,
    scene: Source,
    grid: Grid,
    *,
    heads: Sequence[str],
    bands: Sequence[str] | None = None,
    windows: Windows | None = None,
    device: torch.device | None = None,
    meter: Meter | None = None,
) -> Generator[Rows]:
    """Map one scene.

    Args:
        model: Gives probabilities of one class a head.
        scene: The open image.
        grid: Pixels of the map: the scene's own ground at the model's ground sampling distance.
        heads: The heads wanted.
        bands: Bands to read, in the model's order; None reads all.
        windows: How to cut the scene up.
        device: Where the model is; None: CPU.
        meter: Counts windows.

    Yields:
        Rows from the top, each once. Peak memory depends on the width of the map and on the
        windows, not on its height.

    Raises:
        RasterError: If the scene cannot be read.
    """
    windows = windows or Windows()
    meter = meter or Silent()
    device = device or torch.device("cpu")
    tiling = Tiling(grid.shape_hw, windows.window_px, windows.overlap_px)
    blend = Blend(tiling, len(heads) + 1)  # the last layer says where there is an image
    reader = _Reader(scene, grid, windows.window_px, bands)
    threads = torch.get_num_threads()
    lanes = min(windows.batch, threads) if device.type == "cpu" else 1
    shares = iter([threads // lanes + (n < threads % lanes) for n in range(lanes)])
    read = ahead(reader.batches(tiling, windows.batch // lanes), depth=2)

    def infer(group: _Group) -> tuple[_Places, Float[np.ndarray, "b k h w"]]:
        return group.places, _infer(model, group, heads, device)

    try:
        for places, maps in side_by_side(
            infer, read, lanes, prepare=lambda: torch.set_num_threads(next(shares))
        ):
            for place, values in zip(places, maps, strict=True):
                for first, rows in blend.add(place, values):
                    yield Rows(first, _stored(rows, heads))
            meter.advance(len(places))
    finally:
        read.close()
        torch.set_num_threads(threads)  # what a thread sets is the default of later ones


def side_by_side[T, R](
    work: Callable[[T], R],
    items: Iterable[T],
    lanes: int,
    *,
    prepare: Callable[[], object] | None = None,
) -> Generator[R]:
    """Work on several items at once, each in a thread of its own.

    Args:
        work: What to do with an item; must be safe in several threads.
        items: Taken one by one by the thread that asks for results.
        lanes: How many are worked on at once; one more waits.
        prepare: Called first in each thread.

    Yields:
        The results in the order of the items; what fails is raised here.

    Examples:
        >>> list(side_by_side(abs, [-1, 2, -3], lanes=2))
        [1, 2, 3]
    """
    pool = ThreadPoolExecutor(lanes, initializer=prepare)
    waiting = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > lanes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead[T](items: Generator[T], depth: int) -> Generator[T]:
    """Compute items in a thread of their own, before they are asked for.

    Args:
        items: What to compute; only that thread touches it. Closing the result closes it.
        depth: How many items may wait.

    Yields:
        The items in their order; what fails there is raised here.

    Examples:
        >>> list(ahead((n * n for n in range(4)), depth=2))
        [0, 1, 4, 9]
    """
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque(pool.submit(next, items, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, items, _END))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)
        items.close()


_END: Any = object()


type _Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class _Group:
    """Windows that the network sees as one batch."""

    places: _Places
    """First row and column of each."""
    images: Float[np.ndarray, "b c h w"]
    known: Bool[np.ndarray, "b h w"]
    """Where there is an image."""


class _Reader:
    """Reads windows for the network."""

    def __init__(
        self, scene: Source, grid: Grid, window_px: int, bands: Sequence[str] | None
    ) -> None:
        self._scene, self._grid, self._window_px, self._bands = scene, grid, window_px, bands

    def batches(self, tiling: Tiling, size: int) -> Generator[_Group]:
        for places in batched(tiling, size):
            read = [self._window(row, column) for row, column in places]
            images, known = zip(*read, strict=True)
            yield _Group(places, np.stack(images), np.stack(known))

    def _window(
        self, row: int, column: int
    ) -> tuple[Float[np.ndarray, "c h w"], Bool[np.ndarray, "h w"]]:
        down = self._scene.grid.height_px / self._grid.height_px
        across = self._scene.grid.width_px / self._grid.width_px
        size = self._window_px
        where = (row * down, column * across, (row + size) * down, (column + size) * across)
        return self._scene.read(where, (size, size), bands=self._bands)


def _infer(
    model: Model, group: _Group, heads: Sequence[str], device: torch.device
) -> Float[np.ndarray, "b k h w"]:
    """Probabilities and a layer of ones where there is an image; empty windows cost nothing."""
    images, known = group.images, group.known
    maps = np.zeros((len(images), len(heads) + 1, *images.shape[-2:]), np.float32)
    maps[:, -1] = known
    filled = np.flatnonzero(known.any(axis=(1, 2)))
    if len(filled):
        with torch.inference_mode():
            found = model.predict(torch.from_numpy(images[filled]).to(device))
        for n, head in enumerate(heads):
            maps[filled, n] = found[head][:, 0].float().cpu().numpy()
    return maps


def _stored(
    rows: Float[np.ndarray, "k h w"], heads: Sequence[str]
) -> dict[str, UInt8[np.ndarray, "h w"]]:
    known = rows[-1] > 0.5
    return {
        head: np.where(known, np.rint(rows[n] * PROBABILITY_ONE), NODATA).astype(np.uint8)
        for n, head in enumerate(heads)
    }
