"""Rasterio without its warning that a raster says nothing of where it lies.

Ours say that by errors of their own where it matters; masks, and what is burnt in memory, need no
place.
"""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.errors import NotGeoreferencedWarning

_FILTERING = threading.Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warning inside the block; for short calls, since other threads wait.

    Filters of warnings belong to the process: two threads that change them at once can leave each
    other's behind.
    """
    with _FILTERING, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield
