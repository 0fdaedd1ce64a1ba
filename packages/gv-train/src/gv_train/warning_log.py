"""Warnings go to a file of the run; the console stays readable and tells their number."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Counted:
    """How many warnings were written."""

    total: int = 0


@contextmanager
def warnings_to(folder: Path) -> Iterator[Counted]:
    """Write Python's warnings and Lightning's messages to ``warnings.log`` in a folder.

    Args:
        folder: The ``logs`` folder of a run.

    Yields:
        The running count of warnings.
    """
    counted = Counted()
    handler = _Counting(folder / "warnings.log", counted)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    loggers = [
        logging.getLogger(name) for name in ("py.warnings", "lightning", "lightning.pytorch")
    ]
    before = [(logger, logger.handlers[:], logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers, logger.propagate = [], False
    loggers[0].addHandler(handler)
    loggers[1].addHandler(handler)
    loggers[2].propagate = True
    showing = warnings.showwarning
    logging.captureWarnings(True)
    try:
        yield counted
    finally:
        logging.captureWarnings(False)
        warnings.showwarning = showing
        for logger, handlers, propagate, level in before:
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        handler.close()


class _Counting(logging.FileHandler):
    def __init__(self, path: Path, counted: Counted) -> None:
        super().__init__(path, delay=True, encoding="utf-8")
        self._counted = counted

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING:
            self._counted.total += 1
        super().emit(record)
