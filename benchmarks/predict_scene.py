"""What it costs to map a large scene, beside the bare forward passes on the same windows.

For each size a synthetic mosaic is mapped as ``urbanvision predict`` does, in a process of its own
whose peak memory is told; then the network alone works on as many windows of the same pixels.
With ``--whole-px`` the blended map is compared with one pass over a whole scene.

Run: python benchmarks/predict_scene.py PACKAGE [--size-px 10000 20000] [--whole-px 2048]
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from itertools import batched, islice
from pathlib import Path

import numpy as np
import torch

from gv_data.raster import Scene
from gv_data.synthetic.mosaic import write_mosaic
from gv_data.tiling import Tiling
from gv_models import package
from gv_train.hardware import use_cpu
from gv_train.inference import Windows, probabilities
from urbanvision.mapping import map_scene


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--size-px", type=int, nargs="*", default=[10_000, 20_000])
    parser.add_argument("--whole-px", type=int, default=0, help="side of a scene seen whole")
    parser.add_argument("--map", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.map:
        print(json.dumps(_map(options.package, options.map)))
        return
    with tempfile.TemporaryDirectory() as folder:
        for size in options.size_px:
            scene = Path(folder, f"{size}.tif")
            write_mosaic(scene, 1, size_px=size)
            words = [sys.executable, __file__, str(options.package), "--map", str(scene)]
            printed = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(printed)
            bare = _bare(options.package, scene)
            print(
                f"{size:,} px: {found['buildings']:,} buildings, {found['seconds']:.0f} s, "
                f"bare passes {bare:.0f} s, ratio {found['seconds'] / bare:.3f}, "
                f"peak memory {found['peak_mib']:.0f} MiB",
                flush=True,
            )
        if options.whole_px:
            scene = Path(folder, "whole.tif")
            write_mosaic(scene, 1, size_px=options.whole_px)
            print(
                f"blended against whole, {options.whole_px:,} px: {_whole(options.package, scene)}"
            )


def _map(folder: Path, scene: Path) -> dict[str, float]:
    """Map a scene; seconds without the start of Python, and the peak memory of all."""
    use_cpu(None)
    model = package.load(folder)
    started = time.perf_counter()
    made = map_scene(model, scene, scene.parent / "maps")
    return {
        "seconds": time.perf_counter() - started,
        "buildings": made.buildings,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _bare(folder: Path, path: Path) -> float:
    """Seconds of the network alone, on the windows of the first row again and again."""
    use_cpu(None)
    model = package.load(folder)
    card, windows = model.card, Windows()
    tiling, seconds = _tiling(model, path), 0.0
    with Scene(path) as scene:
        side = card.window_px
        seen = [
            np.stack([scene.read((r, c, r + side, c + side), (side, side))[0] for r, c in group])
            for group in batched(islice(tiling, len(tiling.columns)), windows.batch)
        ]
    count = 0
    while count < len(tiling):
        image = torch.from_numpy(seen[count // windows.batch % len(seen)][: len(tiling) - count])
        started = time.perf_counter()
        model.predict(image)
        seconds += time.perf_counter() - started
        count += len(image)
    return seconds


def _whole(folder: Path, path: Path) -> str:
    """Largest, and 99.9th percentile of the, difference of probabilities."""
    use_cpu(None)
    model = package.load(folder)
    card = model.card
    windows = Windows(card.window_px, card.overlap_px)
    with Scene(path) as scene:
        grid = scene.grid.at_gsd(card.gsd_m)
        rows = probabilities(model, scene, grid, heads=["interior"], windows=windows)
        blended = np.concatenate([part.heads["interior"] for part in rows]) / 200
        full = (0, 0, scene.grid.height_px, scene.grid.width_px)
        image, _ = scene.read(full, grid.shape_hw)
    whole = model.predict(torch.from_numpy(image[None]))["interior"][0, 0].numpy()
    apart = np.abs(blended - whole)
    crossing = ((blended >= 0.5) != (whole >= 0.5)).mean()
    return (
        f"largest difference {apart.max():.3f}, 99.9 % of the pixels under "
        f"{np.percentile(apart, 99.9):.3f}, {crossing:.4%} on another side of 0.5"
    )


def _tiling(model: package.Package, path: Path) -> Tiling:
    with Scene(path) as scene:
        grid = scene.grid.at_gsd(model.card.gsd_m)
    return Tiling(grid.shape_hw, model.card.window_px, model.card.overlap_px)


if __name__ == "__main__":
    main()
