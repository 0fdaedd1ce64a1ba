"""How long a town and a mosaic take, and the memory of a mosaic.

Run: OMP_NUM_THREADS=1 python benchmarks/synthetic_town.py [--mosaic-px 20000]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np

from gv_data.synthetic.mosaic import write_mosaic
from gv_data.synthetic.town import town


def main() -> None:
    """Print seconds of processor and of the clock, and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--towns", type=int, default=5, help="towns per density")
    parser.add_argument("--mosaic-px", type=int, default=0, help="side of a mosaic; 0 is none")
    options = parser.parse_args()

    town(0, size_px=256)  # imports and caches
    for density in ("suburb", "terrace", "informal", "mixed"):
        clock, processor = [], []
        for seed in range(options.towns):
            start = time.perf_counter(), time.process_time()
            town(seed, density=density)
            clock.append(time.perf_counter() - start[0])
            processor.append(time.process_time() - start[1])
        print(
            f"{density:9} 1024 x 1024 px: median {np.median(clock):.2f} s, "
            f"processor {np.median(processor):.2f} s"
        )
    if options.mosaic_px:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "mosaic.tif")
            start = time.perf_counter()
            write_mosaic(path, 1, size_px=options.mosaic_px)
            seconds = time.perf_counter() - start
            print(
                f"mosaic {options.mosaic_px} px: {seconds:.0f} s, "
                f"{path.stat().st_size / 1e6:.0f} MB on disk"
            )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
