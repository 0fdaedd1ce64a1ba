"""Where warnings come from inside a process: Python, loggers, threads; they are led to a file."""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, override

from gv_data.terminal.console import standard_error, write
from gv_train.redaction import redact
from gv_train.warning_lines import Lines


def write_warnings(lines: Lines) -> None:
    """Lead Python's warnings to a file, and those of numpy and torch, which become Python's.

    To be undone by ``warnings.catch_warnings``. Filters keep their word; what they say nothing of
    is written each time, not once a place.

    Args:
        lines: The file.
    """
    before = warnings.showwarning

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if file is not None or lines.closed:
            before(message, category, filename, lineno, file, line)
        else:
            lines.add(logging.WARNING, category.__name__, f"{filename}:{lineno}", str(message))

    warnings.simplefilter("always", append=True)
    warnings.showwarning = show


class ToLines(logging.Handler):
    """Writes records to a file; what comes below INFO is for developers."""

    def __init__(self, lines: Lines) -> None:
        super().__init__(logging.INFO)
        self._lines = lines

    @override
    def emit(self, record: logging.LogRecord) -> None:
        try:
            place = f"{record.pathname}:{record.lineno}"
            self._lines.add(record.levelno, record.name, place, self.format(record))
        except Exception:  # as logging's own handlers do: it tells on standard error
            self.handleError(record)


@contextmanager
def writing_records(handler: ToLines) -> Iterator[None]:
    """Put the handlers that print aside for one that writes; others, such as files, stay.

    Args:
        handler: The one that writes.
    """
    known = list(logging.root.manager.loggerDict.values())
    before: list[tuple[logging.Logger, list[logging.Handler]]] = []
    gdal = logging.getLogger("rasterio._env")
    level = gdal.level
    try:
        for logger in [logging.root, *(one for one in known if isinstance(one, logging.Logger))]:
            stay = [one for one in logger.handlers if not _prints(one)]
            ends = logger is logging.root or not logger.propagate
            if len(stay) < len(logger.handlers) or logger is logging.root:
                before.append((logger, logger.handlers[:]))
                logger.handlers[:] = [*stay, handler] if ends else stay
        if level == logging.NOTSET:  # rasterio tells errors that it raises later, or never, as INFO
            gdal.setLevel(logging.INFO)
        yield
    finally:
        gdal.setLevel(level)
        for logger, handlers in before:
            late = [one for one in logger.handlers if one not in handlers and one is not handler]
            logger.handlers[:] = handlers + late


def _prints(handler: logging.Handler) -> bool:
    """Whether a handler writes to standard error, or is that of an outer block."""
    if isinstance(handler, ToLines):
        return True
    if not isinstance(handler, logging.StreamHandler):
        return False
    stream = handler.stream
    if stream in (sys.stderr, sys.__stderr__):
        return True
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError, ValueError):  # no file, or a closed one
        return False


@contextmanager
def telling_dead_threads() -> Iterator[None]:
    """A thread that dies of an error is seen on the terminal, as without the log."""
    before = threading.excepthook

    def tell(args: threading.ExceptHookArgs) -> None:
        before(args)  # to the log
        if args.exc_value is not None and args.exc_type is not SystemExit:
            story = "".join(traceback.format_exception(args.exc_value))
            write(standard_error(), f"Exception in a thread:\n{redact(story)}")

    if before is threading.__excepthook__:  # another one knows better what to do
        threading.excepthook = tell
    try:
        yield
    finally:
        threading.excepthook = before
