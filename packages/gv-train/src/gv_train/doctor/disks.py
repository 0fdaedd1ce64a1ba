"""Where runs and the cache lie: space, kind of file system, whether they can be written."""

import os
import re
import shutil
from pathlib import Path

from gv_data.terminal.wording import volume
from gv_train.doctor.finding import Finding, Level, Place

LITTLE = 5e9
"""Two checkpoints, a package and the metrics of a large network, twice."""
NEARLY_NONE = 2e8
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "9p", "lustre", "ceph", "gpfs", "beegfs", "afs", "sshfs")
"""Kinds of file systems that are on another machine; those of FUSE mostly are."""


def runs_disk(here: Place) -> list[Finding]:
    """The disk under the folder of projects."""
    return [_disk(here, "runs", here.runs, "GEOVISION_RUNS")]


def cache_disk(here: Place) -> list[Finding]:
    """The disk under the cache."""
    return [_disk(here, "cache", here.cache, "GEOVISION_CACHE")]


def file_system(mounts: str, folder: Path) -> str:
    """The kind of file system that holds a folder.

    Args:
        mounts: Content of ``/proc/self/mountinfo``.
        folder: An absolute path.

    Returns:
        For example ``ext4``; empty if unknown.
    """
    kind, longest = "", -1
    for line in mounts.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split()
        if not dash or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        if folder.is_relative_to(point) and len(point.parts) >= longest:  # the last one covers
            kind, longest = after.split()[0], len(point.parts)
    return kind


def _disk(here: Place, name: str, folder: Path, variable: str) -> Finding:
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    kind = file_system(here.read("proc/self/mountinfo"), there.resolve())
    free = shutil.disk_usage(there).free
    text = f"{_short(folder, here.home)}: {volume(free)} free" + (f", {kind}" if kind else "")
    elsewhere = f"export {variable}=/a/local/disk"
    if not os.access(there, os.W_OK):
        level: Level = "failure" if name == "runs" else "warning"
        return Finding(level, name, f"{text}; {there} cannot be written", elsewhere)
    if free < NEARLY_NONE and name == "runs":
        return Finding("failure", name, text, f"free the disk (gv-train size), or {elsewhere}")
    if free < LITTLE:
        tool = "gv-train size" if name == "runs" else "gv-data cache"
        return Finding("warning", name, text, f"{tool} shows what takes it; or {elsewhere}")
    if kind in REMOTE or kind.startswith("fuse."):
        text += ", on another machine: many small writes are slow, locks may not hold"
        return Finding("warning", name, text, elsewhere)
    if kind == "overlay":
        text += ", inside the container: it goes with it"
        return Finding("warning", name, text, f"mount a volume, and export {variable}=/volume")
    if kind in ("tmpfs", "ramfs"):
        text += ", in memory: it is gone after a restart"
        return Finding("warning", name, text, elsewhere)
    return Finding("ok", name, text)


def _short(path: Path, home: Path) -> Path:
    """The path with ``~`` for the home, so that a report names nobody."""
    return Path("~") / path.relative_to(home) if path.is_relative_to(home) else path
