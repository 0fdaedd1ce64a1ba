"""A run: one folder that holds all that a training was and became.

``runs/<project>/<date>-<two words>/`` contains

- ``run.json``: status, heartbeat, steps, final metrics and the exact next command;
- ``hparams.yaml``: the whole resolved configuration with seed, versions, commit and command line,
  and a copy for each attempt in ``attempts/<n>/``;
- ``metrics/``, ``logs/``, ``checkpoints/``, ``figures/``, ``package/``;
- ``note.txt``, if a person wrote one.

``runs/<project>/latest`` points to the run started last. A process that trains holds the run's
lock; when it is killed, the system frees the lock, the heartbeat stops, and the run counts as lost
until it is resumed as its next attempt.
"""

import difflib
import os
import re
import secrets
import shutil
import threading
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal, Self

from gv_data import atomic
from gv_data.errors import DataError
from gv_train import run_names, run_note, run_record
from gv_train.errors import RunError
from gv_train.run_lock import RunLock
from gv_train.run_record import Best, RunRecord, Status
from gv_train.run_search import fitting, folders

_FOLDERS = ("attempts", "metrics", "logs", "checkpoints", "figures")
_NAME = re.compile(r"\w[\w.-]*")
_TAKEN = ("latest", "best")


class Run:
    """A run's folder, from ``create`` or ``open``; it trains between ``start`` and ``finish``.

    As a context manager it ends an attempt that was not finished: as stopped after Ctrl-C, else as
    failed. A run that failed before its first attempt never was: its folder is removed.

    Attributes:
        folder: The run's own folder; the others lie in it.
        metrics: Folder of the metric log.
        logs: Folder of warnings and messages.
        checkpoints: Folder of ``best.ckpt`` and ``last.ckpt``.
        figures: Folder of the pictures.
        package: Where the model package goes; it does not exist before there is one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = folder / "metrics"
        self.logs = folder / "logs"
        self.checkpoints = folder / "checkpoints"
        self.figures = folder / "figures"
        self.package = folder / "package"
        self._record = run_record.read(folder)
        self._lock = RunLock(folder)
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"Run({self.project}/{self.name}, {self.status})"

    @property
    def record(self) -> RunRecord:
        """What ``run.json`` holds, read anew unless this process trains the run."""
        return self._record if self._lock.held else run_record.read(self.folder)

    @property
    def project(self) -> str:
        """Name of the folder of runs this one belongs to."""
        return self._record.project

    @property
    def name(self) -> str:
        """Name of the run, unique in its project."""
        return self._record.name

    @property
    def attempt(self) -> int:
        """Number of the present or last attempt; 0 before the first start."""
        return self.record.attempt

    @property
    def status(self) -> Status:
        """Status as of now: ``lost`` if its process was killed."""
        return self.record.status_now

    @property
    def note(self) -> str:
        """What a person wrote about the run; empty if nothing."""
        return run_note.read(self.folder)

    def start(self, config: object, *, seed: int | None = None, argv: Sequence[str] = ()) -> int:
        """Begin the next attempt: lock the run, write ``hparams.yaml``, start the heartbeat.

        Args:
            config: The whole resolved configuration: a dataclass or a mapping.
            seed: Seed of the training.
            argv: Command line; secrets in it are masked.

        Returns:
            The attempt's number, from 1.

        Raises:
            RunError: If another process trains this run.
        """
        from gv_train import hparams  # YAML costs time that looking at runs need not spend

        self._lock.acquire()
        self._record = run_record.read(self.folder)
        attempt = self._record.attempt + 1
        text = hparams.to_yaml(config, seed=seed, argv=argv, attempt=attempt)
        atomic.write_text(self.folder / "attempts" / f"{attempt:04d}" / "hparams.yaml", text)
        atomic.write_text(self.folder / "hparams.yaml", text)
        spent_s = self._record.duration_s
        started = replace(self._record, attempt=attempt, started=run_record.now(), spent_s=spent_s)
        self._write(replace(started, status="running", next_command=""))
        _point_latest(self.folder)
        self._ended.clear()
        self._heart = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)
        self._heart.start()
        return attempt

    def beat(
        self,
        *,
        step: int | None = None,
        epochs: int | None = None,
        metrics: Mapping[str, float] | None = None,
        best: Best | None = None,
    ) -> None:
        """Tell how far the training is; the next heartbeat writes it down.

        Costs microseconds: call it at every step.

        Args:
            step: Optimizer steps done.
            epochs: Epochs begun.
            metrics: Newest values; they are merged with those told before.
            best: The best validation so far.
        """
        with self._writing:
            before = self._record
            self._record = replace(
                before,
                step=before.step if step is None else step,
                epochs=before.epochs if epochs is None else epochs,
                metrics={**before.metrics, **(metrics or {})},
                best=best or before.best,
            )

    def finish(
        self,
        status: Literal["finished", "stopped", "failed"],
        metrics: Mapping[str, float] | None = None,
        *,
        next_command: str = "",
    ) -> None:
        """End the attempt: write the final record and free the lock.

        Args:
            status: How it ended.
            metrics: Final values; None keeps the newest ones told.
            next_command: What a person would type next.
        """
        assert self._lock.held, "only a run that was started can be finished"
        self._ended.set()
        if self._heart is not None:
            self._heart.join()
        final = self._record.metrics if metrics is None else dict(metrics)
        try:
            self._write(
                replace(self._record, status=status, metrics=final, next_command=next_command)
            )
        finally:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None and self._lock.held and self._record.attempt == 0:
            shutil.rmtree(self.folder)
            self._lock.release()
        elif self._lock.held:
            interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
            self.finish("stopped" if interrupted else "failed")

    def _keep_beating(self) -> None:
        while not self._ended.wait(run_record.BEAT_S):
            try:
                self._write(None)
            except (OSError, DataError) as error:  # a full disk here must not end the training
                warnings.warn(f"no heartbeat for {self.folder}: {error}", stacklevel=1)

    def _write(self, record: RunRecord | None) -> None:
        """Write a new record, or the present one again, as said by this process now."""
        with self._writing:
            self._record = (record or self._record).alive()
            run_record.write(self.folder, self._record)


def create(project: str, *, name: str | None = None, root: Path | None = None) -> Run:
    """Make the folder of a new run and lock it.

    Args:
        project: Folder of runs it goes into, a plain name.
        name: Plain name; None draws ``<date>-<two words>``.
        root: Folder of projects; None means ``default_root()``.

    Returns:
        The run, before its first attempt.

    Raises:
        RunError: If a run of this name exists or a name is not plain.

    Examples:
        >>> import tempfile
        >>> with create("roofs", name="first", root=Path(tempfile.mkdtemp())) as run:
        ...     attempt = run.start({"epochs": 3}, seed=1)
        ...     run.finish("finished", {"val_iou": 0.8})
        >>> run
        Run(roofs/first, finished)
    """
    for word in [project] if name is None else [project, name]:
        if _NAME.fullmatch(word) is None or word in _TAKEN:
            raise RunError(f"{word!r} cannot name a run or project: use letters, digits, - _ and .")
    home = (root or default_root()) / project
    home.mkdir(parents=True, exist_ok=True)
    folder = _claim(home, name)
    for part in _FOLDERS:
        (folder / part).mkdir()
    run_record.write(folder, RunRecord(project, folder.name, run_record.now()).alive())
    run = Run(folder)
    run._lock.acquire()
    return run


def delete_if_there(project: str, name: str, *, root: Path | None = None) -> bool:
    """Delete the run of a name, if there is one and no process trains it.

    Args:
        project: Its project.
        name: Its whole name.
        root: Folder of projects; None means ``default_root()``.

    Returns:
        Whether there was one.

    Raises:
        RunError: If the folder is no run of ours, or a process trains it.
    """
    folder = (root or default_root()) / project / name
    if _NAME.fullmatch(name) is None or not folder.exists():
        return False
    delete(Run(folder))
    return True


def delete(run: Run) -> None:
    """Delete the folder of a run that no process trains, and ``latest`` if it pointed there.

    Raises:
        RunError: If a process trains it, or the folder cannot be deleted.
    """
    if run.status == "running" and not run.record.is_here:
        raise RunError(f"{run.folder} is being trained on {run.record.host}: stop it there first")
    run._lock.acquire()
    doomed = run.folder.with_name(f".{run.folder.name}.{secrets.token_hex(4)}.deleted")
    try:
        run.folder.rename(doomed)  # at once: nobody finds half a run
        latest = run.folder.parent / "latest"
        if latest.is_symlink() and not latest.exists():
            latest.unlink()
        shutil.rmtree(doomed)
    except OSError as error:
        left = f"; what is left of it is in {doomed}" if doomed.exists() else ""
        raise RunError(f"{run.folder} cannot be deleted: {error}{left}") from error
    finally:
        run._lock.release()


def delete_checkpoints(run: Run) -> None:
    """Delete the checkpoints of a finished run; its package stays.

    Raises:
        RunError: If it is not finished, or a file cannot be deleted.
    """
    run._lock.acquire()
    try:
        if (status := run_record.read(run.folder).status) != "finished":
            raise RunError(f"{run.folder} is {status}: it goes on from its checkpoints")
        for file in run.checkpoints.iterdir():
            file.unlink()
    except OSError as error:
        raise RunError(f"{run.checkpoints} cannot be emptied: {error}") from error
    finally:
        run._lock.release()


def open(reference: str | Path, *, project: str | None = None, root: Path | None = None) -> Run:
    """Find a run that exists.

    Args:
        reference: A path; ``latest``; ``best``, by the value that says which weights are best; a
            name; the beginning of a name or of its words; the last four also behind ``project/``.
        project: Project to look in; None looks in all.
        root: Folder of projects; None means ``default_root()``.

    Returns:
        The run, not locked.

    Raises:
        RunError: If no run or more than one fits, or a newer version wrote it.
    """
    if (Path(reference) / run_record.FILE).is_file():
        return Run(Path(reference).resolve())
    root = root or default_root()
    parent, _, wanted = str(reference).rstrip("/").rpartition("/")
    project = project or parent or "*"
    known = find(project, root=root)
    match [run for run in known if run.name == wanted] or fitting(known, wanted):
        case [run]:
            return run
        case []:
            near = difflib.get_close_matches(wanted, [run.name for run in known], n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"there are {len(known)} runs"
            raise RunError(f"no run {wanted} in {root / project}: {hint}")
        case several:
            names = ", ".join(f"{run.project}/{run.name}" for run in several[:5])
            raise RunError(f"{wanted} fits {len(several)} runs ({names}): write more of the name")


def find(project: str = "*", *, root: Path | None = None) -> list[Run]:
    """All runs of a project, or of all projects, the newest first.

    Args:
        project: Name of the project; ``*`` means all.
        root: Folder of projects; None means ``default_root()``.
    """
    found: list[Run] = []
    for folder in folders(root or default_root(), project):
        try:
            found.append(Run(folder))
        except RunError as error:  # one damaged run must not hide the others
            warnings.warn(str(error), stacklevel=2)
    return sorted(found, key=lambda run: run._record.created, reverse=True)


def default_root() -> Path:
    """Folder of projects: ``$GEOVISION_RUNS``, else ``runs`` in the working directory."""
    return Path(os.environ.get("GEOVISION_RUNS") or "runs")


def _claim(home: Path, name: str | None) -> Path:
    """Make a folder nobody else has: ``mkdir`` decides between processes that start at once."""
    while True:
        folder = home / (name or f"{datetime.now().astimezone():%Y-%m-%d}-{run_names.draw()}")
        try:
            folder.mkdir()
        except FileExistsError:
            if name is not None:
                raise RunError(
                    f"{folder} exists already: go on with it (--resume {name}) "
                    "or choose another name (--run NAME)"
                ) from None
        else:
            return folder


def _point_latest(folder: Path) -> None:
    """Replace ``latest`` in one step: a reader never finds it missing."""
    link = folder.parent / f".latest.{os.getpid()}.{secrets.token_hex(4)}.part"
    link.symlink_to(folder.name)
    link.replace(folder.parent / "latest")
