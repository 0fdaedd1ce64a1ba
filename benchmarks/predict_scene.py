"""What it costs to map a large scene, beside the bare forward passes on the same windows.

For each size a synthetic mosaic is mapped by ``urbanvision predict``, whose peak memory is told;
then the network as trained works on windows of the same pixels, two at once on all cores, and so
does the faster copy of it that the package predicts with; of many windows some are timed, and their
time is scaled to all.
With ``--whole-px`` the blended map is compared with one pass over a whole scene.

Run: python benchmarks/predict_scene.py PACKAGE [--size-px 10000 20000] [--whole-px 2048]
"""

import argparse
import json
import resource
import subprocess
import tempfile
import time
from itertools import batched, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gv_data.rasters.raster import Scene
from gv_data.rasters.tiling import Tiling
from gv_data.synthetic.mosaic import write_mosaic
from gv_models import package
from gv_models.package import Probabilities
from gv_train.hardware import use_cpu
from gv_train.inference import Windows, probabilities

TIMED_WINDOWS = 700


def main() -> None:
    """Measure each size and print a line for it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("--size-px", type=int, nargs="*", default=[10_000, 20_000])
    parser.add_argument("--whole-px", type=int, default=0, help="side of a scene seen whole")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for size in options.size_px:
            scene = Path(folder, f"{size}.tif")
            write_mosaic(scene, 1, size_px=size)
            started = time.perf_counter()
            found, peak_mib = _map(options.package, scene)
            whole = time.perf_counter() - started
            seconds = found["seconds"]
            plain, folded = _bare(options.package, scene)
            print(
                f"{size:,} px: {found['buildings']:,} buildings, {seconds:.0f} s "
                f"({whole:.0f} s with its start), "
                f"bare passes {plain:.0f} s, ratio {seconds / plain:.3f} "
                f"(folded {folded:.0f} s, ratio {seconds / folded:.3f}), "
                f"peak memory {peak_mib:,.0f} MiB",
                flush=True,
            )
        if options.whole_px:
            scene = Path(folder, "whole.tif")
            write_mosaic(scene, 1, size_px=options.whole_px)
            print(
                f"blended against whole, {options.whole_px:,} px: {_whole(options.package, scene)}"
            )


def _map(folder: Path, scene: Path) -> tuple[dict[str, Any], float]:
    """What the command answers, and the peak memory of the largest command so far, in MiB."""
    words = ["urbanvision", "predict", str(folder), str(scene), "--out", str(scene.parent / "maps")]
    printed = subprocess.run([*words, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return json.loads(printed.stdout)["maps"][0], peak_mib


def _bare(folder: Path, path: Path) -> tuple[float, float]:
    """Seconds of the network alone, as trained and folded, turn by turn.

    It sees the windows of the first row again and again, `TIMED_WINDOWS` at most.
    """
    use_cpu(None)
    model = package.load(folder)
    plain = Probabilities(model.network, model.card).eval()
    side, size = model.card.window_px, Windows().batch
    tiling = _tiling(model, path)
    with Scene(path) as scene:
        seen = [
            np.stack([scene.read((r, c, r + side, c + side), (side, side))[0] for r, c in group])
            for group in batched(islice(tiling, len(tiling.columns)), size)
        ]
    seconds, count = [0.0, 0.0], 0
    while count < min(len(tiling), TIMED_WINDOWS):
        image = torch.from_numpy(seen[count // size % len(seen)])
        image = image.contiguous(memory_format=torch.channels_last)
        for which, network in enumerate((plain, model.predict)):
            with torch.inference_mode():
                if not count:  # the first call prepares
                    network(image)
                started = time.perf_counter()
                network(image)
                seconds[which] += time.perf_counter() - started
        count += len(image)
    return seconds[0] * len(tiling) / count, seconds[1] * len(tiling) / count


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
