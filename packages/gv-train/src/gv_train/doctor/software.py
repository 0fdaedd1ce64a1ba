"""Python, uv, the system, and whether the installed packages fit together."""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from gv_train.doctor.finding import Finding, Place

LIBRARIES = ("gv-io", "gv-data", "gv-models", "gv-train", "gv-analysis")
VARIABLES = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
"""They send PROJ and GDAL to the files of another installation."""
LOADER = ("LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH")
"""They put other libraries in the place of those that were installed."""
_OWNERS = {
    "conda": "conda",
    "mamba": "conda",
    "qgis": "QGIS",
    "osgeo4w": "OSGeo4W",
    "postgres": "PostGIS",
}
_OPENMP = re.compile(
    r"^(?:\S*/)?lib(gomp|iomp5|omp)(?:-[0-9a-f]+)?\.(?:so|dylib|dll)[.\d]*,", re.MULTILINE
)


def system(here: Place) -> list[Finding]:
    """Operating system, and what it runs in."""
    text = f"{platform.system()} {platform.release()} {platform.machine()}"
    if release := re.search(r'^PRETTY_NAME="?([^"\n]*)', here.read("etc/os-release"), re.M):
        text += f", {release[1]}"
    if (here.root / ".dockerenv").exists() or re.search(
        "docker|kubepods|containerd", here.read("proc/1/cgroup")
    ):
        text += ", in a container"
    if "microsoft" in here.read("proc/version").lower():
        text += ", in WSL"
    if platform.system() != "Linux":
        return [Finding("note", "system", f"{text}: tests run on Linux only")]
    return [Finding("ok", "system", text)]


def python(here: Place) -> list[Finding]:
    """Python and its environment."""
    text = f"{platform.python_version()} in {here.prefix}"
    if sys.prefix == sys.base_prefix and not (here.prefix / "conda-meta").is_dir():
        fix = "uv venv, then install there: other programs change this one's packages"
        return [Finding("note", "Python", f"{text}, no environment of its own", fix)]
    return [Finding("ok", "Python", text)]


def uv(here: Place) -> list[Finding]:
    """The package manager."""
    try:
        told = here.program(["uv", "--version"], 5)
    except FileNotFoundError:
        fix = "https://docs.astral.sh/uv/getting-started/installation says how to get it"
        return [Finding("note", "uv", "not on the path; the fixes below are written for it", fix)]
    except subprocess.SubprocessError as error:
        return [Finding("warning", "uv", f"does not answer: {error}", "uv self update")]
    where = shutil.which("uv", path=here.env.get("PATH")) or ""
    return [Finding("ok", "uv", f"{told.split()[1]} {where}".rstrip())]


def packages(here: Place) -> list[Finding]:
    """Our packages, and whether what they need is installed in a version that they accept."""
    from packaging.requirements import Requirement

    ours = {dist.metadata["Name"]: dist for dist in _ours(here)}
    found = [
        Finding("ok", "packages", ", ".join(f"{n} {d.version}" for n, d in sorted(ours.items())))
    ]
    for name, dist in sorted(ours.items()):
        for text in dist.requires or []:
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
                continue
            there = _installed(here, wanted.name)
            if there is not None and wanted.specifier.contains(there.version, prereleases=True):
                continue
            has = "is not installed" if there is None else f"is {there.version}"
            found.append(
                Finding(
                    "failure",
                    "packages",
                    f"{name} {dist.version} needs {wanted.name}{wanted.specifier}, which {has}",
                    f'uv sync --all-packages in a checkout, else uv pip install "{name}" '
                    f'"{wanted.name}{wanted.specifier}"',
                )
            )
    return found


def variables(here: Place) -> list[Finding]:
    """Variables by which another program's files get in."""
    found = []
    for name in VARIABLES:
        value = here.env.get(name)
        if value and not Path(value).is_relative_to(here.prefix):
            owner = next((who for key, who in _OWNERS.items() if key in value.lower()), "")
            text = f"{name}={value} lies outside of {here.prefix}"
            text += f", set by {owner} as it seems" if owner else ""
            fix = f"env -u {name} gv-train doctor; if that is right, unset it where it is set"
            found.append(Finding("warning", "variables", text, fix))
    for name in LOADER:
        if value := here.env.get(name):
            text = f"{name}={value}: libraries found there come before those installed"
            found.append(
                Finding("note", "variables", text, f"env -u {name} ... if something fails")
            )
    return found or [Finding("ok", "variables", "none that sends GDAL, PROJ or Python elsewhere")]


def openmp(here: Place) -> list[Finding]:
    """OpenMP runtimes that packages bring: two kinds in one process crash or wait for each other.

    Source of the symptom: https://github.com/pytorch/pytorch/issues/60094.
    """
    brought: dict[str, list[str]] = {}
    for dist in metadata.distributions(path=[*here.site]):
        for kind in sorted(set(_OPENMP.findall(dist.read_text("RECORD") or ""))):
            brought.setdefault(kind, []).append(dist.metadata["Name"])
    text = "; ".join(
        f"lib{kind} from {', '.join(sorted(who))}" for kind, who in sorted(brought.items())
    )
    if len(brought) > 1:
        fix = "install all from one source: only wheels of PyPI, or only conda"
        return [Finding("warning", "OpenMP", f"two kinds: {text}", fix)]
    return [Finding("ok", "OpenMP", text or "no package brings one")]


def _ours(here: Place) -> Iterator[metadata.Distribution]:
    """The libraries of the house, and the apps that are installed."""
    points = metadata.entry_points(group="gv.apps")
    apps = {point.dist.name for point in points if point.dist is not None}
    for name in (*LIBRARIES, *sorted(apps)):
        if there := _installed(here, name):
            yield there


def _installed(here: Place, name: str) -> metadata.Distribution | None:
    return next(iter(metadata.Distribution.discover(name=name, path=[*here.site])), None)
