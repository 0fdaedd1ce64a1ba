"""Processes that warn in every way: ``python warning_child.py VERB FOLDER [WORD]``."""

import ctypes
import json
import logging
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gv_data.terminal.console import Console
from gv_train.warning_log import WarningLog, warnings_to

if TYPE_CHECKING:
    from torch.utils.data import Dataset

LINES, LENGTH = 150, 3000


class Tiles:
    """Eight tiles, each with something to complain of."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        warnings.warn(f"tile {index} is empty", stacklevel=1)
        logging.getLogger("tiles").warning("tile %d has no label", index)
        os.write(2, f"raw of tile {index}\n".encode())
        return index


def damaged_raster(folder: Path) -> Path:
    """A GeoTIFF whose GeoAsciiParams tag (34737) has a type that does not exist."""
    import numpy as np
    import rasterio

    path = folder / "damaged.tif"
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 1, "dtype": "uint8"}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:3857", transform=rasterio.Affine(1, 0, 0, 0, -1, 8)
    ) as raster:
        raster.write(np.ones((1, 8, 8), "uint8"))
    data = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, start)
    for place in range(start + 2, start + 2 + 12 * tags, 12):
        if struct.unpack_from("<H", data, place) == (34737,):
            struct.pack_into("<H", data, place + 2, 99)
    path.write_bytes(data)
    return path


def every(folder: Path) -> None:
    """One warning of each source."""
    import numpy as np
    import rasterio
    import torch
    from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

    raster_file = damaged_raster(folder)
    with warnings_to(folder / "logs") as log:
        warnings.warn("said by Python", stacklevel=1)
        np.ones(2) / np.zeros(2)
        fixed = np.zeros(3)
        fixed.flags.writeable = False
        torch.from_numpy(fixed)
        rank_zero_warn("said by Lightning")
        rank_zero_info("told by Lightning")
        logging.getLogger("some.library").error("said by a logger")
        with rasterio.open(raster_file) as raster:
            raster.read()
        os.write(2, b"raw from C\n")
        subprocess.run(["sh", "-c", "echo raw from a child >&2"], check=True)
        subprocess.run(
            [sys.executable, "-c", "import warnings; warnings.warn('said by a child')"], check=True
        )
        print("printed", file=sys.stderr)
        Console().say("narrated")
    print("seen again", file=sys.stderr)
    show(log)


def show(log: WarningLog) -> None:
    kinds = [[kind.name, kind.message, kind.count, kind.place] for kind in log.kinds]
    print(json.dumps({"total": log.total, "line": log.counted.line, "kinds": kinds}))


def workers(folder: Path, method: str) -> None:
    from torch.utils.data import DataLoader

    with warnings_to(folder) as log:
        loader = DataLoader[int](
            cast("Dataset[int]", Tiles()),
            batch_size=None,
            num_workers=2,
            multiprocessing_context=method,
        )
        assert sorted(map(int, loader)) == list(range(8))
    show(log)


def leave(folder: Path, how: str) -> None:
    with warnings_to(folder):
        os.write(2, b"raw before the end\n")
        print("printed before the end", file=sys.stderr)
        warnings.warn("before the end", stacklevel=1)
        match how:
            case "exception":
                raise ValueError("the end")
            case "_exit":
                os._exit(3)
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash":
                ctypes.string_at(0)
            case "thread":
                thread = threading.Thread(target=lambda: 1 / 0)
                thread.start()
                thread.join()


def write_together(folder: Path, name: str) -> None:
    """Long lines from one of several writers, by Python's warnings and by the descriptor."""
    letter = name[-1]
    warnings.simplefilter("always")
    with warnings_to(folder, rank=""):
        for number in range(LINES):
            # words of letters: each is a wording of its own, so that all are written
            word = "".join(chr(97 + int(digit)) for digit in f"{number:04d}")
            warnings.warn(f"{word} {letter * LENGTH}", stacklevel=1)
            os.write(2, f"{word} {letter * LENGTH}\n".encode())


def bar(folder: Path) -> None:
    console = Console()
    with warnings_to(folder) as log, console.working("training", total=3, unit="steps") as meter:
        for step in range(3):
            warnings.warn(f"step {step}", stacklevel=1)
            print(f"printed at {step}", file=sys.stderr)
            os.write(2, b"raw\n")
            console.say(f"narrated at {step}")
            time.sleep(0.15)
            meter.advance()
    console.say(log.counted.line)


if __name__ == "__main__":
    verb, place, *words = sys.argv[1:]
    verbs = {f.__name__: f for f in (every, workers, leave, write_together, bar)}
    verbs[verb](Path(place), *words)
