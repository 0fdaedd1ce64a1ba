"""A process beside ours for calls that nothing can interrupt, such as a copy inside GDAL.

Ctrl-C and SIGTERM reach Python only between its instructions, which may be a minute later. Here the
work is done next door, one call at a time; when we stop, that process is killed at once.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Self

from gv_data.errors import DataError

BEAT_S = 0.25
"""How often the waiting side looks up."""


class Worker:
    """Does calls in a process of its own; use it in a ``with`` block.

    A process that dies (a crash inside a library, the system out of memory) costs one call: the
    next one gets a new process.
    """

    def __init__(self) -> None:
        """Nothing is started before the first call."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None

    def call[**P, T](
        self, beat: Callable[[], None], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Do a call and wait for it.

        Args:
            beat: Called while it goes on, some times a second.
            work: A function of a module.
            *args: What it gets; all of it travels between the processes.
            **kwargs: The same by name.

        Returns:
            What it returns.

        Raises:
            DataError: If the process dies.
            Exception: What the call raises.
        """
        connection = self._started()
        try:
            connection.send((work, args, kwargs))
            while not connection.poll(BEAT_S):
                beat()
            answer, error = connection.recv()
        except (EOFError, OSError) as error:
            process, self._process = self._process, None
            code = None
            if process is not None:
                process.join()
                code = process.exitcode
            raise DataError(f"the process that worked on it died (exit code {code})") from error
        if error is not None:
            raise error
        return answer

    def _started(self) -> Connection:
        if self._process is None or self._connection is None:
            # not forked: a fork of a process with threads, such as a progress bar's, may hang
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()  # else its end would never be noticed
        return self._connection

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None


def _serve(connection: Connection) -> None:
    """Work until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the other side decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            work, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = work(*args, **kwargs), None
        except Exception as error:  # whatever it is, the other side raises it
            error.add_note(traceback.format_exc())  # the trace itself does not travel
            answer = None, error
        connection.send(answer)


def _end_with_parent() -> None:
    """Leave nobody behind who works for a process that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
