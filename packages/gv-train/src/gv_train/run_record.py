"""What a run says of itself: ``run.json``, written in one piece, readable at any moment."""

import dataclasses
import json
import os
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from gv_data import atomic
from gv_train.errors import RunError

Status = Literal["running", "finished", "stopped", "failed", "lost"]
"""``lost`` is never written: it is a running run without a process or a heartbeat."""

FILE = "run.json"
SCHEMA = 2
"""Raised when an older version could not read what is written; version 1 knew no other field than
its own. Since 2 a reader passes over fields that it does not know, so that new ones raise nothing.
"""
BEAT_S = 20.0
"""Seconds between heartbeats; after three missed ones a run counts as lost."""


@dataclasses.dataclass(frozen=True)
class Best:
    """How good the best weights of a run are.

    Attributes:
        monitor: Name of the validation value that says so.
        value: Its value.
        step: Optimizer steps that had been done.
        mode: Whether greater or smaller values are better.
    """

    monitor: str
    value: float
    step: int
    mode: Literal["max", "min"] = "max"


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
        epochs: Epochs begun; the last one may be unfinished.
        best: The best validation so far, over all attempts; None before the first.
        spent_s: Seconds that the attempts before this one took.
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
    epochs: int = 0
    best: Best | None = None
    spent_s: float = 0.0
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    next_command: str = ""
    schema: int = SCHEMA

    def alive(self) -> "RunRecord":
        """The same record, said by this process at this moment."""
        return dataclasses.replace(
            self, heartbeat=now(), pid=os.getpid(), host=socket.gethostname()
        )

    @property
    def is_here(self) -> bool:
        """Whether its process is or was on this machine."""
        return self.host == socket.gethostname()

    @property
    def status_now(self) -> Status:
        """The status, or ``lost`` if the process is gone or was silent for three heartbeats."""
        if self.status != "running":
            return self.status
        silent_s = _seconds(self.heartbeat, now())
        gone = self.is_here and _is_gone(self.pid)
        return "lost" if gone or silent_s > 3 * BEAT_S else "running"

    @property
    def duration_s(self) -> float:
        """Seconds of all attempts, the present one up to its last heartbeat."""
        if not self.started:
            return self.spent_s
        return self.spent_s + max(0.0, _seconds(self.started, self.heartbeat))

    @property
    def last_start(self) -> str:
        """When the last attempt began, or the folder was made if there was none."""
        return self.started or self.created


_FIELDS = frozenset(field.name for field in dataclasses.fields(RunRecord))
_OF_BEST = frozenset(field.name for field in dataclasses.fields(Best))


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
        return _record(fields)
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{folder} is not a run: it has no {FILE}") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is damaged ({error}): restore it or start another run") from error


def write(folder: Path, record: RunRecord) -> None:
    """Replace a run's record in one step.

    Args:
        folder: Folder of the run.
        record: What to write.
    """
    atomic.write_text(folder / FILE, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def _record(fields: Mapping[str, Any]) -> RunRecord:
    """Make a record of what was read, checked as far as others compute with it."""
    known = {name: value for name, value in fields.items() if name in _FIELDS}
    if known.get("best") is not None:
        of_best = {name: value for name, value in known["best"].items() if name in _OF_BEST}
        known["best"] = Best(**of_best)
    # What version 1 wrote is version 2 once it is written again.
    record = dataclasses.replace(RunRecord(**known), schema=SCHEMA)
    if record.status not in get_args(Status):
        raise ValueError(f"status {record.status!r}")
    for time in (record.created, record.heartbeat, record.started or record.created):
        if datetime.fromisoformat(time).tzinfo is None:
            raise ValueError(f"time {time!r} without a time zone")
    return record


def _seconds(earlier: str, later: str) -> float:
    """Seconds from one moment, as a record says it, to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


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
