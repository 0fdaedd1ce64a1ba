"""Statistics of images beside GDAL's, and pooled ones over a million images.

Measuring: two files of each type, deflate in blocks of 512 px, one thread a file, ours and GDAL's
``stats`` (minimum, maximum, mean, standard deviation) turn by turn; GDAL's side files are switched
off, so nothing is remembered. Ours also gives histogram, percentiles, skewness, kurtosis and the
correlation of the bands. Pooling: mean and standard deviation by split and band, in SQL, from the
tables of a catalog of images that do not exist, compared with numpy in extended precision.

Run: python -m benchmarks.image_statistics [--size-px 4096] [--images 1000000]
"""

import argparse
import resource
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio

from gv_data.measure.measuring import measure
from gv_data.rasters.raster import Scene
from gv_data.store.query import answer
from gv_data.store.tables import opened

ROUNDS = 5
BANDS = ("red", "green", "blue")
POOL = (
    "SELECT split, band, pooled_mean(statistics) AS mean, pooled_std(statistics) AS std "
    "FROM images JOIN statistics USING (id) GROUP BY ALL"
)


def main() -> None:
    """Print a line for each type, and one for pooling."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size-px", type=int, default=4096)
    parser.add_argument("--images", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("uint8", "uint16"):
            print(_measuring(Path(folder), kind, options.size_px), flush=True)
        print(_pooling(Path(folder), options.images), flush=True)


def _measuring(folder: Path, kind: str, size_px: int) -> str:
    files = [_image(folder / f"{kind}_{n}.tif", kind, size_px, seed=n) for n in range(2)]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(_seconds(_measure, files))
        theirs.append(_seconds(_gdal, files))
    found, known = _measure(files[0]), _gdal(files[0])
    apart = max(abs(found.mean[n] / s.mean - 1) for n, s in enumerate(known))
    a, b = min(ours), min(theirs)
    return (
        f"{kind}, 2 x {size_px:,} x {size_px:,} x 3, 2 threads: ours {a:.3f} s, GDAL {b:.3f} s, "
        f"ratio {a / b:.2f}, means within {apart:.0e}, peak memory {_peak_mib():,.0f} MiB"
    )


def _image(path: Path, kind: str, size_px: int, *, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    values = np.clip(rng.normal(63, 37, (3, size_px, size_px)), 0, 255)
    profile = {
        "driver": "GTiff",
        "count": 3,
        "height": size_px,
        "width": size_px,
        "dtype": kind,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "interleave": "pixel",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write((values * (40 if kind == "uint16" else 1)).astype(kind))
    return path


def _measure(path: Path):
    with Scene(path) as scene:
        return measure(scene)


def _gdal(path: Path):
    with rasterio.Env(GDAL_PAM_ENABLED="NO"), rasterio.open(path) as file:
        return file.stats(approx=False)


def _seconds(work: Callable[[Path], object], files: list[Path]) -> float:
    with ThreadPoolExecutor(len(files)) as pool:
        started = time.perf_counter()
        list(pool.map(work, files))
        return time.perf_counter() - started


def _pooling(folder: Path, images: int) -> str:
    rng = np.random.default_rng(0)
    ids = pa.array([f"place/tile_{n:07d}" for n in range(images)])
    split = np.array(["train", "val", "test"])[rng.integers(0, 3, images)]
    pq.write_table(
        pa.table({"id": ids, "image": ids, "split": split, "error": pa.nulls(images, pa.string()),
                  "bytes": np.zeros(images, int), "modified_ns": np.zeros(images, int)}),
        folder / "images.parquet",
    )  # fmt: skip
    rows = images * len(BANDS)
    valid = rng.integers(1000, 65536, rows)
    mean = rng.normal(1000, 10, rows)
    m2 = rng.random(rows) * 100 * valid
    band = np.tile(BANDS, images)
    columns = {"id": ids.take(pa.array(np.repeat(np.arange(images), len(BANDS)))), "band": band,
               "asset": np.repeat("image", rows), "valid": valid, "mean": mean,
               "m2": m2, "m3": m2, "m4": m2}  # fmt: skip
    pq.write_table(pa.table(columns), folder / "statistics.parquet")
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        tables = {name: opened(folder / f"{name}.parquet") for name in ("images", "statistics")}
        table = answer(POOL, tables)
        seconds.append(time.perf_counter() - started)
    worst = 0.0
    for row in table.to_pylist():
        chosen = (np.repeat(split, len(BANDS)) == row["split"]) & (band == row["band"])
        n, means, sums = (v[chosen].astype(np.longdouble) for v in (valid, mean, m2))
        middle = (n * means).sum() / n.sum()
        std = np.sqrt((sums + n * (means - middle) ** 2).sum() / n.sum())
        worst = max(worst, abs(row["mean"] / middle - 1), abs(row["std"] / std - 1))
    return (
        f"mean and std of {images:,} images x {len(BANDS)} bands by split and band: "
        f"{min(seconds):.2f} s ({max(seconds):.2f} s the first time), relative error "
        f"{float(worst):.0e}, peak memory {_peak_mib():,.0f} MiB"
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        main()
