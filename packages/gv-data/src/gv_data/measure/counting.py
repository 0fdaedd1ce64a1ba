"""Whole numbers counted and multiplied, compiled: exact, and several times as fast as numpy.

numpy's ``bincount`` turns every value into 8 bytes first, its matrix product into float64.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from jaxtyping import Int, Shaped


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code, kept on disk where there is a place for it."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no folder to write to
        return numba.njit(nogil=True)(function)


class Counts:
    """How often each number occurs, over any number of arrays.

    Examples:
        >>> counts = Counts(np.dtype("uint8"))
        >>> counts.add(np.array([3, 3, 255], np.uint8))
        >>> counts.total[[0, 3, 255]].tolist()
        [0, 2, 1]
    """

    def __init__(self, dtype: np.dtype) -> None:
        """Begin at 0 for all numbers of uint8 or uint16."""
        # few tables are counted in turn: equal neighbours then do not wait for each other
        lanes = 4 if dtype.itemsize == 1 else 1
        self._tables = np.zeros((lanes, 2 ** (8 * dtype.itemsize)), np.int64)

    def add(self, values: Shaped[np.ndarray, " n"]) -> None:
        """Count numbers of the type."""
        _count(np.ascontiguousarray(values), self._tables)

    @property
    def total(self) -> Int[np.ndarray, " k"]:
        """256 or 65,536 counts."""
        return self._tables.sum(axis=0)


def product_sum(a: Shaped[np.ndarray, " n"], b: Shaped[np.ndarray, " n"]) -> int:
    """Sum of the products of two rows of whole numbers.

    Args:
        a: Of a type of at most 16 bits.
        b: The same.

    Returns:
        The exact sum, up to 2 ** 31 numbers.

    Examples:
        >>> product_sum(np.array([2, 3], np.uint8), np.array([5, 200], np.uint8))
        610
    """
    return int(_product_sum(np.ascontiguousarray(a), np.ascontiguousarray(b)))


@_compiled
def _count(values: np.ndarray, tables: np.ndarray) -> None:
    last = len(tables) - 1  # of 2 ** n tables
    for i in range(values.size):
        tables[i & last, values[i]] += 1


@_compiled
def _product_sum(a: np.ndarray, b: np.ndarray) -> np.int64:
    total = np.int64(0)
    for i in range(a.size):
        total += np.int64(a[i]) * np.int64(b[i])
    return total
