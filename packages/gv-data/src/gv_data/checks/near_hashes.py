"""Hashes that differ in few bits, found without comparing all with all.

Multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast search in Hamming space with multi-index
hashing"): 64 bits are four words of 16. Hashes at most d bits apart have a word in which they are
at most d // 4 bits apart, so that each is looked up by each of its words, with up to so many bits
turned over, among all sorted by that word. For up to 7 bits these are 68 look-ups a hash.

Of n hashes whose bits are as good as random n^2 / 1,000 are compared bit by bit: 10 million of
100,000. What is compared at once is bounded, the pairs that are found are not; hashes that are the
same in every bit should be given once, since all their pairs would be found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Int, UInt64

from gv_data.checks.hashes import TURNS, Turn, turned

_WORDS = 4
_WORD_BITS = 16

_AT_ONCE = 2**22
"""Pairs that are compared at once: some 100 MB."""


@dataclass(frozen=True, eq=False)
class NearHashes:
    """Pairs of hashes.

    Attributes:
        first: Position of one.
        second: Position of the other, behind the first.
        distance: Number of bits that differ.
    """

    first: Int[np.ndarray, " k"]
    second: Int[np.ndarray, " k"]
    distance: Int[np.ndarray, " k"]


def near_hashes(
    hashes: UInt64[np.ndarray, " n"], distance: int, turns: Sequence[Turn] = TURNS[:1]
) -> NearHashes:
    """Find all pairs of hashes that differ in few bits.

    Args:
        hashes: 64 bits each.
        distance: The most bits by which two differ.
        turns: How the second image may have been turned or mirrored; the distance is the least.

    Returns:
        Each pair once, in order.
    """
    found = [np.empty((3, 0), np.int64)]
    for turn in turns:
        other = turned(hashes, turn)
        for first, second in _candidates(hashes, other, distance // _WORDS):
            apart = np.bitwise_count(hashes[first] ^ other[second]).astype(np.int64)
            kept = (apart <= distance) & (first < second)
            found.append(np.stack([first[kept], second[kept], apart[kept]]))
    first, second, apart = np.concatenate(found, axis=1)
    order = np.lexsort((apart, second, first))
    first, second, apart = first[order], second[order], apart[order]
    new = np.ones(len(first), bool)
    new[1:] = (np.diff(first) != 0) | (np.diff(second) != 0)
    return NearHashes(first[new], second[new], apart[new])


def _candidates(
    left: UInt64[np.ndarray, " n"], right: UInt64[np.ndarray, " n"], radius: int
) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " k"]]]:
    """Positions of pairs with a word in which they differ by at most ``radius`` bits."""
    bits = [1 << bit for bit in range(_WORD_BITS)]
    masks = [sum(some) for count in range(radius + 1) for some in combinations(bits, count)]
    for word in range(_WORDS):
        shift = np.uint64(word * _WORD_BITS)
        keys, others = (
            ((side >> shift) & np.uint64(0xFFFF)).astype(np.int64) for side in (left, right)
        )
        order = np.argsort(others, kind="stable")
        starts = np.searchsorted(others[order], np.arange(2**_WORD_BITS + 1))
        for mask in masks:
            low, high = starts[keys ^ mask], starts[(keys ^ mask) + 1]
            for rows in _portions(high - low):
                counts = (high - low)[rows]
                first = np.repeat(np.arange(len(left))[rows], counts)
                along = np.arange(len(first)) - np.repeat(counts.cumsum() - counts, counts)
                yield first, order[np.repeat(low[rows], counts) + along]


def _portions(counts: Int[np.ndarray, " n"]) -> Iterator[slice]:
    """Rows one after the other, with about `_AT_ONCE` of what is counted in each portion."""
    upto = counts.cumsum()
    start = 0
    while start < len(counts):
        done = upto[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(upto, done + _AT_ONCE, side="right")))
        yield slice(start, end)
        start = end
