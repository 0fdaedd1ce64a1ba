"""Samplers of windows beside torchgeo's, on the same datasets.

The datasets are an index without files: tiles scattered over 1,000 km, so that no two touch. Ours
are asked for more than torchgeo's, whose time grows faster than the number of tiles.

Run: OMP_NUM_THREADS=1 python -m benchmarks.samplers [--tiles 50000] [--peer-tiles 10000]
"""

import argparse
from collections.abc import Callable, Sequence
from typing import override

import numpy as np
import pandas as pd
import shapely
from benchmarks.contenders import Outcome, race
from geopandas import GeoDataFrame
from torchgeo.datasets import GeoDataset
from torchgeo.datasets.utils import GeoSlice, Sample

_RES = 10.0
"""Metres a pixel."""


def main() -> None:
    """Print a line for each promise."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tiles", type=int, default=50_000, help="tiles that ours begin with")
    parser.add_argument("--peer-tiles", type=int, default=10_000, help="tiles torchgeo begins with")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    fewer = (options.peer_tiles,)
    found = race(
        {"ours": (begin_ours, fewer), "torchgeo": (begin_peer, fewer)}, turns=options.turns
    )
    _say(f"begin with {options.peer_tiles:,} tiles", found)
    found = race({"ours": (begin_ours, (options.tiles,))}, turns=options.turns)
    _say(f"begin with {options.tiles:,} tiles", found)
    found = race(
        {"ours": (draw_ours, (1_000,)), "torchgeo": (draw_peer, (1_000,))},
        turns=options.turns,
        warm=False,
    )
    _say("1,000 draws over 1,000 tiles", found)
    found = race({"ours": (unseen_ours, ()), "torchgeo": (unseen_peer, ())}, turns=1, warm=False)
    _say("never drawn of a 1,024 px tile: 20,000 draws of 256 px", found, "{:.2%}")
    found = race({"ours": (chips_ours, ()), "torchgeo": (chips_peer, ())}, turns=1, warm=False)
    _say("random windows that are one of 100 tiles of their size", found, "{}")
    found = race({"ours": (grid_ours, (100,)), "torchgeo": (grid_peer, (100,))}, warm=False)
    _say("grid windows that are one of 100 tiles of their size", found, "{}")
    found = race(
        {"ours": (grid_ours, (1_000,)), "torchgeo": (grid_peer, (1_000,))}, turns=1, warm=False
    )
    _say("grid windows that are one of 1,000 scattered tiles of their size", found, "{}")


def _say(what: str, found: dict[str, Outcome], answer: str = "") -> None:
    parts = []
    for name, outcome in found.items():
        said = answer.format(outcome.answer) + " in " if answer else ""
        parts.append(
            f"{name} {said}{outcome.seconds:.4f} s (peak {outcome.peak_mib:,.0f} MiB, "
            f"{outcome.before_mib:,.0f} before)"
        )
    if "torchgeo" in found:
        parts.append(f"ratio of times {found['torchgeo'].seconds / found['ours'].seconds:,.1f}")
    print(f"{what}: {', '.join(parts)}", flush=True)


def begin_ours(count: int) -> Callable[[], int]:
    """Random windows, made ready."""
    from gv_data.windows.random_windows import RandomWindows

    dataset = Index(_scattered(count, 512), 512)
    return lambda: len(RandomWindows(dataset, window_px=256, length=1_000))


def begin_peer(count: int) -> Callable[[], int]:
    """The same of torchgeo's."""
    from torchgeo.samplers import RandomPatchSampler

    dataset = Index(_scattered(count, 512), 512)
    return lambda: len(RandomPatchSampler(dataset, size=256, length=1_000))


def draw_ours(count: int) -> Callable[[], int]:
    """Random windows, drawn; each time for another epoch."""
    from gv_data.windows.random_windows import RandomWindows

    sampler = RandomWindows(Index(_scattered(count, 512), 512), window_px=256, length=1_000)

    def draw() -> int:
        sampler.set_epoch(sampler.epoch + 1)
        return len(list(sampler))

    return draw


def draw_peer(count: int) -> Callable[[], int]:
    """The same of torchgeo's."""
    from torchgeo.samplers import RandomPatchSampler

    sampler = RandomPatchSampler(Index(_scattered(count, 512), 512), size=256, length=1_000)
    return lambda: len(list(sampler))


def unseen_ours() -> Callable[[], float]:
    """Share of a tile that no window shows."""
    from gv_data.windows.random_windows import RandomWindows

    dataset = Index(np.zeros((1, 2)), 1024)
    return lambda: _unseen(list(RandomWindows(dataset, window_px=256, length=20_000)))


def unseen_peer() -> Callable[[], float]:
    """The same of torchgeo's."""
    from torchgeo.samplers import RandomPatchSampler

    dataset = Index(np.zeros((1, 2)), 1024)
    return lambda: _unseen(list(RandomPatchSampler(dataset, size=256, length=20_000, generator=0)))


def chips_ours() -> Callable[[], int]:
    """How many of 100 random windows are one of the tiles."""
    from gv_data.windows.random_windows import RandomWindows

    corners = _scattered(100, 256)
    dataset = Index(corners, 256)
    return lambda: _coinciding(list(RandomWindows(dataset, window_px=256, length=100)), corners)


def chips_peer() -> Callable[[], int]:
    """The same of torchgeo's."""
    from torchgeo.samplers import RandomPatchSampler

    corners = _scattered(100, 256)
    dataset = Index(corners, 256)
    return lambda: _coinciding(list(RandomPatchSampler(dataset, size=256, length=100)), corners)


def grid_ours(count: int) -> Callable[[], str]:
    """How many windows of a grid are one of the tiles."""
    from gv_data.windows.samplers import GridWindows

    corners = _scattered(count, 256)
    dataset = Index(corners, 256)

    def grid() -> str:
        windows = list(GridWindows(dataset, window_px=256))
        return f"{_coinciding(windows, corners)} of {len(windows)}"

    return grid


def grid_peer(count: int) -> Callable[[], str]:
    """The same of torchgeo's."""
    from torchgeo.samplers import GriddedPatchSampler

    corners = _scattered(count, 256)
    dataset = Index(corners, 256)

    def grid() -> str:
        windows = list(GriddedPatchSampler(dataset, size=256))
        return f"{_coinciding(windows, corners)} of {len(windows)}"

    return grid


class Index(GeoDataset):
    """An index and a resolution, which is all that samplers ask of a dataset."""

    _res = (_RES, _RES)

    def __init__(self, corners: np.ndarray, side_px: int) -> None:
        """Square tiles with these south-western corners in metres."""
        always = pd.IntervalIndex.from_arrays(
            [pd.Timestamp.min] * len(corners),
            [pd.Timestamp.max] * len(corners),
            closed="both",
            name="datetime",
        )
        boxes = shapely.box(*corners.T, *(corners + side_px * _RES).T)
        self.index = GeoDataFrame(geometry=boxes, crs="EPSG:32633", index=always)

    @override
    def __getitem__(self, index: GeoSlice) -> Sample:
        raise IndexError("there are no pixels")


def _scattered(count: int, side_px: int) -> np.ndarray:
    """South-western corners on whole pixels, one in each of as many cells of 1,000 km."""
    across = int(np.ceil(np.sqrt(count)))
    cell_m = 1e6 / across
    room_px = int(cell_m / _RES) - side_px
    if room_px < 0:  # as many as that need more ground
        cell_m, room_px = side_px * _RES * 1.25, side_px // 4
    jitter = np.random.default_rng(0).integers(0, room_px + 1, (count, 2)) * _RES
    cells = np.stack(np.divmod(np.arange(count), across), axis=1) * (cell_m // _RES * _RES)
    return cells + jitter


def _unseen(windows: Sequence[tuple[slice, slice]]) -> float:
    seen = np.zeros((1024, 1024), bool)
    for x, y in windows:
        left, bottom = round(x.start / _RES), round(y.start / _RES)
        seen[max(0, bottom) : bottom + 256, max(0, left) : left + 256] = True
    return float(1 - seen.mean())


def _coinciding(windows: Sequence[tuple[slice, slice]], corners: np.ndarray) -> int:
    tiles = {tuple(corner) for corner in np.rint(corners).tolist()}
    return sum(
        (round(x.start), round(y.start)) in tiles
        and round(x.stop - x.start) == round(y.stop - y.start) == round(256 * _RES)
        for x, y in windows
    )


if __name__ == "__main__":
    main()
