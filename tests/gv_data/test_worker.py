"""Calls done in a process next door."""

import os
import time
from pathlib import Path

import pytest

from gv_data.errors import DataError, RasterError
from gv_data.measure.worker import Worker
from gv_data.rasters.conversion import is_cog


def nothing() -> None:
    """A beat that nobody hears."""


def test_calls_are_answered_by_one_process_that_survives_errors():
    beats: list[int] = []
    with Worker() as worker:
        process = worker.call(nothing, os.getpid)
        assert process != os.getpid()
        with pytest.raises(RasterError, match=r"nowhere\.tif is not there") as raised:
            worker.call(nothing, is_cog, Path("nowhere.tif"))
        assert "in is_cog" in raised.value.__notes__[0]
        worker.call(lambda: beats.append(1), time.sleep, 0.6)
        assert beats
        assert worker.call(nothing, os.getpid) == process
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_process_that_dies_costs_one_call():
    with Worker() as worker:
        with pytest.raises(DataError, match=r"died \(exit code -6\)"):
            worker.call(nothing, os.abort)
        assert worker.call(nothing, divmod, 7, 2) == (3, 1)
