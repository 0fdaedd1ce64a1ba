"""Cores, memory, shared memory and open files, as the container may use them."""

import math
import re
import shutil
from pathlib import Path

from gv_data.terminal.wording import volume
from gv_train.doctor.finding import Finding, Place

FEW_FILES = 1024
"""Rasters, tables and workers of a training hold some hundreds of files open."""
LITTLE_MEMORY = 2e9
LITTLE_SHARED = 1e9
"""Batches of a few workers; containers have 64 MB unless told otherwise."""
_UNLIMITED = 2**60
"""Version 1 of cgroups says so by a number of about 2 ** 63."""


def cores(here: Place) -> list[Finding]:
    """Cores of the machine, of the process, and of its container."""
    machine = len(re.findall(r"^processor\s*:", here.read("proc/cpuinfo"), re.MULTILINE))
    allowed = _listed(_entry(here.read("proc/self/status"), "Cpus_allowed_list")) or machine
    share = cpu_limit(here)
    usable = allowed if share is None else min(allowed, max(1, math.ceil(share)))
    named = here.env.get("OMP_NUM_THREADS", "")
    threads = int(named) if named.isdigit() and named != "0" else None
    text = f"{usable} of {machine}" if usable < machine else f"{machine}"
    if share is not None and share < allowed:
        text += f", the container's limit is {share:g}"
    if (threads or allowed) > usable:
        started = f"OMP_NUM_THREADS is {threads}" if threads else f"{allowed} threads are started"
        return [
            Finding(
                "warning",
                "cores",
                f"{text}, but {started}: they wait for each other",
                f"export OMP_NUM_THREADS={usable}",
            )
        ]
    if threads is not None and threads < usable:
        text += f", of which OMP_NUM_THREADS lets {threads} compute"
        return [Finding("note", "cores", text, "unset OMP_NUM_THREADS, if nothing else needs it")]
    return [Finding("ok", "cores", text)]


def cpu_limit(here: Place) -> float | None:
    """Cores that the control groups of this process grant; None: all."""
    limits = []
    for text in _control_files(here, "cpu.max"):
        quota, _, period = text.partition(" ")
        if quota != "max":
            limits.append(int(quota) / int(period))
    quotas = _control_files(here, "cpu.cfs_quota_us", "cpu")
    periods = _control_files(here, "cpu.cfs_period_us", "cpu")
    limits += [int(q) / int(p) for q, p in zip(quotas, periods, strict=False) if int(q) > 0]
    return min(limits, default=None)


def memory(here: Place) -> list[Finding]:
    """Main memory that there is and that is free."""
    told = here.read("proc/meminfo")
    total, free = (_kilobytes(_entry(told, name)) for name in ("MemTotal", "MemAvailable"))
    text = f"{volume(total)}, {volume(free)} free"
    limit, used = memory_limit(here)
    if limit is not None and limit < total:
        free = min(free, max(0, limit - used))
        text = f"{volume(limit)} for this container of {volume(total)}, {volume(free)} free"
    if free < LITTLE_MEMORY:
        fix = "stop what else runs, or take smaller batches: --trainer.batch-size"
        return [Finding("warning", "memory", text, fix)]
    return [Finding("ok", "memory", text)]


def memory_limit(here: Place) -> tuple[int | None, int]:
    """Bytes that the control groups of this process grant (None: all), and those in use there."""
    limits = [int(text) for text in _control_files(here, "memory.max") if text != "max"]
    used = _control_files(here, "memory.current")
    if not used:
        limits = [int(t) for t in _control_files(here, "memory.limit_in_bytes", "memory")]
        used = _control_files(here, "memory.usage_in_bytes", "memory")
    limits = [limit for limit in limits if limit < _UNLIMITED]
    return min(limits, default=None), int(used[0]) if used else 0


def shared_memory(here: Place) -> list[Finding]:
    """What workers have to hand batches over."""
    folder = here.root / "dev/shm"
    if not folder.is_dir():
        return [Finding("note", "/dev/shm", "not there", "--trainer.workers 0 needs none")]
    usage = shutil.disk_usage(folder)
    text = f"{volume(usage.total)}, {volume(usage.free)} free"
    if usage.free < LITTLE_SHARED:
        fix = "docker run --shm-size=8g ..., or --trainer.workers 0"
        return [
            Finding("warning", "/dev/shm", f"{text}: workers that hand over batches crash", fix)
        ]
    return [Finding("ok", "/dev/shm", text)]


def open_files(here: Place) -> list[Finding]:
    """How many files a process may hold open."""
    found = re.search(r"^Max open files\s+(\S+)\s+(\S+)", here.read("proc/self/limits"), re.M)
    if found is None:
        return [Finding("note", "open files", "the limit is not told")]
    soft, hard = found.groups()
    text = f"{soft} at once" + (f" (may be raised to {hard})" if soft != hard else "")
    if soft.isdigit() and int(soft) < FEW_FILES:
        return [Finding("warning", "open files", text, f"ulimit -n {_raised(hard)}")]
    return [Finding("ok", "open files", text)]


def _raised(hard: str) -> int:
    return min(int(hard), 4 * FEW_FILES) if hard.isdigit() else 4 * FEW_FILES


def _control_files(here: Place, name: str, controller: str = "") -> list[str]:
    """A file of each control group that this process is in, from its own up to the root.

    Args:
        here: Where to look.
        name: Name of the file.
        controller: Of version 1 of control groups, which has a tree for each; empty: version 2.
    """
    base = here.root / "sys/fs/cgroup" / controller
    own = Path()
    for line in here.read("proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = Path(path.lstrip("/"))
    found = []
    for group in (own, *own.parents):
        # A container sees its own group as the root, whatever the path of the host is.
        text = here.read(str((base / group / name).relative_to(here.root))).strip()
        if text:
            found.append(text)
    return found


def _entry(text: str, name: str) -> str:
    """The value of a line ``name: value``."""
    found = re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)
    return found[1] if found else ""


def _kilobytes(text: str) -> int:
    return 1024 * int(text.split()[0]) if text else 0


def _listed(ranges: str) -> int:
    """How many numbers a list such as ``0-3,8`` has."""
    count = 0
    for part in filter(None, ranges.split(",")):
        low, _, high = part.partition("-")
        count += int(high or low) - int(low) + 1
    return count
