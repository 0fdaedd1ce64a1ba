"""One process trains a run: a lock on ``run.lock`` that a killed process gives back.

``flock`` on a file that is never replaced; POSIX locks would vanish when any descriptor of the file
closes. The system frees the lock with the process, so nothing has to be cleaned up after a kill.
"""

import fcntl
import os
import socket
from pathlib import Path

from gv_train.errors import RunError
from gv_train.run_record import now


class RunLock:
    """The lock of one run, free at first.

    Attributes:
        file: The locked file; it says who holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "run.lock"
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds the lock through this object."""
        return self._descriptor is not None

    def acquire(self) -> None:
        """Take the lock; nothing happens if it is held already.

        Raises:
            RunError: If another process holds it; says which.
        """
        if self.held:
            return
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 1000, 0).decode()
            os.close(descriptor)
            raise RunError(
                f"{self.file.parent} is being trained {holder}: "
                "wait for it, stop it, or start another run (--run NAME)"
            ) from None
        who = f"by process {os.getpid()} on {socket.gethostname()} since {now()}"
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, who.encode(), 0)
        self._descriptor = descriptor
        _held.add(descriptor)

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._descriptor is not None:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None


_held: set[int] = set()


def _forget() -> None:
    """Close the locks in a forked child: a data worker outlives a killed parent by seconds."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
