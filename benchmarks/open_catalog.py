"""How long it takes to open images as a dataset, beside torchgeo's RasterDataset.

Some small files are written and indexed, and the rows of that catalog repeated to the wanted
number: opening reads tables only. torchgeo opens each of the files. Both are timed per image.

Run: OMP_NUM_THREADS=1 python -m benchmarks.open_catalog [--images 100000] [--files 2000]
"""

import argparse
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import rasterio
from affine import Affine
from benchmarks.contenders import race

from gv_data.catalog import Catalog
from gv_data.intake.indexing import index


def main() -> None:
    """Print a line for opening and one for opening at another ground sampling distance."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100_000, help="rows of the catalog")
    parser.add_argument("--files", type=int, default=2_000, help="files that torchgeo opens")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images, catalog = Path(folder, "images"), Path(folder, "catalog")
        _write(images, options.files)
        _catalog(images, catalog, options.images)
        found = race(
            {
                "ours": (open_ours, (catalog, None)),
                "ours at 7 m": (open_ours, (catalog, 7.0)),
                "torchgeo": (open_torchgeo, (images,)),
            }
        )
    peer = found.pop("torchgeo")
    each = peer.seconds / peer.answer
    for name, ours in found.items():
        print(
            f"open {ours.answer:,} images, {name}: {ours.seconds:.3f} s, peak {ours.peak_mib:,.0f} "
            f"MiB ({ours.before_mib:,.0f} before); torchgeo {each * 1e3:.2f} ms a file "
            f"({peer.answer:,} files, peak {peer.peak_mib:,.0f} MiB, {peer.before_mib:,.0f} "
            f"before); ratio per image {each / (ours.seconds / ours.answer):,.0f}"
        )


def open_ours(catalog: Path, gsd_m: float | None) -> Callable[[], int]:
    """A view of a catalog as a dataset."""
    import_module("gv_data.windows.dataset")  # what is timed is opening
    return lambda: len(
        Catalog.open(catalog).where("gsd_m < 30 AND id <> ''").dataset(gsd_m=gsd_m, labels=False)
    )


def open_torchgeo(folder: Path) -> Callable[[], int]:
    """The files of a folder as a dataset of torchgeo's."""
    from torchgeo.datasets import RasterDataset

    return lambda: len(RasterDataset(folder))


def _write(folder: Path, count: int) -> None:
    folder.mkdir()
    values = np.ones((4, 16, 16), np.uint16)
    for n in range(count):
        place = Affine(10, 0, 400_000 + 160 * (n % 100), 0, -10, 5_000_000 - 160 * (n // 100))
        with rasterio.open(
            folder / f"{n:06}.tif",
            "w",
            driver="GTiff",
            count=4,
            height=16,
            width=16,
            dtype="uint16",
            crs="EPSG:32633",
            transform=place,
        ) as file:
            file.write(values)


def _catalog(images: Path, out: Path, count: int) -> None:
    """A catalog of so many rows, in the place of the one with a row a file."""
    index([images], out)
    rows = gpd.read_parquet(out / "images.parquet")
    repeats = -(-count // len(rows))
    many = rows.loc[rows.index.repeat(repeats)].reset_index(drop=True)[:count]
    many["id"] = [f"{name}/{n % repeats}" for n, name in enumerate(many["id"])]
    many.to_parquet(out / "images.parquet", write_covering_bbox=False)
    statistics = pq.read_table(out / "statistics.parquet")
    times = -(-4 * count // len(statistics))
    pq.write_table(pa.concat_tables([statistics] * times), out / "statistics.parquet")


if __name__ == "__main__":
    main()
