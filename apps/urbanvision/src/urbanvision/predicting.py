"""``urbanvision predict``: scenes checked, mapped one after the other, broken ones recorded."""

import argparse
import time
from dataclasses import asdict
from pathlib import Path

from gv_data.checks.check import Checked, check_scene
from gv_data.errors import DataError, RasterError
from gv_data.rasters.raster import Scene
from gv_data.terminal.console import Console, duration
from gv_models import package
from gv_models.package import Package
from gv_train.hardware import device_of, use_cpu
from gv_train.inference import Windows
from urbanvision.mapping import BuildingMap, map_scene


def predict(values: argparse.Namespace, console: Console) -> int:
    """Map scenes.

    Args:
        values: What the command line says; see `urbanvision.verbs`.
        console: How loud to be.

    Returns:
        0, or 3 when some scenes could not be mapped.

    Raises:
        DataError, ModelError, TrainError: When nothing could be mapped.
    """
    device = device_of(values.device)
    threads = use_cpu(values.threads)
    model = package.load(values.package, device)
    card = model.card
    windows = Windows(
        values.window_px or card.window_px,
        card.overlap_px if values.overlap_px is None else values.overlap_px,
        values.batch_size,
    )
    console.say(
        f"predict    {len(values.scenes)} scenes with {card.run or values.package}, "
        f"{card.gsd_m:.3g} m, on {device.type} ({threads} threads)"
    )
    made: dict[Path, BuildingMap] = {}
    took_s: dict[Path, float] = {}
    failed: dict[Path, str] = {}
    for path in values.scenes:
        started = time.monotonic()
        try:
            if values.check:
                _check(model, path, console, georeference=values.georeference)
            made[path] = map_scene(
                model,
                path,
                values.out,
                windows=windows,
                device=device,
                overwrite=values.overwrite,
                console=console,
            )
        except DataError as error:
            if len(values.scenes) == 1:
                raise
            failed[path] = str(error)
            console.say(f"{path.name} left out: {error}")
        else:
            took_s[path] = round(time.monotonic() - started, 2)
            _tell(path, made[path], took_s[path], console)
    if not made:
        reasons = "\n".join(failed.values())
        raise DataError(f"none of {len(values.scenes)} scenes could be mapped\n{reasons}")
    console.answer(
        {
            "maps": [
                {"scene": str(path), **asdict(found), "seconds": took_s[path]}
                for path, found in made.items()
            ],
            "failed": {str(path): reason for path, reason in failed.items()},
        },
        "\n".join(str(found.parquet) for found in made.values()),
    )
    if failed:
        console.say(f"{len(failed)} of {len(values.scenes)} scenes could not be mapped")
    return 3 if failed else 0


def _check(model: Package, path: Path, console: Console, *, georeference: bool) -> None:
    """Look for what would silently spoil the map.

    Raises:
        RasterError: If the scene cannot be mapped with this package.
    """
    with Scene(path) as scene:
        bands = model.card.bands
        checked: Checked = check_scene(
            scene,
            bands=[band.name for band in bands],
            gsd_m=model.card.gsd_m,
            mean=[band.mean for band in bands],
            std=[band.std for band in bands],
            p01=[band.p01 for band in bands],
            p99=[band.p99 for band in bands],
            georeference=georeference,
        )
    failures = [finding for finding in checked.findings if finding.level == "failure"]
    for finding in checked.findings:
        if finding.level == "warning":
            console.warn(finding.rule, f"{finding.text}\n  {finding.hint}")
    if failures:
        raise RasterError("\n".join(f"{f.text}\n  {f.hint}" for f in failures))


def _tell(path: Path, found: BuildingMap, seconds: float, console: Console) -> None:
    """What became of a scene, in lines for people."""
    sizes = sum(file.stat().st_size for file in (found.probability, found.parquet))
    ground = "" if found.ground_m2 != found.ground_m2 else f" on {found.ground_m2 / 1e4:,.1f} ha"
    area = "" if not ground else f", {found.area_m2 / 1e4:,.2f} ha of roofs"
    console.say(
        f"{path.name}   {found.buildings:,} buildings{ground}{area}   "
        f"{duration(seconds)}, {sizes / 1e6:.1f} MB"
    )
    for file in (found.probability, found.parquet, found.geopackage, found.preview):
        console.say(f"  {file}")
