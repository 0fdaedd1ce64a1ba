"""Contenders of a benchmark: each in a process of its own, taking turns, with its peak memory.

What else a machine does makes turns longer, never shorter, and the seconds of the clock more than
those of the processor: the best turn of each is told. A process of its own has a peak memory of its
own, which holds what it imported.
"""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """What a contender did.

    Attributes:
        seconds: Its best turn by the clock.
        processor: Its best turn in seconds of the processor.
        answer: What its last turn gave.
        peak_mib: Most memory its process had.
        before_mib: Memory it had before its first turn: mostly what it imported.
    """

    seconds: float
    processor: float
    answer: Any
    peak_mib: float
    before_mib: float


def race(
    contenders: Mapping[str, tuple[Callable[..., Callable[[], Any]], tuple[Any, ...]]],
    *,
    turns: int = 3,
    warm: bool = True,
) -> dict[str, Outcome]:
    """Let contenders take turns.

    Args:
        contenders: By name a function of the script and its arguments; it prepares, and returns
            what is timed.
        turns: How often each is timed.
        warm: Whether each has a turn before that is not timed.
    """
    context = multiprocessing.get_context("spawn")
    runners = {}
    for name, (prepare, given) in contenders.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, prepare, given))
        process.start()
        theirs.close()
        runners[name] = process, ours
        _ask(ours, name)  # what it prepared is not timed and does not disturb others
    clock: dict[str, list[float]] = {name: [] for name in contenders}
    processor: dict[str, list[float]] = {name: [] for name in contenders}
    found: dict[str, tuple[float, float, Any, float, float]] = {}
    for turn in range(-int(warm), turns):
        for name, (_, ours) in runners.items():
            ours.send(True)
            found[name] = _ask(ours, name)
            if turn >= 0:
                clock[name].append(found[name][0])
                processor[name].append(found[name][1])
    for process, ours in runners.values():
        ours.send(False)
        process.join()
    return {
        name: Outcome(min(clock[name]), min(processor[name]), *found[name][2:])
        for name in contenders
    }


def _ask(connection: Connection, name: str) -> Any:
    try:
        return connection.recv()
    except EOFError:
        raise SystemExit(f"{name} failed, see above") from None


def _serve(
    connection: Connection, prepare: Callable[..., Callable[[], Any]], given: tuple[Any, ...]
) -> None:
    """Prepare once, then run whenever asked."""
    run = prepare(*given)
    before = _peak_mib()
    connection.send(None)
    while connection.recv():
        clock, processor = time.perf_counter(), time.process_time()
        answer = run()
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
        connection.send((clock, processor, answer, _peak_mib(), before))


def _peak_mib() -> float:
    """Peak of this process; ``ru_maxrss`` would begin with that of the process it came from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
