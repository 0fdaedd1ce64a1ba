"""What the C library does with large blocks."""

import subprocess
import sys

import pytest

CHILD = """
import ctypes, sys, threading
from gv_train.heap import keep_freed_memory

names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
class Told(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in names]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Told
if sys.argv[1] == "keep":
    keep_freed_memory()
mapped = []
def work():
    block = bytearray(100 * 2**20)
    mapped.append(libc.mallinfo2().hblkhd >> 20)
for _ in range(2):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
print(*mapped, libc.mallinfo2().arena >> 20)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize("how", ["keep", "give"])
def test_large_blocks_of_threads_stay_in_one_heap(how):
    words = [sys.executable, "-c", CHILD, how]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    first, second, heap = map(int, told.split())
    if how == "keep":
        assert max(first, second) < 10
        assert 100 <= heap < 200  # freed by the first thread, used again by the second
    else:
        assert min(first, second) >= 100  # mapped from the system each time
