"""From a scene to a map: probability raster, building polygons and a picture to look at.

Everything streams: windows in, blended rows out, polygons as soon as they are complete. The files
of a scene appear at the end, or none does.
"""

import secrets
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import shapely
import torch

from gv_data.atomic import owner, sweep
from gv_data.errors import RasterError
from gv_data.grid import Grid
from gv_data.rasters.cog import CogWriter, writing_cog
from gv_data.rasters.raster import Scene
from gv_data.rasters.tiling import Tiling
from gv_data.terminal.console import Console
from gv_data.vectors import vector
from gv_data.vectors.geodesy import area_m2
from gv_data.vectors.instances import Instances, Splitting, Strip, instances
from gv_models.package import Package
from gv_train.inference import Rows, Windows, ahead, probabilities
from urbanvision.map_files import targets
from urbanvision.preview import Preview

HEADS = ("interior", "edge")
SCHEMA = pa.schema([("id", pa.int64()), ("confidence", pa.float64()), ("area_m2", pa.float64())])
SIMPLIFY_PX = 1.0
MIN_AREA_M2 = 4.0
"""Smaller outlines are noise: half a garden shed."""


@dataclass(frozen=True)
class BuildingMap:
    """The files made of one scene, and what they hold.

    Attributes:
        probability: Cloud Optimized GeoTIFF, 0..200 in steps of half a percent, 255 no image.
        parquet: Outlines as GeoParquet, in the scene's CRS.
        geopackage: The same as a GeoPackage.
        preview: Picture of the scene with the outlines.
        buildings: Number of outlines.
        area_m2: Their ground area, geodesic; NaN without georeference.
        ground_m2: Ground area of the scene; NaN without georeference.
    """

    probability: Path
    parquet: Path
    geopackage: Path
    preview: Path
    buildings: int
    area_m2: float
    ground_m2: float


def map_scene(
    package: Package,
    path: Path,
    out: Path,
    *,
    windows: Windows | None = None,
    device: torch.device | None = None,
    overwrite: bool = False,
    console: Console | None = None,
) -> BuildingMap:
    """Map the buildings of one scene.

    Args:
        package: The model.
        path: The scene.
        out: Folder for the files, made if missing.
        windows: How the scene is cut up; None: as the package says.
        device: Where the model is.
        overwrite: Whether files of an earlier map may be replaced.
        console: Shows the progress.

    Returns:
        The files and what they hold.

    Raises:
        DataError: If the scene cannot be read or the disk is full; nothing is left then.
        FileExistsError: If a file exists and may not be replaced.
    """
    console = console or Console(quiet=True)
    files = targets(path, out)
    for file in files.values():
        if file.exists() and not overwrite:
            raise FileExistsError(f"{file} exists already\n  try: --overwrite or another --out")
    with staging(out) as stage:
        count, area, ground = _map(package, path, stage, windows, device, console)
        _move(targets(path, stage), files, overwrite=overwrite)
    return BuildingMap(
        probability=files["probability"],
        parquet=files["parquet"],
        geopackage=files["geopackage"],
        preview=files["preview"],
        buildings=count,
        area_m2=area,
        ground_m2=ground,
    )


def _move(made: dict[str, Path], files: dict[str, Path], *, overwrite: bool) -> None:
    """Give the files their names; if one cannot have it, a new map has none."""
    moved: list[Path] = []
    try:
        for kind, file in made.items():
            file.replace(files[kind])
            moved.append(files[kind])
    except OSError:
        if not overwrite:
            for file in moved:
                file.unlink()
        raise


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """A folder inside ``out`` that is gone afterwards, also after a kill and another start."""
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)
    stage = out / f".map.{owner()}.{secrets.token_hex(4)}.part"
    stage.mkdir()
    try:
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _map(
    package: Package,
    path: Path,
    out: Path,
    windows: Windows | None,
    device: torch.device | None,
    console: Console,
) -> tuple[int, float, float]:
    """Make all files in ``out``; number and area of the buildings, and area of the ground."""
    windows = windows or Windows(package.card.window_px, package.card.overlap_px)
    files = targets(path, out)
    with Scene(path) as scene, ExitStack() as stack:
        georeferenced = scene.grid.crs is not None
        grid = scene.grid.at_gsd(package.card.gsd_m if georeferenced else None)
        tags = {"scale": "probability = value / 200", "model": package.card.run or "unnamed"}
        cog = stack.enter_context(
            writing_cog(
                files["probability"],
                grid,
                bands=["building probability"],
                nodata=255,
                tags=tags,
            )
        )
        sinks = [
            stack.enter_context(vector.writing(files[kind], crs=grid.crs, schema=SCHEMA))
            for kind in ("parquet", "geopackage")
        ]
        tiling = Tiling(grid.shape_hw, windows.window_px, windows.overlap_px)
        meter = stack.enter_context(
            console.working(f"mapping {path.name}", total=len(tiling), unit="windows")
        )
        rows = probabilities(
            package,
            scene,
            grid,
            heads=HEADS,
            bands=_bands(package, scene),
            windows=windows,
            device=device,
            meter=meter,
        )
        # outlines are found and drawn while the network goes on
        preview = stack.enter_context(ThreadPoolExecutor(1)).submit(Preview, path)
        mapped = stack.enter_context(closing(ahead(rows, depth=3)))
        count, area = 0, 0.0
        for found in instances(_strips(mapped, cog), splitting_at(grid, package.card.threshold)):
            frame = frame_of(found, grid, first_id=count + 1)
            count, area = count + len(frame), area + float(frame["area_m2"].sum())
            for sink in (*sinks, preview.result()):
                sink.append(frame)
    if grid.crs is None:
        area = np.nan
    ground = float(area_m2([shapely.box(*grid.bounds)], grid.crs)[0]) if grid.crs else np.nan
    preview.result().save(files["preview"])
    return count, area, ground


def _bands(package: Package, scene: Scene) -> list[str] | None:
    """The package's bands by name; by position where the scene does not name them all."""
    wanted = [band.name for band in package.card.bands]
    if len(scene.bands) < len(wanted):
        raise RasterError(
            f"{scene.path.name} has {len(scene.bands)} band{'s' * (len(scene.bands) > 1)}, "
            f"the model wants {len(wanted)}: {', '.join(wanted)}"
        )
    return wanted if set(wanted) <= set(scene.bands) else list(scene.bands[: len(wanted)])


def _strips(rows: Iterator[Rows], cog: CogWriter) -> Iterator[Strip]:
    """Write the rows as they pass."""
    for strip in rows:
        cog.write(strip.heads["interior"][None], strip.first)
        yield strip.heads["interior"], strip.heads["edge"]


def splitting_at(grid: Grid, threshold: float) -> Splitting:
    """How pixels become outlines at this ground sampling distance."""
    smallest = 1 if grid.crs is None else max(1, round(MIN_AREA_M2 / grid.gsd_m**2))
    return Splitting(threshold=threshold, simplify_px=SIMPLIFY_PX, min_px=smallest)


def _largest(polygon: shapely.Polygon) -> shapely.Polygon:
    """The largest valid part."""
    whole = shapely.make_valid(polygon, method="structure", keep_collapsed=False)
    return max(shapely.get_parts(whole), key=shapely.area)


def frame_of(found: Instances, grid: Grid, *, first_id: int) -> gpd.GeoDataFrame:
    """Outlines in the scene's CRS with their attributes."""
    t = grid.transform
    polygons = shapely.transform(
        found.polygons, lambda xy: np.column_stack([t.a * xy[:, 0] + t.c, t.e * xy[:, 1] + t.f])
    )
    touching = ~shapely.is_valid(polygons)  # rounded, a corner on a side may lie beyond it
    polygons[touching] = [_largest(polygon) for polygon in polygons[touching]]
    areas = np.full(len(found), np.nan) if grid.crs is None else area_m2(polygons, grid.crs)
    return gpd.GeoDataFrame(
        {
            "id": np.arange(first_id, first_id + len(found)),
            "confidence": np.round(found.confidence, 3),
            "area_m2": np.round(areas, 2),
        },
        geometry=polygons,
        crs=grid.crs,
    )
