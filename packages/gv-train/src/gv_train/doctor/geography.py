"""GDAL, PROJ and GEOS, asked in a process of its own: a wrong library ends only that."""

import importlib
import json
import sys
from subprocess import CalledProcessError
from typing import Any

from gv_train.doctor.finding import Finding, Place

LON_LAT = (12.0, 45.0)
WEB_MERCATOR_M = (1335833.890, 5621521.486)
"""The same point in EPSG:3857, by the formulas of a sphere of 6,378,137 m."""
MODULES = {
    "rasterio": ("__gdal_version__", "__proj_version__", "__geos_version__"),
    "pyogrio": ("__gdal_version_string__", None, "__gdal_geos_version__"),
    "pyproj": (None, "__proj_version__", None),
    "shapely": (None, None, "geos_version_string"),
}
"""Where packages that bring these libraries keep the versions of GDAL, PROJ, GEOS."""


def geography(here: Place) -> list[Finding]:
    """Versions of the libraries, and whether they know coordinate systems."""
    try:
        told = json.loads(here.program([sys.executable, "-P", "-m", __name__], 40))
    except CalledProcessError as error:
        reason = (error.stderr or str(error)).strip().splitlines()[-1]
        fix = "uv pip install --reinstall rasterio pyproj shapely pyogrio"
        return [Finding("failure", "GDAL", f"cannot be loaded: {reason}", fix)]
    return judged(told)


def judged(told: dict[str, Any]) -> list[Finding]:
    """Judge what the other process saw.

    Args:
        told: What `seen` gives.
    """
    found = []
    for n, name in enumerate(("GDAL", "PROJ", "GEOS")):
        by = {module: versions[n] for module, versions in told["versions"].items() if versions[n]}
        text = ", ".join(f"{version} in {module}" for module, version in by.items())
        found.append(Finding("ok", name, text or "none found"))
    off_m = None
    if told["point"] is not None:
        off_m = max(abs(a - b) for a, b in zip(told["point"], WEB_MERCATOR_M, strict=True))
    if off_m is None or off_m > 1:
        reason = told["error"] or f"a point is {off_m:,.0f} m off"
        clean = "env -u PROJ_LIB -u PROJ_DATA -u GDAL_DATA"
        fix = f"{clean} gv-train doctor; if that is right, unset them"
        found.append(
            Finding("failure", "PROJ", f"cannot turn EPSG:4326 into EPSG:3857: {reason}", fix)
        )
    return found


def seen() -> dict[str, Any]:
    """Versions by package, and a point in EPSG:3857 as (x, y) in metres or the reason why not."""
    versions = {}
    for name, attributes in MODULES.items():
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        values = [
            getattr(module, attribute, None) if attribute else None for attribute in attributes
        ]
        versions[name] = [_dotted(value) for value in values]
    point, error = None, ""
    try:
        from rasterio.warp import transform

        x, y = transform("EPSG:4326", "EPSG:3857", *([value] for value in LON_LAT))
        point = [x[0], y[0]]
    except Exception as reason:  # whatever it is, it is what the user must know
        error = f"{type(reason).__name__}: {reason}"
    return {"versions": versions, "point": point, "error": error}


def _dotted(version: object) -> str | None:
    """A version as text; some packages keep a tuple."""
    if isinstance(version, tuple):
        return ".".join(map(str, version))
    return None if version is None else str(version)


if __name__ == "__main__":
    print(json.dumps(seen()))
