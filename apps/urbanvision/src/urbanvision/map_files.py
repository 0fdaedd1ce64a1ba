"""The files of a map, known before anything heavy is imported: a command can refuse at once."""

from collections.abc import Sequence
from pathlib import Path

from gv_data.errors import DataError


def targets(scene: Path, out: Path) -> dict[str, Path]:
    """The files that mapping a scene makes."""
    return {
        "probability": out / f"{scene.stem}.probability.tif",
        "parquet": out / f"{scene.stem}.buildings.parquet",
        "geopackage": out / f"{scene.stem}.buildings.gpkg",
        "preview": out / f"{scene.stem}.preview.png",
    }


def wanted(scenes: Sequence[Path], out: Path, *, overwrite: bool) -> list[Path]:
    """The scenes to map, each once.

    Args:
        scenes: Images, as named by the user.
        out: Folder for the maps.
        overwrite: Whether earlier maps may be replaced.

    Raises:
        DataError: If one is missing, a map is there already, or two would share a name.
    """
    once = list(dict.fromkeys(scenes))
    stems = [path.stem for path in once]
    for path in once:
        if not path.exists():
            raise DataError(f"{path} is not there")
        if stems.count(path.stem) > 1:
            raise DataError(
                f"several scenes are called {path.stem}: their maps would share a name\n"
                "  try: one --out folder each"
            )
        taken = [file for file in targets(path, out).values() if file.exists()]
        if taken and not overwrite:
            raise DataError(f"{taken[0]} exists already\n  try: --overwrite, or another --out")
    return once
