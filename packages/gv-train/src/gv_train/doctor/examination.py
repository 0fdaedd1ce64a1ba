"""All probes side by side, each within its time."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from gv_data.terminal.console import Console
from gv_train.doctor import accelerators, disks, geography, machine, reach, software
from gv_train.doctor.finding import Finding, Place, Probe
from gv_train.redaction import redact

_DISK = "a disk on another machine does not answer"

PROBES = (
    Probe("system", software.system),
    Probe("Python", software.python),
    Probe("uv", software.uv),
    Probe("packages", software.packages, 20),
    Probe("torch", accelerators.gpus, 120, "a driver hangs: restart the machine"),
    Probe("GDAL", geography.geography, 60, "a library cannot be loaded in time: try once more"),
    Probe("variables", software.variables),
    Probe("OpenMP", software.openmp, 30),
    Probe("cores", machine.cores),
    Probe("memory", machine.memory),
    Probe("/dev/shm", machine.shared_memory),
    Probe("open files", machine.open_files),
    Probe("runs", disks.runs_disk, 10, _DISK),
    Probe("cache", disks.cache_disk, 10, _DISK),
    Probe("S3", reach.s3_credentials, 10, _DISK),
    Probe("SSH", reach.ssh_credentials, 10, _DISK),
)
NETWORK = Probe("network", reach.network, 60, "no server answers: is there a network?")


def examine(
    here: Place, probes: Sequence[Probe] = PROBES, console: Console | None = None
) -> list[Finding]:
    """Look at everything.

    A probe that raises or hangs is a finding; the others go on.

    Args:
        here: Where to look.
        probes: What to look at.
        console: How loud to be.

    Returns:
        The findings in the order of the probes, without secrets.
    """
    started = time.monotonic()
    waiting = [(probe, _begin(probe, here)) for probe in probes]
    found: list[Finding] = []
    console = console or Console(quiet=True)
    for probe, wait in console.track(waiting, "examining", unit="subjects"):
        found += wait(max(0.0, started + probe.limit_s - time.monotonic()))
    return [replace(one, text=redact(one.text)) for one in found]


def _begin(probe: Probe, here: Place) -> Callable[[float], Sequence[Finding]]:
    """Start a probe in a thread of its own; give what waits for it so many seconds."""
    found: list[Sequence[Finding]] = []

    def look() -> None:
        try:
            found.append(probe.look(here))
        except Exception as error:  # a probe that breaks must not hide the others
            reason = (str(error).strip() or "no reason given").splitlines()[0]
            text = f"could not be looked at: {type(error).__name__}: {reason}"
            found.append([Finding("warning", probe.subject, text, "please report this")])

    # A daemon: a probe that hangs in the system, where nothing ends it, must not keep the command.
    thread = threading.Thread(target=look, name=f"probe of {probe.subject}", daemon=True)
    thread.start()

    def wait(seconds: float) -> Sequence[Finding]:
        thread.join(seconds)
        if found:
            return found[0]
        text = f"no answer within {probe.limit_s:g} s"
        return [Finding("warning", probe.subject, text, probe.when_it_hangs)]

    return wait
