"""What a run says of itself: ``run.json``, written in one piece, readable at any moment."""

import dataclasses
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from gv_data import atomic
from gv_train.errors import RunError

Status = Literal["running", "finished", "stopped", "failed", "lost"]
"""``lost`` is never written: it is a running run without a process or a heartbeat."""

FILE = "run.json"
SCHEMA = 1
BEAT_S = 20.0
"""Seconds between heartbeats; after three missed ones a run counts as lost."""


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The content of ``run.json``.

    Attributes:
        project: Name of the folder of runs.
        name: Name of the run's own folder.
        created: When the folder was made, ISO 8601 in UTC, as ``started`` and ``heartbeat``.
        status: As written; ``status_now`` tells what it means at present.
        attempt: 0 before the first start, then one more at each resume.
        started: When the present attempt began.
        heartbeat: When the process last said that it lives.
        pid: Process that trains or trained last.
        host: Machine of that process.
        step: Optimizer steps done.
        metrics: The newest values while running, the final ones afterwards.
        next_command: What a person would type next.
        schema: Version of this record.
    """

    project: str
    name: str
    created: str
    status: Status = "running"
    attempt: int = 0
    started: str = ""
    heartbeat: str = ""
    pid: int = 0
    host: str = ""
    step: int = 0
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    next_command: str = ""
    schema: int = SCHEMA

    def alive(self) -> "RunRecord":
        """The same record, said by this process at this moment."""
        return dataclasses.replace(
            self, heartbeat=now(), pid=os.getpid(), host=socket.gethostname()
        )

    @property
    def status_now(self) -> Status:
        """The status, or ``lost`` if the process is gone or was silent for three heartbeats."""
        if self.status != "running":
            return self.status
        silent_s = (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()
        gone = self.host == socket.gethostname() and _is_gone(self.pid)
        return "lost" if gone or silent_s > 3 * BEAT_S else "running"


def read(folder: Path) -> RunRecord:
    """Read a run's record.

    Args:
        folder: Folder of the run.

    Raises:
        RunError: If it is no run, its record is damaged, or a newer version wrote it.
    """
    path = folder / FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if fields["schema"] > SCHEMA:
            raise RunError(
                f"{path} has schema {fields['schema']} but this version reads up to {SCHEMA}: "
                "update gv-train"
            )
        return RunRecord(**fields)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run: it has no {FILE}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it or start another run") from error


def write(folder: Path, record: RunRecord) -> None:
    """Replace a run's record in one step.

    Args:
        folder: Folder of the run.
        record: What to write.
    """
    atomic.write_text(folder / FILE, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def now() -> str:
    """The present time as a record says it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it lives, under another user
        return False
    return False
