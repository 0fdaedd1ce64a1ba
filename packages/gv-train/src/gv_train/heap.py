"""How the C library keeps the memory that a network on a CPU frees and asks for again."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_KEEP_BYTES = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks, for all threads together.

    It returns blocks above 32 MB to the system; a training step then spends a fifth of its time,
    and a forward pass a third, on page faults (benchmarks/cpu_memory.py). Threads share what is
    kept: arenas of their own hold no block above 64 MB, and what one keeps no other can use.
    Sharing has no effect once two threads have asked for memory, which importing torch does:
    commands call this first. Elsewhere than on Linux nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        # where the first is refused, the second would only end glibc's own adaption
        _ = mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES) and mallopt(_M_TRIM_THRESHOLD, _KEEP_BYTES)
