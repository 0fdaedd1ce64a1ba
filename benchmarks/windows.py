"""Windows read from many files, and labels drawn on windows, beside torchgeo and bare rasterio.

The files hold random values, which LZW decodes fastest, so that what is added to decoding weighs
most. GDAL's cache is too small for any block to be met again. All three give the same pixels, which
is checked. The labels are rotated rectangles in one parquet file, both draw the same masks.

Run: OMP_NUM_THREADS=1 python -m benchmarks.windows [--files 400] [--windows 800]
     [--polygons 200000] [--label-windows 200] [--folder KEPT]
"""

import argparse
import itertools
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import rasterio
import shapely
from affine import Affine
from benchmarks.contenders import Outcome, race

_SIDE, _WINDOW = 1024, 256
_RES = 10.0
_WEST, _NORTH = 400_000.0, 5_000_000.0
_CACHE_BYTES = 4 * 2**20


def main() -> None:
    """Print a line for each kind of window."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--windows", type=int, default=800, help="windows a turn")
    parser.add_argument("--polygons", type=int, default=200_000)
    parser.add_argument("--label-windows", type=int, default=200, help="torchgeo draws a tenth")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where files are kept for the next time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        files, catalog = folder / f"files-{options.files}", folder / f"catalog-{options.files}"
        _write(files, catalog, options.files)
        for said, aligned in (("whole blocks", True), ("any offset", False)):
            chosen = _chosen(options.files, options.windows, aligned=aligned)
            found = race(
                {
                    "raw": (read_raw, (files, chosen)),
                    "ours": (read_ours, (catalog, chosen)),
                    "torchgeo": (read_torchgeo, (files, chosen)),
                },
                turns=options.turns,
            )
            _say(f"{_WINDOW} px windows at {said} of {options.files} files", found, len(chosen))
        polygons = folder / f"polygons-{options.polygons}" / "polygons.parquet"
        side_m = _write_polygons(polygons, options.polygons)
        corners = np.random.default_rng(2).integers(
            0, int(side_m) - 128, (options.label_windows, 2)
        )
        few = corners[: max(1, len(corners) // 10)].tolist()
        found = race(
            {
                "ours": (draw_ours, (polygons, few)),
                "torchgeo": (draw_torchgeo, (polygons, few)),
                "ours, all": (draw_ours, (polygons, corners.tolist())),
            },
            turns=2,
        )
        every = found.pop("ours, all")
        _say(f"masks of {_WINDOW} px from {options.polygons:,} polygons", found, len(few))
        print(f"  ours over {len(corners):,} windows: {every.seconds / len(corners) * 1e3:.2f} ms")


def read_raw(folder: Path, chosen: Sequence[tuple[int, int, int]]) -> Callable[[], int]:
    """Bare rasterio: files opened once, a window read, values made float32."""
    from rasterio.windows import Window

    rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES).__enter__()
    files = [rasterio.open(path) for path in sorted(folder.glob("*.tif"))]

    def read(number: int, row: int, column: int) -> np.ndarray:
        window = Window(column, row, _WINDOW, _WINDOW)
        return files[number].read(window=window).astype(np.float32)

    return _reading([lambda one=one: read(*one) for one in chosen])


def read_ours(catalog: Path, chosen: Sequence[tuple[int, int, int]]) -> Callable[[], int]:
    """A catalog's dataset, with validity, bounds and transform."""
    import torch

    from gv_data.catalog import Catalog
    from gv_data.windows.windows import ImageSlice

    torch.set_num_threads(1)
    rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES).__enter__()
    dataset = Catalog.open(catalog).dataset(labels=False)
    windows = [
        ImageSlice.of(number, dataset.grids[number].part(row, column, _WINDOW, _WINDOW), 0)
        for number, row, column in chosen
    ]
    return _reading([lambda window=window: dataset[window]["image"] for window in windows])


def read_torchgeo(folder: Path, chosen: Sequence[tuple[int, int, int]]) -> Callable[[], int]:
    """The files as torchgeo's dataset, with its cache of open files."""
    import torch
    from torchgeo.datasets import RasterDataset

    torch.set_num_threads(1)
    rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES).__enter__()
    dataset = RasterDataset(folder)
    windows = []
    for number, row, column in chosen:
        transform = _place(number) @ Affine.translation(column, row)
        west, north = transform @ (0, 0)
        east, south = transform @ (_WINDOW, _WINDOW)
        windows.append((slice(west, east), slice(south, north)))
    return _reading([lambda window=window: dataset[window]["image"] for window in windows])


def _reading(reads: Sequence[Callable[[], Any]]) -> Callable[[], int]:
    """Reads one after the other; the checksum of all pixels once, and its value from then on."""
    known: list[int] = []

    def run() -> int:
        if known:
            for read in reads:
                read()
        else:
            total = 0
            for read in reads:
                total = zlib.crc32(np.ascontiguousarray(read()), total)
            known.append(total)
        return known[0]

    return run


def draw_ours(path: Path, corners: Sequence[tuple[int, int]]) -> Callable[[], int]:
    """Labels in memory."""
    from pyproj import CRS

    from gv_data.grid import Grid
    from gv_data.labels.labels import Labels

    labels, crs = Labels.read(path), CRS("EPSG:32633")
    grids = [
        Grid(crs, Affine(0.5, 0, _WEST + x, 0, -0.5, _NORTH - y), _WINDOW, _WINDOW)
        for x, y in corners
    ]
    return _reading(
        [lambda grid=grid: (labels.on(grid).instances > 0).astype(np.uint8) for grid in grids]
    )


def draw_torchgeo(path: Path, corners: Sequence[tuple[int, int]]) -> Callable[[], int]:
    """The file as torchgeo's dataset."""
    import torch
    from torchgeo.datasets import VectorDataset

    torch.set_num_threads(1)
    dataset = VectorDataset(path, res=(0.5, 0.5))
    half = _WINDOW * 0.5
    windows = [
        (slice(_WEST + x, _WEST + x + half), slice(_NORTH - y - half, _NORTH - y))
        for x, y in corners
    ]
    return _reading(
        [
            lambda window=window: dataset[window]["mask"].numpy().astype(np.uint8)
            for window in windows
        ]
    )


def _say(what: str, found: dict[str, Outcome], count: int) -> None:
    answers = {outcome.answer for outcome in found.values()}
    if len(answers) != 1:
        raise SystemExit(f"{what}: pixels differ")
    first, *_ = found.values()
    parts = [
        f"{name} {outcome.seconds / count * 1e3:.3f} ms ({count / outcome.seconds:,.0f} a second; "
        f"{outcome.seconds / first.seconds:.2f} x by the clock, "
        f"{outcome.processor / first.processor:.2f} x of the processor; "
        f"peak {outcome.peak_mib:,.0f} MiB, {outcome.before_mib:,.0f} before)"
        for name, outcome in found.items()
    ]
    print(f"{what}, pixels equal: {', '.join(parts)}", flush=True)


def _chosen(files: int, count: int, *, aligned: bool) -> list[tuple[int, int, int]]:
    """File, row and column of windows in random order; of whole blocks none comes twice."""
    random = np.random.default_rng(1)
    if aligned:
        starts = range(0, _SIDE, _WINDOW)
        every = np.array(list(itertools.product(range(files), starts, starts)))
        return [tuple(one) for one in random.permutation(every)[:count].tolist()]
    places = random.integers(0, [files, *[_SIDE - _WINDOW + 1] * 2], (count, 3))
    return [tuple(one) for one in places.tolist()]


def _place(number: int) -> Affine:
    """Adjoining tiles, twenty in a row."""
    row, column = divmod(number, 20)
    step = _SIDE * _RES
    return Affine(_RES, 0, _WEST + column * step, 0, -_RES, _NORTH - row * step)


def _write(folder: Path, catalog: Path, count: int) -> None:
    from gv_data.intake.indexing import index

    if (catalog / "images.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for number in range(count):
        values = random.integers(0, 65_536, (4, _SIDE, _SIDE), dtype=np.uint16)
        with rasterio.open(
            folder / f"{number:04}.tif",
            "w",
            driver="GTiff",
            count=4,
            height=_SIDE,
            width=_SIDE,
            dtype="uint16",
            crs="EPSG:32633",
            transform=_place(number),
            tiled=True,
            blockxsize=_WINDOW,
            blockysize=_WINDOW,
            compress="lzw",
        ) as file:
            file.write(values)
    index([folder], catalog)


def _write_polygons(path: Path, count: int) -> float:
    """Write 2,000 rectangles a square kilometre, the size of houses.

    Returns:
        Side of the square that they lie in, in metres.
    """
    side_m = 1000 * np.sqrt(count / 2000)
    if not path.exists():
        random = np.random.default_rng(0)
        middle = random.uniform(0, side_m, (count, 1, 2)) * [1, -1] + [_WEST, _NORTH]
        half = random.uniform(3, 10, (count, 1, 2)) * [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        angle = random.uniform(0, np.pi, (count, 1))
        x, y = half[..., 0], half[..., 1]
        turned = [x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)]
        shapes = shapely.polygons(middle + np.stack(turned, axis=-1))
        path.parent.mkdir(parents=True, exist_ok=True)
        gpd.GeoDataFrame(geometry=shapes, crs="EPSG:32633").to_parquet(path)
    return float(side_m)


if __name__ == "__main__":
    main()
